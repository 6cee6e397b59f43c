"""Many small code locations in place of one large one, the study's main proposal."""

from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.scenarios.experiments.experiment import Experiment, Remedy

_WORDS = {1: "one", 3: "three", 9: "nine"}


def _sides(assets: int, parts: tuple[int, ...]) -> tuple[Variant, ...]:
    """So many assets in one location and in several; a path of as many assets as there are most parts crosses them."""
    length = max(parts)
    step = assets // length

    def locations(count: int) -> tuple[str, ...]:
        name = f"a{_print(assets // count)}_spine{_print(step)}"
        return (name,) if count == 1 else tuple(f"{name}_part{part}of{count}" for part in range(1, count + 1))

    return (
        *(Variant(f"{_WORDS[count]} location{'s' if count > 1 else ''}", locations(count), work=1) for count in parts),
        *(
            Variant(
                f"path through {_WORDS[count]}",
                locations(count),
                assets=length // count,
                stride=step,
                work=length // count,
                in_turn=True,
            )
            for count in parts
        ),
    )


def _print(count: int) -> str:
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)


EXPERIMENT = Experiment(
    Scenario(
        "split-definitions",
        "What does it gain to split a code location into three or nine, and what does it cost?",
        variants=_sides(9_000, (1, 3, 9)),
        quick_variants=_sides(30, (1, 3)),
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
