"""The effect of the kind of partitions on launches, at the same number of partitions."""

from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import UNQUEUED_TIME_TO_CODE, Experiment, stage_measure


def _sides(size: str) -> tuple[Variant, ...]:
    kinds = ("static", "daily", "hourly", "multi", "dynamic")
    return tuple(Variant(kind, (size if kind == "static" else f"{size}_{kind}",), work=1) for kind in kinds)


EXPERIMENT = Experiment(
    Scenario(
        "partition-kinds",
        "Do static, daily, hourly, multi-dimensional or dynamic partitions make launches slower?",
        variants=_sides("a100p1k"),
        quick_variants=_sides("a10p10"),
        holds_equal="100 assets of 1,000 partitions each, the latest partition of one asset per launch, deployment.",
    ),
    measures=(
        UNQUEUED_TIME_TO_CODE,
        stage_measure(Stage.SUBMIT),
        stage_measure(Stage.WORKER_LOAD),
        stage_measure(Stage.STEP_LOAD),
    ),
    headline=UNQUEUED_TIME_TO_CODE,
)
