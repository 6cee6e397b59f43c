"""The contract with Dagster: the shortcuts do what Dagster does, in this release of Dagster.

Needs only Dagster and pytest: `test_warm_releases` runs it against other releases.
"""

import atexit
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.execution import compute_logs
from dagster._core.instance import factory
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from dagster_warm import shortcuts


def test_migrations_are_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reads: list[str] = []
    read = ScriptDirectory.from_config
    exit_handlers = atexit._ncallbacks()

    def count(config: Any) -> ScriptDirectory:
        reads.append(config.get_main_option("script_location"))
        return read(config)

    monkeypatch.setattr(ScriptDirectory, "from_config", count)
    shortcuts.keep_migrations()
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        with dg.DagsterInstance.local_temp(str(tmp_path / name)) as instance:
            assert instance.get_runs() == []
            assert instance.schedule_storage
    assert len(reads) == 1
    assert atexit._ncallbacks() - exit_handlers <= 1  # none by an older Alembic

    others = Config()
    others.set_main_option("script_location", str(tmp_path / "theirs"))
    (tmp_path / "theirs").mkdir()
    for _ in range(2):
        ScriptDirectory.from_config(others)
    assert reads[1:] == [str(tmp_path / "theirs")] * 2


@pytest.fixture
def unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo the changes to Dagster's modules afterwards."""
    for module, name in (
        (sqlite_event_log, "create_engine"),
        (sqlite_run_storage, "create_engine"),
        (sqlite_schedule_storage, "create_engine"),
        (factory, "create_instance_from_ref"),
        (compute_logs, "execute_posix_tail"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))


@dg.asset
def observed() -> None:
    print("observed, and captured")


@pytest.mark.usefixtures("unchanged")
def test_sqlites_engines_are_kept_and_hold_no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[Engine] = []

    def count(url: str, **options: Any) -> Engine:
        made.append(create_engine(url, **options))
        return made[-1]

    monkeypatch.setattr(shortcuts, "create_engine", count)
    shortcuts.keep_engines()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for _ in range(2):
            result = dg.materialize([observed], instance=instance)
            assert len(instance.all_logs(result.run_id)) > 10
        assert len(instance.fetch_run_status_changes(dg.DagsterEventType.RUN_SUCCESS, limit=9).records) == 2
    urls = [str(engine.url) for engine in made]
    assert len(urls) == len(set(urls)) == 5  # runs, schedules, the index, and one for each run
    assert {type(engine.pool) for engine in made} == {NullPool}


@pytest.mark.usefixtures("unchanged")
def test_an_instance_is_held_for_the_first_that_opens_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shortcuts, "find_hazards", list)  # threads of other tests come and go in this process
    refs = []
    for name in ("held", "another"):
        (tmp_path / name).mkdir()
        with dg.DagsterInstance.local_temp(str(tmp_path / name)) as instance:
            refs.append(instance.get_ref())
    held, another = refs
    created: list[Any] = []
    create = factory.create_instance_from_ref

    def count(instance_ref: Any) -> dg.DagsterInstance:
        created.append(instance_ref)
        return create(instance_ref)

    factory.create_instance_from_ref = count
    shortcuts.hold_instance(held)
    assert created == [held]
    with dg.DagsterInstance.from_ref(another), dg.DagsterInstance.from_ref(held) as first:
        assert first.get_runs() == []
        assert created == [held, another]
        with dg.DagsterInstance.from_ref(held) as second:
            assert second is not first
    assert created == [held, another, held]


@pytest.mark.usefixtures("unchanged")
def test_an_instance_that_keeps_a_connection_is_not_held(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        ref = instance.get_ref()
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections: list[socket.socket] = []

        def connect(*_: object, **__: object) -> list[dg.DagsterRun]:
            connections.append(socket.create_connection(server.getsockname()))
            return []

        create = factory.create_instance_from_ref
        disposed: list[dg.DagsterInstance] = []
        with monkeypatch.context() as patch:
            patch.setattr(dg.DagsterInstance, "get_runs", connect)
            patch.setattr(dg.DagsterInstance, "dispose", lambda instance: disposed.append(instance))
            shortcuts.hold_instance(ref)
        for connection in connections:
            connection.close()
        disposed[0].dispose()
    assert len(disposed) == 1
    assert factory.create_instance_from_ref is create


def test_events_are_recognized_without_making_one() -> None:
    code = """
import multiprocessing, threading
from multiprocessing import resource_tracker
from dagster._check import CheckError
from dagster._utils import start_termination_thread
from dagster_warm import shortcuts
from dagster_warm.pipes import PipeEvent
multiprocessing.set_start_method("spawn")  # as Dagster does
shortcuts.name_event_type()
stop, done = PipeEvent(), threading.Event()
start_termination_thread(stop, done)
assert resource_tracker._resource_tracker._pid is None
start_termination_thread(multiprocessing.Event(), done)
assert resource_tracker._resource_tracker._pid is not None
try:
    start_termination_thread(threading.Event(), done)
except CheckError:
    print("told apart")
done.set()
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "told apart\n"


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("killed", [False, True])
def test_a_tail_that_watches_mirrors_everything_and_ends_with_its_process(tmp_path: Path, killed: bool) -> None:
    code = f"""
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
from dagster._core.execution import compute_logs
from dagster_warm import shortcuts
shortcuts.let_tail_watch()
with compute_logs.mirror_stream_to_file(sys.stdout, {str(tmp_path / "captured")!r}) as (tail, watcher):
    assert watcher is None
    print(tail, flush=True)
    print("the last line", flush=True)
    time.sleep(0.2)
    if {killed}:
        os.kill(os.getpid(), 9)
"""
    with (tmp_path / "mirrored").open("w") as mirrored:
        done = subprocess.run([sys.executable, "-c", code], stdout=mirrored, check=False)
    assert done.returncode == (-9 if killed else 0)
    tail, last = (tmp_path / "captured").read_text().splitlines()
    assert last == "the last line"
    deadline = time.monotonic() + 60
    while Path(f"/proc/{tail}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (tmp_path / "mirrored").read_text() == (tmp_path / "captured").read_text()


@pytest.mark.usefixtures("unchanged")
def test_where_tail_cannot_watch_dagsters_way_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stock = compute_logs.execute_posix_tail
    (tmp_path / "tail").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "tail").chmod(0o755)
    for path in (str(tmp_path), str(tmp_path / "none")):
        monkeypatch.setenv("PATH", path)
        shortcuts.let_tail_watch()
        assert compute_logs.execute_posix_tail is stock
