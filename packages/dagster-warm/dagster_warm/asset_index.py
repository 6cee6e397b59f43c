"""An index of a location's assets, for runs: Dagster scans all of them. Like `internals`, it uses private API."""

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import wraps
from itertools import chain
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.assets.job import asset_job
from dagster._grpc.server import LoadedRepositories


class _AssetIndex:
    """Index of definitions by the keys that they contain."""

    def __init__(self, definitions: Sequence[dg.AssetsDefinition]) -> None:
        self._of = defaultdict[Any, set[dg.AssetsDefinition]](set)
        self._checks_of = defaultdict[dg.AssetKey, set[dg.AssetsDefinition]](set)
        for one in definitions:
            for key in (*one.keys, *one.check_keys):
                self._of[key].add(one)
            for key in one.check_keys:
                self._checks_of[key.asset_key].add(one)

    def find(self, keys: Set[dg.AssetKey], check_keys: Set[dg.AssetCheckKey] | None) -> set[dg.AssetsDefinition]:
        """Return the definitions with any of the keys; if `check_keys` is None, also those that check these assets."""
        checks = [self._checks_of.get(key, ()) for key in keys] if check_keys is None else []
        return set(chain.from_iterable([*(self._of.get(key, ()) for key in (*keys, *(check_keys or ()))), *checks]))


@dataclass(frozen=True)
class _Others:
    """The definitions of an index, with the partially selected ones replaced by their unselected rest."""

    index: _AssetIndex
    without: Set[dg.AssetsDefinition]
    remainders: Sequence[dg.AssetsDefinition]


def _selected_from(job: dg.JobDefinition) -> AssetGraph:
    return job.asset_layer.asset_graph.source_asset_graph


def select_by_index(loaded: LoadedRepositories) -> None:
    """Look up a run's selected assets in an index; Dagster scans all assets twice."""
    jobs = [job for repository in loaded.definitions_by_name.values() for job in repository.get_all_jobs()]
    everything = {id(graph.assets_defs): graph.assets_defs for graph in map(_selected_from, jobs)}
    indexes = {identity: _AssetIndex(definitions) for identity, definitions in everything.items()}
    select = asset_job._subset_assets_defs

    @wraps(select)
    def select_among(assets: Any, keys: Any, check_keys: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(assets, _Others):
            others = [*(assets.index.find(keys, check_keys) - assets.without), *assets.remainders]
            return select(others, keys, check_keys, *args, **kwargs)
        index = indexes.get(id(assets))
        if index is None:
            return select(assets, keys, check_keys, *args, **kwargs)
        touched = index.find(keys, check_keys)
        included, excluded = select(touched, keys, check_keys, *args, **kwargs)
        return included, _Others(index, touched, excluded)

    asset_job._subset_assets_defs = select_among  # type: ignore[assignment]
