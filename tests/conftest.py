"""Fixtures for several modules: real Dagster instances that are discarded afterwards."""

import gc
import io
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import hypothesis
import pytest
import recording
import sqlalchemy as sa
import yaml
from alembic.config import Config
from alembic.script import ScriptDirectory
from cluster import Cluster, ExistingCluster, build, why_not
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from PIL import Image
from postgresql import running_server
from recording import Served
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry
from webservers import running_webserver

from bench_orchestrator import settings
from bench_orchestrator.charts import output
from bench_orchestrator.deployment.processes import let_children_be_interrupted

PROJECT = Path(__file__).parent.parent

UNCAPTURED = {
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
}
"""Settings of an instance: Dagster would start two processes for each step that a test executes."""

# Helper modules whose failed assertions should show details.
pytest.register_assert_rewrite("integration.sweeping", "release")

# Servers started by these tests end on SIGTERM even if the tests run in the background with SIGINT ignored.
let_children_be_interrupted()

# Tests must not depend on the machine's speed or load. `make test-thorough` tries ten times as many examples.
for profile, examples in (("bench", 30), ("thorough", 300)):
    hypothesis.settings.register_profile(
        profile, max_examples=examples, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
hypothesis.settings.load_profile("bench")

# Imports and collected tests stay for good: searching them for garbage again and again takes a tenth of all CPU time.
gc.disable()


LONGEST = ("test_random_kills", "test_mechanisms", "test_postgresql", "test_bad_days", "test_sweeps")
"""The files that take minutes, most of it waiting; the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes, all but the first of them between those that compute.

    So no worker begins a long one last, and while some wait for processes, another computes.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = [path for path in files if "integration" in path.parts]
    waiting.sort(key=lambda path: LONGEST.index(path.stem) if path.stem in LONGEST else len(LONGEST))
    computing = [path for path in files if path not in waiting]
    share = len(computing) // (2 * len(waiting) or 1)
    order = waiting[:2]
    for path in waiting[2:]:
        order += [*computing[:share], path]
        del computing[:share]
    items[:] = [item for path in (*order, *computing) for item in files[path]]


def pytest_collection_finish() -> None:
    """From now on, collect the garbage of what the tests make."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()


def pytest_unconfigure() -> None:
    """Let the interpreter collect everything at its end: DuckDB complains of what is left."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def migrations_are_read_once() -> Iterator[None]:
    """Have alembic read Dagster's migrations once, and not twice for each database that an instance creates."""
    read: dict[str | None, ScriptDirectory] = {}
    from_config = ScriptDirectory.from_config

    def known(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in read:
            read[place] = from_config(config)
        return read[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", known)
        yield


def _without_syncing(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF").close()


@pytest.fixture(scope="session", autouse=True)
def no_disk_is_waited_for() -> Iterator[None]:
    """Have SQLite leave its writes in this process to the operating system: only a power failure would lose them."""
    sa.event.listen(sa.Engine, "connect", _without_syncing)
    yield
    sa.event.remove(sa.Engine, "connect", _without_syncing)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Yield an instance that keeps its runs and events in memory."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def lose_sight_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dg.DagsterInstance, str], None]:
    """Make Dagster presume a started run's worker dead because it cannot check it."""
    return lambda instance, run_id: recording.lose_sight_of(instance, run_id, tmp_path, monkeypatch)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a new DAGSTER_HOME with the project's dagster.yaml and no bench settings from outside."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(PROJECT / "dagster.yaml", folder)
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    for name in (
        *(settings.RESULTS_DIR, settings.WEBSERVER_URL, settings.MONITOR_LOCATIONS),
        *(settings.MAX_LAG_S, settings.HISTORY_SINCE),
        *settings.WEBSERVER_ACCESS.values(),
    ):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the empty databases of an instance: a tenth of a second, which a copy saves."""
    folder = tmp_path_factory.mktemp("databases")
    with dg.DagsterInstance.local_temp(str(folder), overrides={"telemetry": {"enabled": False}}):
        return folder


@pytest.fixture
def prepared_home(home: Path, databases: Path) -> Path:
    """Return that home with empty databases in it, where the output of runs is not captured."""
    shutil.copytree(databases, home, dirs_exist_ok=True)
    with (home / "dagster.yaml").open("a") as settings_of_home:
        settings_of_home.write(yaml.safe_dump(UNCAPTURED))
    return home


@pytest.fixture
def home_instance(prepared_home: Path) -> Iterator[dg.DagsterInstance]:
    """Yield the instance of that home: SQLite, the queued run coordinator, the default launcher."""
    assert prepared_home.is_dir()
    with dg.DagsterInstance.get() as on_disk:
        yield on_disk


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures of charts blank: drawing one takes a second, and `tests/charts` tests it."""
    blank = io.BytesIO()
    Image.new("RGB", (1_100, 600), "white").save(blank, "PNG")
    monkeypatch.setattr(output, "_png", lambda _figure, _dpi: blank.getvalue())
    monkeypatch.setattr(
        output, "_svg", lambda _figure: b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>"
    )


@pytest.fixture(scope="session", autouse=True)
def named_server() -> Iterator[str | None]:
    """Yield the URL of the PostgreSQL server in the environment, and hide it, so that no test uses it by accident."""
    with pytest.MonkeyPatch.context() as patch:
        named = settings.postgres_url()
        patch.delenv(settings.POSTGRES_URL, raising=False)
        yield named


@pytest.fixture(scope="session")
def postgres_server(named_server: str | None) -> Iterator[str]:
    """Yield the URL of a real PostgreSQL server for test databases: the one in the environment, or a new one."""
    if named_server:
        yield named_server
        return
    with running_server() as server:
        yield server.url


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Yield a real webserver in this process, on a SQLite instance and without a code location."""
    with (
        dg.DagsterInstance.local_temp(
            str(tmp_path_factory.mktemp("served")), overrides={"telemetry": {"enabled": False}, **UNCAPTURED}
        ) as instance,
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace,
        running_webserver(workspace) as url,
    ):
        yield Served(url, instance)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[ExistingCluster]:
    """Yield a Kubernetes cluster: the one that KUBECONFIG names, or a new one that is removed afterwards.

    Tests may restart the new one, so load images in module-scoped fixtures.
    """
    if kubeconfig := os.environ.get("KUBECONFIG"):
        yield ExistingCluster(Path(kubeconfig))
        return
    if reason := why_not():
        pytest.skip(reason)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        build()  # may take minutes, and reports its progress
    with Cluster() as own:
        yield own
