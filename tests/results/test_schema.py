"""A file of an earlier release is migrated without losses; one of a later release is refused."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
import samples

from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.results.database import StoreError
from bench_orchestrator.results.rows import COLUMNS, launch_rows
from bench_orchestrator.results.schema import VERSION
from bench_orchestrator.results.store import Store

VERSION_1 = Path(__file__).parent / "files" / "version_1.duckdb"

COLUMNS_OF_ALL = """
    SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns()
    WHERE NOT internal ORDER BY table_name, column_index
"""
CONSTRAINTS = """
    SELECT table_name, constraint_type, constraint_column_names FROM duckdb_constraints()
    ORDER BY table_name, constraint_type, constraint_column_names
"""
VIEWS = "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY view_name"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a results database of the first version."""
    shutil.copy(VERSION_1, tmp_path / "bench.duckdb")
    return Store.in_directory(tmp_path)


def read(path: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute(query).fetchall()


def version_of(path: Path) -> int:
    (version,) = read(path, "SELECT version FROM schema_version")[0]
    return int(version)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return every launch with the columns of this version; those of a file of the first version have no role."""
    with duckdb.connect(path, read_only=True) as connection:
        stored = connection.sql("FROM launches ORDER BY sweep_id, trial")
        rows = [{"role": "", **dict(zip(stored.columns, row, strict=True))} for row in stored.fetchall()]
    return [{column.name: row[column.name] for column in COLUMNS} for row in rows]


def test_a_migrated_file_has_the_tables_of_a_new_one(store: Store, tmp_path: Path) -> None:
    store.list_sweeps()
    fresh = Store(tmp_path / "new" / "bench.duckdb")
    fresh.save(samples.failed_sweep())
    for query in (COLUMNS_OF_ALL, CONSTRAINTS, VIEWS):
        assert read(store.path, query) == read(fresh.path, query)
    assert version_of(store.path) == version_of(fresh.path) == VERSION


def test_a_migrated_file_has_every_sweep_as_it_was(store: Store) -> None:
    expected = rows_of(store.path)
    plans = read(store.path, "SELECT sweep_id, status, plan FROM sweeps ORDER BY sweep_id")
    summaries = store.list_sweeps()
    assert [one.sweep_id for one in summaries] == [
        "monitor-1",
        "quick-1",
        "20260714-093000-4f2a",
        "split-definitions-4f2a91c3",
    ]
    assert [(one.ok, one.trials) for one in summaries] == [(1, 1), (4, 6), (32, 42), (28, 49)]
    sweeps = {one.sweep_id: store.load(one.sweep_id) for one in summaries}
    assert [
        row for _, sweep in sorted(sweeps.items()) for trial in sweep.trials for row in launch_rows(trial)
    ] == expected
    assert rows_of(store.path) == expected
    assert read(store.path, "SELECT sweep_id, status, plan FROM sweeps ORDER BY sweep_id") == plans
    pods = [trial.launch.pod for trial in sweeps["20260714-093000-4f2a"].trials]
    assert {pod.trouble for pod in pods if pod} == {"", "OOMKilled, exit code 137"}
    assert {trial.outcome for trial in sweeps["split-definitions-4f2a91c3"].trials} == set(Outcome)


def test_writing_migrates_as_reading_does(store: Store) -> None:
    expected = rows_of(store.path)
    store.save(replace(samples.failed_sweep(), plan=replace(samples.failed_sweep().plan, sweep_id="none"), trials=()))
    assert version_of(store.path) == VERSION
    assert rows_of(store.path) == expected


def test_a_kill_in_the_middle_of_a_migration_leaves_the_old_file_usable(store: Store) -> None:
    before = rows_of(store.path)
    code = """
import duckdb, os, signal, sys
from pathlib import Path
from bench_orchestrator.results.store import Store

class Killed:
    def __init__(self, connection):
        self._connection = connection

    def execute(self, sql, *parameters):
        if sql == "COMMIT":
            os.kill(os.getpid(), signal.SIGKILL)
        return self._connection.execute(sql, *parameters)

    def close(self):
        self._connection.close()

connect = duckdb.connect
duckdb.connect = lambda *args, **options: Killed(connect(*args, **options))
Store(Path(sys.argv[1])).list_sweeps()
"""
    ended = subprocess.run([sys.executable, "-c", code, str(store.path)], env=os.environ, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert rows_of(store.path) == before
    assert not read(store.path, "FROM duckdb_tables() WHERE table_name = 'schema_version'")
    assert len(store.list_sweeps()) == 4


def test_a_file_that_cannot_be_written_says_that_it_has_to_be_migrated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = duckdb.connect

    def connect_to_a_read_only_disk(path: Path, *, read_only: bool, **options: Any) -> duckdb.DuckDBPyConnection:
        if not read_only:
            raise duckdb.IOException(f'IO Error: Cannot open file "{path}": Read-only file system')
        return connect(path, read_only=True, **options)

    monkeypatch.setattr(duckdb, "connect", connect_to_a_read_only_disk)
    with pytest.raises(StoreError, match=r"earlier release .* has to be migrated .*Read-only file system"):
        store.list_sweeps()


def test_a_file_of_a_later_release_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    store = Store.in_directory(tmp_path)
    store.save(samples.failed_sweep())
    with duckdb.connect(store.path) as connection:
        connection.execute("UPDATE schema_version SET version = ?", [VERSION + 1])
    uses: Sequence[Any] = (store.list_sweeps, lambda: store.load("a"), lambda: store.save(samples.measured_sweep()))
    for use in uses:
        with pytest.raises(
            StoreError, match=rf"later release .* its version is {VERSION + 1}, .*Upgrade dagster-bench"
        ):
            use()
    assert version_of(store.path) == VERSION + 1


def test_any_duckdb_that_is_allowed_can_read_the_file(tmp_path: Path) -> None:
    store = Store.in_directory(tmp_path)
    store.save(samples.failed_sweep())
    # The number after the magic bytes is the storage format's version; DuckDB 1.2 and 1.3 read up to 65 and 66.
    header = store.path.read_bytes()[:20]
    assert header[8:12] == b"DUCK"
    assert int.from_bytes(header[12:20], "little") <= 65
