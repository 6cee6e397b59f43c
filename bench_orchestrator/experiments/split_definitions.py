"""Many small code locations in place of one large one, the study's main proposal."""

from bench_orchestrator.experiments.experiment import Experiment, Remedy
from bench_orchestrator.model import Scenario, Variant


def _sides(assets: int, step: int) -> tuple[Variant, ...]:
    """One location of so many assets, three of a third, nine of a ninth; a path of nine assets crosses the parts."""

    def size(count: int) -> str:
        return f"{count // 1000}k" if count % 1000 == 0 else str(count)

    whole = (f"a{size(assets)}_spine{size(step)}",)
    thirds = tuple(f"a{size(assets // 3)}_spine{size(step)}_part{part}of3" for part in range(1, 4))
    ninths = tuple(f"a{size(assets // 9)}_spine{size(step)}_part{part}of9" for part in range(1, 10))
    return (
        Variant("one location", whole, work=1),
        Variant("three locations", thirds, work=1),
        Variant("nine locations", ninths, work=1),
        Variant("path through one", whole, assets=9, stride=step, work=9, in_turn=True),
        Variant("path through three", thirds, assets=3, stride=step, work=3, in_turn=True),
        Variant("path through nine", ninths, work=1, in_turn=True),
    )


EXPERIMENT = Experiment(
    Scenario(
        "split-definitions",
        "What does it gain to split a code location into three or nine, and what does it cost?",
        variants=_sides(9_000, 1_000),
        quick_variants=_sides(90, 10),
        holds_equal="9,000 assets in all, dependencies across the parts, one asset per launch, executor, deployment.",
    ),
    remedies=(
        Remedy(
            "Split the code location into nine",
            "nine locations",
            "A code server per part: each holds its own interpreter and libraries in memory, and has to be deployed. "
            "Assets of another part are named by their keys, and not checked until the deployment sees both.",
            "# in the part that reads the other's table, and in workspace.yaml one more entry\n"
            'orders = dg.AssetSpec("orders")  # lives in the other code location\n'
            "defs = dg.Definitions(assets=[orders, *assets_of_this_part])",
            "python",
        ),
    ),
)
