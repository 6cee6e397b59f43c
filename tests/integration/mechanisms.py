"""The meta location with an additional experiment, whose few sides use every mechanism of experiments."""

from typing import Any

import dagster as dg

from bench_orchestrator.deployment.cpu_limits import why_no_cpu_limits
from bench_orchestrator.model.plan import LaunchPath, Scenario, ServerState, Variant
from bench_orchestrator.model.workload import Limit, Submit, Workload
from bench_orchestrator.scenarios.experiment import TIME_TO_CODE, Experiment
from bench_orchestrator.scenarios.registry import EXPERIMENTS, SCENARIOS

NAME = "mechanisms"

SERVED = "a3_sleep0ms_inprocess"
"""Served by the deployment of the sweep."""
IMPOSTOR = "a2_graph3_inprocess"
"""Served there too, but its assets do one unit of work instead of three."""

TRIGGERED = "a2p3_dynamic_sleep0ms_triggers_inprocess"
PARTS = tuple(f"a4_spine2_part{number}of2_sleep0ms_inprocess" for number in (1, 2))
CHAIN = "a2_chain_sleep0ms"
SLOW = "a1_sleep2000ms_inprocess"
"""Takes so long that runs which start at once are in progress together."""

CARELESS = {
    "run_coordinator": {
        "module": "integration.careless",
        "class": "CarelessRunCoordinator",
        "config": {"max_concurrent_runs": 1, "dequeue_interval_seconds": 1},
    },
    "concurrency": None,
}
"""A queue that does not keep its limit of one run at a time."""
LIMITED = not why_no_cpu_limits()
PARTICULAR: dict[str, Any] = {"instance": CARELESS, "cpus": 0.5 if LIMITED else None, "warm": True}
"""A deployment with settings of its own, a CPU limit and the warm server."""

SIDES = (
    Variant("served", (SERVED,), work=1),
    Variant("impostor", (IMPOSTOR,), work=3),
    *(Variant(path.value, (TRIGGERED,), work=1, path=path) for path in LaunchPath),
    Variant("range", (TRIGGERED,), partitions=2, work=2),
    Variant("replaced", PARTS, work=1, server=ServerState.REPLACED),
    Variant("from zero", PARTS, work=1, server=ServerState.FROM_ZERO),
    Variant("path", PARTS, assets=2, stride=2, work=2, in_turn=True),
    Variant("chain", (CHAIN,), assets=2, work=2),
    Variant("particular", (SLOW,), work=1, **PARTICULAR),
    *(
        Variant(
            name,
            (SLOW,),
            work=runs,
            **PARTICULAR,
            workload=Workload((Submit("run", runs),), (Limit("max_concurrent_runs", 1),)),
        )
        for name, runs in (("alone", 1), ("crowd", 3))
    ),
)
"""The first two launch in the sweep's own deployment, the last three in a separate one, the rest in another."""

EXPERIMENT = Experiment(
    Scenario(
        NAME,
        "Does every mechanism of an experiment work?",
        variants=SIDES,
        quick_variants=SIDES,
        holds_equal="nothing.",
    ),
    headline=TIME_TO_CODE,
)


@dg.definitions
def defs() -> dg.Definitions:
    """Return the meta location's definitions, built with the additional experiment."""
    EXPERIMENTS[NAME] = EXPERIMENT
    SCENARIOS[NAME] = EXPERIMENT.scenario
    from bench_orchestrator.definitions import defs as meta  # not here twice: Dagster looks for one in a module

    return meta()
