"""Code locations whose state is refreshed in place: the same results as with Dagster's server, and warm in the end."""

import json
import os
import shutil
import signal
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._grpc.client import DagsterGrpcClient
from dagster._serdes import serialize_value
from lone_server import SETTINGS, LoneServer, serve, wait_until

LOCAL, VERSIONED, SNAPSHOT = "LOCAL_FILESYSTEM", "VERSIONED_STATE_STORAGE", "LEGACY_CODE_SERVER_SNAPSHOTS"
WARM = ("dagster_warm", "--no-reload")
CAN_REFRESH = hasattr(DagsterGrpcClient, "reload_code_with_state")
"""Whether this release of Dagster refreshes state through the code server."""

COMPONENT = """
import json
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster.components.utils.defs_state import DefsStateConfig, DefsStateConfigArgs

def table(kind, name, rows):
    @dg.asset(name=f"{kind}_{name}")
    def build(context: dg.AssetExecutionContext):
        context.add_output_metadata({"rows": rows})
    return build

@dataclass
class Tables(dg.StateBackedComponent, dg.Resolvable):
    kind: str

    @property
    def defs_state_config(self):
        return DefsStateConfig.from_args(DefsStateConfigArgs(management_type=self.kind), default_key=self.kind)

    def write_state_to_path(self, state_path):
        state_path.write_text(Path("tables.json").read_text())

    def build_defs_from_state(self, context, state_path):
        if state_path is None:
            return dg.Definitions()
        assets = [table(self.kind, name, rows) for name, rows in json.loads(state_path.read_text()).items()]
        job = dg.define_asset_job(self.kind, selection=assets, executor_def=dg.in_process_executor)
        return dg.Definitions(assets=assets, jobs=[job])
"""

DEFINITIONS = """
from pathlib import Path

import dagster as dg

defs = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
"""Made when the module is imported: once in a process, whatever state is asked for later."""

PROJECT = """
[tool.dg]
directory_type = "project"
project.root_module = "stateful"
project.code_location_name = "it"
"""


def write_project(folder: Path, *kinds: str) -> None:
    package = folder / "stateful"
    for kind in kinds:
        (package / "defs" / kind.lower()).mkdir(parents=True)
        (package / "defs" / kind.lower() / "defs.yaml").write_text(
            f"type: stateful.tables.Tables\nattributes: {{kind: {kind}}}\n"
        )
    (package / "defs" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "tables.py").write_text(COMPONENT)
    (package / "definitions.py").write_text(DEFINITIONS)
    (folder / "pyproject.toml").write_text(PROJECT)


@contextmanager
def served(home: Path, module: str, *options: str, kinds: Sequence[str]) -> Iterator[LoneServer]:
    """Serve state of these kinds, which was stored when there was one table with one row."""
    write_project(home, *kinds)
    base_path = {"base_path": str(home / "states")}
    storage = {"module": "dagster._core.storage.defs_state", "class": "UPathDefsStateStorage", "config": base_path}
    (home / "dagster.yaml").write_text(json.dumps({**SETTINGS, "defs_state_storage": storage}))
    (home / "tables.json").write_text(json.dumps({"a": 1}))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for kind in kinds:
            store(instance, home, kind)
    command = [*options, "--module-name", "stateful.definitions", "--location-name", "it"]
    with serve(home, command, module=module, defs_state_storage=storage) as server:
        yield server


def store(instance: dg.DagsterInstance, home: Path, kind: str) -> None:
    """Store the tables of now as the state of a component, as `dg utils refresh-defs-state` does."""
    tables = home / "tables.json"
    if kind == LOCAL:
        state = home / "stateful" / "defs" / ".local_defs_state" / LOCAL / "state"
        state.parent.mkdir(parents=True, exist_ok=True)
        state.unlink(missing_ok=True)
        shutil.copy(tables, state)
    elif kind == VERSIONED:
        storage: Any = instance.defs_state_storage
        storage.upload_state_from_path(VERSIONED, uuid.uuid4().hex, tables)


def refresh(server: LoneServer, kind: str) -> None:
    """Let all tables have two rows, and let there be another one."""
    (server.home / "tables.json").write_text(json.dumps({"a": 2, "b": 2}))
    store(server.instance, server.home, kind)


def rows(server: LoneServer, run_id: str) -> dict[str, int]:
    """Wait for the run's success; return the rows of each table that it has built."""
    told = server.finish(run_id)
    return {name[-1]: told[name]["rows"] for name in told if name not in ("warmth", "cold")}


def wait_until_warm(server: LoneServer, kind: str) -> str:
    """Launch runs until one is forked; return its id."""
    run_ids: list[str] = []

    def is_warm() -> bool:
        run_ids.append(server.launch(kind))
        return bool(server.finish(run_ids[-1])["warmth"])

    wait_until(is_warm)
    return run_ids[-1]


@pytest.fixture(scope="module", params=[pytest.param("stock", marks=pytest.mark.thorough), "warm"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneServer]:
    """Yield a server with state in local files, and with versioned state."""
    command = {"stock": ("dagster", "api", "grpc"), "warm": WARM}[request.param]
    with served(tmp_path_factory.mktemp("home"), *command, kinds=(LOCAL, VERSIONED)) as server:
        yield server


def is_warm(server: LoneServer) -> bool:
    return "dagster_warm" in server.process.args  # type: ignore[operator]


def test_state_in_files_is_that_of_the_moment_at_which_a_run_begins(server: LoneServer) -> None:
    assert rows(server, server.launch(LOCAL)) == {"a": 1}
    planned = server.plan(LOCAL)
    refresh(server, LOCAL)
    server.launch_planned(planned)
    assert rows(server, planned) == {"a": 2}
    if is_warm(server):
        cold = server.told(planned)["cold"]
        assert cold.startswith("Launched cold: The state of the code was refreshed")
        assert rows(server, wait_until_warm(server, LOCAL)) == {"a": 2}


def test_versioned_state_is_that_of_the_plan(server: LoneServer) -> None:
    planned = server.plan(VERSIONED)
    refresh(server, VERSIONED)
    assert rows(server, server.launch(VERSIONED)) == {"a": 1}
    if not CAN_REFRESH:
        return
    with server.workspace() as workspace:
        client = workspace.get_code_location("it").client
    storage: Any = server.instance.defs_state_storage
    reply = client.reload_code_with_state(serialize_value(storage.get_latest_defs_state_info()))
    assert not reply.serialized_error
    assert rows(server, server.launch(VERSIONED)) == {"a": 2, "b": 2}
    if is_warm(server):
        assert rows(server, wait_until_warm(server, VERSIONED)) == {"a": 2, "b": 2}
    server.launch_planned(planned)
    assert rows(server, planned) == {"a": 1}
    if is_warm(server):
        assert server.told(planned)["cold"] == (
            "Launched cold: It was planned with another state of the code than the present one."
        )


def test_a_template_that_replaces_a_dead_one_has_the_state_that_its_server_has(tmp_path: Path) -> None:
    with served(tmp_path, *WARM, kinds=(VERSIONED, SNAPSHOT)) as server:
        first = server.finish(server.launch(SNAPSHOT))["warmth"]
        refresh(server, VERSIONED)
        os.kill(int(first["template_pid"]), signal.SIGKILL)
        later = wait_until_warm(server, SNAPSHOT)
        assert server.told(later)["warmth"]["template_generation"] == 2
        assert rows(server, later) == {"a": 1}
        told = server.finish(server.launch(VERSIONED))
        assert told["warmth"]["template_generation"] == 2
        assert rows(server, server.launch(VERSIONED)) == {"a": 1}
