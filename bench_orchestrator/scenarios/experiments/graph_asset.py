"""Fewer, larger definitions: a graph asset, a multi-asset or one function in place of a group of assets."""

from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.scenarios.experiment import Experiment, Remedy


def _sides(groups: str, assets: str, pieces: int) -> tuple[Variant, ...]:
    """Return the sides; each trial launches one group of `pieces` units of work, however they are defined."""
    kinds = (
        ("assets", f"a{assets}_chains{pieces}", pieces),
        ("graph asset", f"a{groups}_graph{pieces}", 1),
        ("multi-asset", f"a{assets}_multi{pieces}", pieces),
        ("one function", f"a{groups}_fused{pieces}", 1),
    )
    return tuple(
        Variant(f"{kind}, {executor}", (f"{location}{suffix}",), assets=selected, work=pieces)
        for executor, suffix in (("multiprocess", ""), ("in-process", "_inprocess"))
        for kind, location, selected in kinds
    )


EXPERIMENT = Experiment(
    Scenario(
        "graph-asset",
        "Do @graph_asset, @multi_asset, or one function for ten steps start faster than ten assets?",
        variants=_sides("200", "2k", 10),
        quick_variants=_sides("2", "6", 3),
        holds_equal="2,000 units of work in 200 groups of ten, one group per launch, deployment.",
    ),
    remedies=(
        Remedy(
            "Make a group of assets one multi-asset",
            "multi-asset, multiprocess",
            "Its assets are materialized together in one process; a failure fails all, and a retry repeats all.",
            '@dg.multi_asset(specs=[dg.AssetSpec("orders"), dg.AssetSpec("lines", deps=["orders"])])\n'
            "def orders_and_lines():\n"
            '    yield from (dg.MaterializeResult(asset_key=key) for key in ("orders", "lines"))',
            "python",
        ),
        Remedy(
            "Make a group of assets one asset of one function",
            "one function, multiprocess",
            "The intermediate steps disappear from the catalog and cannot be materialized or retried separately.",
            "@dg.asset\ndef lines():\n    write(clean(read()))  # plain functions",
            "python",
        ),
        Remedy(
            "Make a group of assets one graph asset",
            "graph asset, multiprocess",
            "The intermediate ops appear in the run only; each still has its own process, unless the executor is "
            "in-process.",
            "@dg.graph_asset\ndef lines():\n    return clean(read())  # ops",
            "python",
        ),
    ),
)
