"""Several small code locations instead of one large one, the study's main proposal."""

from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.scenarios.experiment import Experiment, Remedy

_WORDS = {1: "one", 3: "three", 9: "nine"}


def _sides(assets: int, parts: tuple[int, ...]) -> tuple[Variant, ...]:
    """Return the sides: `assets` assets in one location and in several, and a path of `max(parts)` assets across."""
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
        "What does splitting a code location into three or nine gain, and what does it cost?",
        variants=_sides(9_000, (1, 3, 9)),
        quick_variants=_sides(30, (1, 3)),
        holds_equal="9,000 assets in all, dependencies across the parts, one asset per launch, executor, deployment.",
    ),
    remedies=(
        Remedy(
            "Split the code location into nine",
            "nine locations",
            "One code server per part, each to be deployed, with its own interpreter and libraries in memory. "
            "Assets of another part are referenced by key, and checked only once both are deployed.",
            "# in the part that reads the other's table; add an entry to workspace.yaml\n"
            'orders = dg.AssetSpec("orders")  # lives in the other code location\n'
            "defs = dg.Definitions(assets=[orders, *assets_of_this_part])",
            "python",
        ),
    ),
)
