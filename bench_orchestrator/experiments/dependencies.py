"""Whether dependencies between assets make launches slower, at the same number of assets."""

from bench_orchestrator.experiments.experiment import Experiment, stage_measure
from bench_orchestrator.model import Scenario, Stage, Variant


def _sides(size: str) -> tuple[Variant, ...]:
    return (
        Variant("none", (size,), work=1),
        Variant("chained", (f"{size}_chain",), work=1),
        Variant("layered", (f"{size}_layered",), work=1),
    )


EXPERIMENT = Experiment(
    Scenario(
        "dependencies",
        "Do dependencies between its assets make a code location slower to launch in?",
        variants=_sides("a2k"),
        quick_variants=_sides("a20"),
        holds_equal="2,000 assets, one asset per launch, executor, deployment.",
    ),
    measures=(stage_measure(Stage.WORKER_LOAD), stage_measure(Stage.STEP_LOAD)),
)
