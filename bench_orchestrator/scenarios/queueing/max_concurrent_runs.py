"""How many runs may be in progress at once: many short runs requested together under different limits."""

from bench_orchestrator.model.launch import Trial
from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.model.workload import Limit, Submit, Workload
from bench_orchestrator.scenarios.experiment import Experiment, Measure, Remedy
from bench_orchestrator.scenarios.queueing.runs import (
    IN_PROGRESS_AT_ONCE,
    MAKESPAN,
    empty_measure,
    of_limit,
    queue_settings,
    use_measures,
    used_percent,
    wait_measure,
)

_NAME = "max_concurrent_runs"


def _sides(location: str, runs: int, limits: tuple[int, ...]) -> tuple[Variant, ...]:
    def side(limit: int, name: str, *, prompt: bool = False) -> Variant:
        return Variant(
            name,
            (location,),
            work=runs,
            instance=queue_settings(limit, prompt=prompt),
            warm=True,
            workload=Workload((Submit("run", runs),), (Limit(_NAME, limit),)),
        )

    plain = [side(limit, f"limit {limit}") for limit in limits]
    return (*plain, side(limits[0], f"limit {limits[0]}, at once", prompt=True))


_FULL = _sides("a10_sleep2000ms_inprocess", 60, (4, 1, 2, 8, 15))
_QUICK = _sides("a10_sleep200ms_inprocess", 6, (2, 1))
_SIDES = {side.name: side for side in (*_FULL, *_QUICK)}


def _over_ideal(trial: Trial, limit: Limit) -> float | None:
    """Return the makespan over the time that the steps alone take in that many slots."""
    used = used_percent(trial, limit)
    return 100 / used if used else None


EXPERIMENT = Experiment(
    Scenario(
        "max-concurrent-runs",
        "How long do many runs take under a limit on concurrent runs, and how well are its slots used?",
        variants=_FULL,
        quick_variants=_QUICK,
        repeats=3,
        warmups=0,
        timeout_s=900,
        holds_equal="the code location, its warm server (so that two CPUs suffice), one step of the same length in "
        "each run, all runs requested together.",
    ),
    flat=True,
    headline=MAKESPAN,
    measures=(
        MAKESPAN,
        Measure("over_ideal", "makespan over the steps' own time in these slots", "", of_limit(_SIDES, _over_ideal)),
        wait_measure(),
        wait_measure(share=1.0),
        *use_measures(_SIDES),
        empty_measure(_SIDES),
        IN_PROGRESS_AT_ONCE,
    ),
    remedies=(
        Remedy(
            "Let more runs be in progress at once",
            "limit 8",
            "CPU and memory for each further run; beyond what the machine has, all become slower.",
            "concurrency:  # in dagster.yaml\n  runs:\n    max_concurrent_runs: 8",
            "yaml",
        ),
    ),
)
