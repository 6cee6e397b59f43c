"""The assets of a location, in each structure that a shape can have.

They are what a user would write by hand, each with a description, a group, a kind and a tag, and cost the same to load:
`benchmarks/build_locations.py` limits the ratio to 1.1.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from synthetic_locations.kinds import Structure
from synthetic_locations.shape import Shape
from synthetic_locations.work import Work

ASSETS_PER_GROUP = 100


@dataclass(frozen=True)
class Design:
    """What the assets of a location have in common, and how they depend on each other."""

    shape: Shape
    location: str
    keys: Sequence[dg.AssetKey]
    """Asset keys by asset number."""
    upstream_keys: Callable[[int], list[dg.AssetKey]]
    """Returns the keys that an asset depends on, by its number."""
    partitions: dg.PartitionsDefinition[Any] | None
    pools: Sequence[str]
    """Pool names by pool number; empty if the assets are in no pool."""
    work: Work

    @property
    def checks(self) -> list[str]:
        """The names of the checks on each asset."""
        return [f"check_{number}" for number in range(self.shape.checks)]

    @property
    def backfill_policy(self) -> dg.BackfillPolicy | None:
        """The backfill policy; None is Dagster's default, a run for each partition."""
        return dg.BackfillPolicy.single_run() if self.shape.triggers and self.partitions else None

    def pool(self, function: int) -> str | None:
        """Return the pool of a function or graph by its number: all pools have equally many, give or take one."""
        return self.pools[function % len(self.pools)] if self.pools else None

    def look(self, number: int) -> dict[str, Any]:
        """Return what the UI shows of an asset, as keyword arguments for Dagster."""
        # The UI merges groups of the same name across locations. Group names cannot contain hyphens.
        group = self.location.replace("-", "_")
        return {
            "description": f"Synthetic asset {number} of {self.shape.assets} in {self.location}.",
            "group_name": f"{group}_{number // ASSETS_PER_GROUP:03}",
            "kinds": {"python"},
            "tags": {"bench/shape": self.shape.name},
        }


def build_assets(design: Design) -> list[dg.AssetsDefinition]:
    """Return the assets of a location, in the structure of its shape."""
    shape = design.shape
    with warnings.catch_warnings():
        # Dagster 1.13 emits this warning for an asset's backfill policy.
        warnings.simplefilter("ignore", dg.BetaWarning)
        match shape.structure:
            case Structure.PLAIN | Structure.FUSED:
                return _functions(design)
            case Structure.MULTI:
                return [_multi_asset(design, first) for first in range(0, shape.assets, shape.pieces)]
            case Structure.GRAPH:
                return [_graph_asset(design, number) for number in range(shape.assets)]


def _functions(design: Design) -> list[dg.AssetsDefinition]:
    checks, units = design.checks, design.shape.work_per_asset

    def compute() -> dg.MaterializeResult:  # type: ignore[type-arg]
        return dg.MaterializeResult(
            metadata=design.work.perform(units),
            check_results=[dg.AssetCheckResult(passed=True, check_name=check) for check in checks],
        )

    return [
        dg.asset(
            key=key,
            deps=design.upstream_keys(number),
            partitions_def=design.partitions,
            backfill_policy=design.backfill_policy,
            check_specs=[dg.AssetCheckSpec(check, asset=key) for check in checks],
            pool=design.pool(number),
            **design.look(number),
        )(compute)
        for number, key in enumerate(design.keys)
    ]


def _multi_asset(design: Design, first: int) -> dg.AssetsDefinition:
    checks = design.checks
    keys = design.keys[first : first + design.shape.pieces]

    @dg.multi_asset(
        name=f"assets_from_{keys[0].path[-1]}",
        specs=[
            dg.AssetSpec(key, deps=design.upstream_keys(number), **design.look(number))
            for number, key in enumerate(keys, first)
        ],
        partitions_def=design.partitions,
        backfill_policy=design.backfill_policy,
        check_specs=[dg.AssetCheckSpec(check, asset=key) for key in keys for check in checks],
        pool=design.pool(first // design.shape.pieces),
    )
    def compute() -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        for key in keys:
            yield dg.MaterializeResult(
                asset_key=key,
                metadata=design.work.perform(1),
                check_results=[dg.AssetCheckResult(passed=True, asset_key=key, check_name=check) for check in checks],
            )

    return compute


def _graph_asset(design: Design, number: int) -> dg.AssetsDefinition:
    """Each op does a unit of work and passes the count to the next through an I/O manager, as ops do."""
    key = design.keys[number]
    names = [f"{key.path[-1]}_op_{op:03}" for op in range(design.shape.pieces)]
    pool = design.pool(number)

    @dg.op(name=names[0], pool=pool)
    def first() -> int:
        design.work.perform(1)
        return 1

    def between(done: int) -> int:
        design.work.perform(1)
        return done + 1

    @dg.op(name=names[-1], out=dg.Out(dg.Nothing), pool=pool)
    def last(done: int) -> dg.Output[None]:
        return dg.Output(None, metadata=design.work.perform(1, before=done))

    ops = [*(dg.op(name=name, pool=pool)(between) for name in names[1:-1]), last]

    @dg.graph_asset(
        key=key,
        partitions_def=design.partitions,
        backfill_policy=design.backfill_policy,
        **design.look(number),
    )
    def compose() -> Any:
        done = first()
        for op in ops:
            done = op(done)
        return done

    return compose
