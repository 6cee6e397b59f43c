"""The effect of asset checks on launches, at the same number of assets."""

from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import Experiment, stage_measure


def _sides(size: str) -> tuple[Variant, ...]:
    return (
        Variant("no checks", (size,), work=1),
        Variant("1 check", (f"{size}_checks1",), work=1),
        Variant("5 checks", (f"{size}_checks5",), work=1),
    )


EXPERIMENT = Experiment(
    Scenario(
        "checks",
        "Do asset checks make launches slower?",
        variants=_sides("a2k"),
        quick_variants=_sides("a20"),
        holds_equal="2,000 assets, one asset per launch with its checks, executor, deployment.",
    ),
    measures=(
        stage_measure(Stage.PLAN_EVENTS),
        stage_measure(Stage.WORKER_LOAD),
        stage_measure(Stage.STEP_LOAD),
    ),
)
