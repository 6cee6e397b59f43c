"""The named scenarios: those without variants, and the experiments.

To add a scenario without variants, add an entry here; its job and its command are derived from it.
"""

from bench_orchestrator.model.plan import Scenario
from bench_orchestrator.scenarios import experiments, queueing
from bench_orchestrator.scenarios.experiment import Experiment

MONITOR = "monitor"
"""The scenario of the monitoring schedule."""

GATE = "gate"
"""The scenario that `bench gate` judges."""

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment for experiment in (*experiments.EXPERIMENTS, *queueing.EXPERIMENTS)
}
"""By name. An experiment's job, command, evaluation asset and remedies are derived from its entry."""

STUDY_LOCATIONS = ("a250", "a500", "a2k", "a5k", "a10k", "a1p2k", "a10p10k")

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "quick",
            "How long does a launch take here, and does the number of assets matter? A first answer in minutes.",
            ("a10", "a250", "a2k"),
            repeats=3,
        ),
        Scenario(
            "assets-scaling",
            "How does the launch lag grow with the number of assets in a code location?",
            ("a250", "a500", "a2k", "a5k", "a10k"),
        ),
        Scenario(
            "assets-vs-partitions",
            "Do many partitions cost as much as many assets?",
            ("a2k", "a1p2k", "a10p10k"),
        ),
        Scenario(
            "all-locations",
            "How long do launches take in the study's seven locations on this deployment?",
            STUDY_LOCATIONS,
        ),
        Scenario(
            MONITOR,
            "Are launches still as fast as before? One launch in each location, for the schedule of the same name.",
            ("a10", "a250", "a2k"),
            repeats=1,
            warmups=0,
        ),
        Scenario(
            GATE,
            "Is the launch lag under a limit? Nine launches in each location, for `bench gate` to judge.",
            ("a10", "a250", "a2k"),
            repeats=9,
        ),
        *(experiment.scenario for experiment in EXPERIMENTS.values()),
    )
}


def sweep_job_name(scenario: str) -> str:
    """Return the name of the Dagster job that runs a scenario."""
    return f"sweep_{scenario.replace('-', '_')}"


def sweep_op_name(scenario: str) -> str:
    """Return the name of that job's only op, the key of its run config."""
    return f"launch_{scenario.replace('-', '_')}"
