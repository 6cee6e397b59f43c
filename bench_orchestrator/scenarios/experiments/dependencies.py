"""The effect of dependencies between assets on launches, at the same number of assets."""

from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import Experiment, stage_measure


def _sides(size: str, length: int) -> tuple[Variant, ...]:
    """Return the sides, with chains of `length` assets: in a chain of 2,000, Dagster raises a RecursionError."""
    return (
        Variant("none", (size,), work=1),
        Variant("chained", (f"{size}_chains{length}",), work=1),
        Variant("layered", (f"{size}_layered",), work=1),
    )


EXPERIMENT = Experiment(
    Scenario(
        "dependencies",
        "Do dependencies between assets make launches slower?",
        variants=_sides("a2k", 100),
        quick_variants=_sides("a20", 5),
        holds_equal="2,000 assets, one asset per launch, executor, deployment.",
    ),
    measures=(stage_measure(Stage.WORKER_LOAD), stage_measure(Stage.STEP_LOAD)),
)
