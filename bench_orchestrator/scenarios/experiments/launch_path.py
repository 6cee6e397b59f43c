"""The origin of a launch: a user, a schedule, a sensor or a backfill."""

from bench_orchestrator.model.plan import LaunchPath, Scenario, Variant
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import UNQUEUED_TIME_TO_CODE, Experiment, stage_measure


def _sides(size: str) -> tuple[Variant, ...]:
    location = (f"{size}p10_triggers",)
    return tuple(Variant(path.value, location, work=1, path=path) for path in LaunchPath)


EXPERIMENT = Experiment(
    Scenario(
        "launch-path",
        "Does it matter whether a user, a schedule, a sensor or a backfill launches a run?",
        variants=_sides("a250"),
        quick_variants=_sides("a10"),
        holds_equal="the code location, one partition of one asset per launch, executor, deployment.",
    ),
    measures=(UNQUEUED_TIME_TO_CODE, stage_measure(Stage.SUBMIT), stage_measure(Stage.PLAN_EVENTS)),
    headline=UNQUEUED_TIME_TO_CODE,
)
