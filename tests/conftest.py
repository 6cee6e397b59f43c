"""What tests of several modules share: Dagster instances that are real, and thrown away afterwards."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

PROJECT = Path(__file__).parent.parent


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance that keeps its runs and events in memory."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new DAGSTER_HOME with the project's own dagster.yaml, and no setting of the bench from outside."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(PROJECT / "dagster.yaml", folder)
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    for name in ("RESULTS_DIR", "WEBSERVER_URL", "WEBSERVER_AUTHORIZATION", "MONITOR_LOCATIONS"):
        monkeypatch.delenv(f"BENCH_{name}", raising=False)
    return folder


@pytest.fixture
def home_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The instance of that home: SQLite, the queued run coordinator, the default launcher."""
    assert home.is_dir()
    with dg.DagsterInstance.get() as on_disk:
        yield on_disk
