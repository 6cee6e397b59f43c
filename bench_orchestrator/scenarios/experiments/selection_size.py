"""The size of a launch: the number of assets selected, or of partitions in a range."""

from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import UNQUEUED_TIME_TO_CODE, Experiment, stage_measure


def _sides(assets: str, selections: tuple[int, ...], partitions: str, ranges: tuple[int, ...]) -> tuple[Variant, ...]:
    whole, ranged = f"{assets}_sleep0ms_inprocess", f"{partitions}_sleep0ms_inprocess"
    single = f"{ranges[0]} partition"
    return (
        *(
            Variant(f"{count} asset{'s' if count > 1 else ''}", (whole,), assets=count, work=count)
            for count in selections
        ),
        Variant(single, (ranged,), work=1, against=single),
        *(
            Variant(f"{count} partitions", (ranged,), partitions=count, work=count, against=single)
            for count in ranges[1:]
        ),
    )


EXPERIMENT = Experiment(
    Scenario(
        "selection-size",
        "How does the time until the first step grow with the number of assets and partitions selected?",
        variants=_sides("a2k", (1, 10, 100, 1000), "a1p2k", (1, 100, 2000)),
        quick_variants=_sides("a20", (1, 10), "a1p20", (1, 20)),
        holds_equal="the code location, an in-process executor, assets that compute nothing, deployment.",
    ),
    measures=(UNQUEUED_TIME_TO_CODE, stage_measure(Stage.SUBMIT), stage_measure(Stage.PLAN_EVENTS)),
    headline=UNQUEUED_TIME_TO_CODE,
)
