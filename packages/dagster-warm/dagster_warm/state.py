"""What definitions are made from beside code: state that components and integrations have fetched and stored.

Dagster hands it to each run worker, so that it makes the definitions that the run was planned with.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from unittest import mock

import dagster as dg
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType
from dagster._core.definitions.repository_definition import RepositoryLoadData
from dagster._grpc.server import LoadedRepositories
from dagster._serdes import deserialize_value, serialize_value
from dagster.components.utils.project_paths import get_local_state_path
from dagster_shared.serdes.objects.models.defs_state_info import LOCAL_STATE_VERSION, DefsStateInfo


@dataclass(frozen=True)
class State:
    """The state of a code location; empty if its definitions are made from nothing but code."""

    load_data: Mapping[str, RepositoryLoadData | None] = field(default_factory=dict)
    """By repository: the state itself, or its versions."""
    files: Mapping[Path, float] = field(default_factory=dict)
    """State that has no versions, in files, with the times of their last changes. Run workers read the present one."""

    @classmethod
    def of(cls, loaded: LoadedRepositories) -> Self:
        """Return the present state of a code server."""
        repositories = loaded.definitions_by_name
        load_data = {name: repository.repository_load_data for name, repository in repositories.items()}
        if not any(map(_has_state, load_data.values())):
            return cls()
        files = {path: _changed_at_s(path) for one in repositories.values() for path in _files_of(one)}
        return cls(load_data, files)

    def serialize(self) -> bytes:
        """Return what another process needs to make the same definitions."""
        return json.dumps({name: serialize_value(data) for name, data in self.load_data.items() if data}).encode()

    @classmethod
    def deserialize(cls, text: bytes) -> Self:
        """Return the state that another process has serialized, without its files."""
        return cls({name: deserialize_value(data, RepositoryLoadData) for name, data in json.loads(text).items()})

    @contextmanager
    def reconstructed(self) -> Iterator[None]:
        """Make the definitions that are loaded in this context those of this state, as a run worker does."""
        if not self.load_data:
            yield
            return
        context = DefinitionsLoadContext(DefinitionsLoadType.RECONSTRUCTION, self._of_all_repositories())
        use = DefinitionsLoadContext.set

        def use_this(_: DefinitionsLoadContext) -> None:
            use(context)

        with mock.patch.object(DefinitionsLoadContext, "set", use_this):
            yield

    def _of_all_repositories(self) -> RepositoryLoadData:
        found = [data for data in self.load_data.values() if data]
        infos = [data.defs_state_info for data in found if data.defs_state_info]
        versions = {key: info for one in infos for key, info in one.info_mapping.items()}
        return found[0]._replace(
            cacheable_asset_data={key: one for data in found for key, one in data.cacheable_asset_data.items()},
            reconstruction_metadata={key: one for data in found for key, one in data.reconstruction_metadata.items()},
            defs_state_info=DefsStateInfo(info_mapping=versions) if infos else None,
        )


def planned_with(instance: dg.DagsterInstance, run: dg.DagsterRun) -> RepositoryLoadData | None:
    """Return the state of a run's repository when the run was planned, if there was any."""
    if not run.has_repository_load_data or run.execution_plan_snapshot_id is None:
        return None
    data: RepositoryLoadData | None = instance.get_execution_plan_snapshot(
        run.execution_plan_snapshot_id
    ).repository_load_data
    return data


def _has_state(data: RepositoryLoadData | None) -> bool:
    if data is None:
        return False
    versions = data.defs_state_info.info_mapping if data.defs_state_info else None
    return bool(data.cacheable_asset_data or data.reconstruction_metadata or versions)


def _files_of(repository: dg.RepositoryDefinition) -> Iterator[Path]:
    data = repository.repository_load_data
    tree = repository.get_component_tree()  # type: ignore[no-untyped-call]
    if data is None or data.defs_state_info is None or tree is None:
        return
    for key, info in data.defs_state_info.info_mapping.items():
        if info is not None and info.version == LOCAL_STATE_VERSION:
            yield get_local_state_path(key, tree.project_root)


def _changed_at_s(path: Path) -> float:
    """Return when a file was last changed, as a POSIX timestamp; 0 if it is not there."""
    try:
        return path.stat().st_ctime
    except FileNotFoundError:
        return 0
