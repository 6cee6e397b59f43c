"""Dagster's private API, as far as the warm server uses it.

Contract tests pin it with the oldest and the newest supported release. Apart from this module, only `shortcuts` and
the run launcher import private modules.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from itertools import chain
from typing import Any
from unittest import mock

import dagster as dg
from dagster._cli.api import grpc_command
from dagster._cli.code_server import start_command
from dagster._core.definitions import reconstruct
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.assets.job import asset_job
from dagster._core.events import EngineEventData
from dagster._core.execution.api import create_execution_plan
from dagster._core.executor.multiprocess import MultiprocessExecutor
from dagster._core.instance import InstanceRef
from dagster._grpc import impl, server
from dagster._grpc.server import DagsterApiServer, LoadedRepositories
from dagster._grpc.types import ExecuteExternalJobArgs
from dagster._serdes import deserialize_value

from dagster_warm import shortcuts

__all__ = ["DagsterApiServer", "InstanceRef", "LoadedRepositories", "grpc_command", "start_command"]

TESTED = ("1.12.0", "1.12.22", "1.13.0", "1.13.29")
"""Releases that the contract tests run against, ascending. The first and the last bound the supported range."""


def is_supported(release: str) -> bool:
    """Return whether a Dagster release lies within the tested range."""
    oldest, this, newest = (_numbers(one) for one in (TESTED[0], release, TESTED[-1]))
    return oldest <= this <= newest


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)[:3]]


def serve_with(servicer: Callable[..., DagsterApiServer]) -> None:
    """Make `dagster api grpc` use another servicer; all its options keep their meaning."""
    server.DagsterApiServer = servicer  # type: ignore[misc, assignment]


def proxy_to(entry_point: Callable[[str], Sequence[str]]) -> None:
    """Make `dagster code-server start` run another command than `python -m dagster` for its servers.

    Args:
        entry_point: maps an interpreter's path to a command that accepts `api grpc …`.
    """
    server.get_python_environment_entry_point = entry_point  # type: ignore[assignment, attr-defined]


@contextmanager
def when_loaded(callback: Callable[[LoadedRepositories], None]) -> Iterator[None]:
    """Call back once a servicer created in this context has loaded the code, before it starts any thread."""

    class Loaded(LoadedRepositories):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            callback(self)

    with mock.patch.object(server, "LoadedRepositories", Loaded):
        yield


def hold(loaded: LoadedRepositories) -> None:
    """Make Dagster reuse the loaded definitions in this process instead of loading them again.

    It still reloads them if it asks for a different `repository_load_data` than they were loaded with.
    """
    held = {pointer: loaded.definitions_by_name[name] for name, pointer in loaded.code_pointers_by_repo_name.items()}
    load = reconstruct.reconstruct_repository_def_from_pointer

    @wraps(load)
    def find(pointer: Any, repository_load_data: Any = None) -> dg.RepositoryDefinition:
        found = held.get(pointer)
        if found is not None and repository_load_data in (None, found.repository_load_data):
            return found
        return load(pointer, repository_load_data)

    reconstruct.reconstruct_repository_def_from_pointer = find


def rehearse(loaded: LoadedRepositories, instance_ref: InstanceRef | None) -> None:
    """Do what a run does before its first step, so that forked runs inherit its imports and caches."""
    if instance_ref is not None:
        shortcuts.hold_instance(instance_ref)
    for name, repository in loaded.definitions_by_name.items():
        repository.load_all_definitions()
        for job_name in repository.job_names:
            job = repository.get_job(job_name)
            recon_job = loaded.reconstructables_by_name[name].get_reconstructable_job(job_name)
            keys = sorted(job.asset_layer.selected_asset_keys)[:1]
            try:
                create_execution_plan(recon_job.get_subset(asset_selection=frozenset(keys)) if keys else recon_job)
            except Exception:
                continue  # needs configuration, or user code fails: the run itself builds its plan or reports the error


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


def count_assets(loaded: LoadedRepositories) -> int:
    """Return the number of assets in all repositories."""
    return sum(len(repository.asset_graph.get_all_asset_keys()) for repository in loaded.definitions_by_name.values())


def announce(describe: Callable[[], tuple[str, Mapping[str, Any]]]) -> None:
    """Log an engine event at the start of every run in this process.

    Args:
        describe: returns the event's message and metadata.
    """
    execute = impl.core_execute_run

    @wraps(execute)
    def announced(
        recon_job: Any, dagster_run: dg.DagsterRun, instance: dg.DagsterInstance, *args: Any, **kwargs: Any
    ) -> Any:
        message, metadata = describe()
        yield instance.report_engine_event(message, dagster_run, EngineEventData(metadata=dict(metadata)))
        yield from execute(recon_job, dagster_run, instance, *args, **kwargs)

    impl.core_execute_run = announced


def instance_of(servicer: DagsterApiServer) -> dg.DagsterInstance | None:
    """Return the instance that a servicer has opened, if any."""
    return servicer._instance


def run_of(request: Any) -> tuple[str, InstanceRef | None]:
    """Return the run id and the instance of a StartRun request."""
    args = deserialize_value(request.serialized_execute_run_args, ExecuteExternalJobArgs)
    return args.run_id, args.instance_ref


def set_context(servicer: DagsterApiServer, context: Any) -> None:
    """Make a servicer start its run workers with another `multiprocessing` context."""
    servicer._mp_ctx = context


def start_steps_by(executor: dg.Executor, method: str) -> None:
    """Make a multiprocess executor use a start method that its configuration does not offer."""
    assert isinstance(executor, MultiprocessExecutor)
    executor._start_method = method


def start_all_steps_by(method: str) -> None:
    """Make all multiprocess executors of this process that would spawn their steps use another start method."""
    execute = MultiprocessExecutor.execute

    @wraps(execute)
    def execute_by(self: MultiprocessExecutor, *args: Any, **kwargs: Any) -> Any:
        if self._start_method == "spawn":
            start_steps_by(self, method)
        return execute(self, *args, **kwargs)

    MultiprocessExecutor.execute = execute_by  # type: ignore[method-assign]
