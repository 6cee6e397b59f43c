"""The queue that is looked at when it changes, in a real deployment: its order, its limits, and daemons that die.

No test waits for the interval of the daemon: it is longer than their patience. On SQLite, `test_code_servers` has this
queue in every day's tests.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import sqlalchemy
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from postgresql import execute, new_database
from webservers import running_webserver

from bench_orchestrator.deployment import WARM_SERVER
from bench_orchestrator.webserver import Webserver
from dagster_warm.changes import PostgresChanges, changes_of
from integration.serving import AT_ONCE, LOCATION, Server, behaviours, gone, serve
from integration.sweeping import PATIENCE_S, wait_for

Kind = dg.DagsterEventType
Status = dg.DagsterRunStatus

LIMIT = 2
on_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture(scope="module", params=[pytest.param("sqlite", marks=pytest.mark.thorough), "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Yield the URL of a database; None: files in the home."""
    if request.param == "sqlite":
        yield None
        return
    with new_database(request.getfixturevalue("postgres_server")) as url:
        yield url


@pytest.fixture(scope="module")
def server(database: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings: dict[str, Any] = {"storage": {"postgres": {"postgres_url": database}}} if database else {}
    concurrency = {"runs": {"max_concurrent_runs": LIMIT}, "pools": {"default_limit": 1}}
    home = tmp_path_factory.mktemp("home")
    with serve(home, behaviours(WARM_SERVER), run_coordinator=AT_ONCE, concurrency=concurrency, **settings) as servers:
        yield servers[LOCATION]


@pytest.fixture
def busy(server: Server, tmp_path: Path) -> Iterator[list[Path]]:
    """Yield the files whose removal ends the runs that take all slots."""
    paths = [tmp_path / str(number) for number in range(LIMIT)]
    for path in paths:
        server.launch("lasting", wait_for_file=path)
    for path in paths:
        server.process_in(path)
    yield paths
    for path in paths:
        path.unlink(missing_ok=True)


@pytest.fixture
def another(server: Server) -> Iterator[Server]:
    """Yield the same server behind a second webserver of the instance."""
    command = server.daemon.cmdline()
    target = WorkspaceFileTarget([command[command.index("-w") + 1]])
    with (
        dg.DagsterInstance.from_config(str(server.deployment.home)) as instance,
        WorkspaceProcessContext(instance, target) as workspace,
        running_webserver(workspace) as url,
    ):
        yield replace(server, webserver=Webserver(url))


def test_the_next_run_gets_the_next_slot(server: Server, busy: list[Path]) -> None:
    waiting = [server.launch("success_in_process") for _ in range(4)]
    urgent = server.launch("success_in_process", {"dagster/priority": "1"})
    for path in busy:
        path.unlink()
    _wait_for_success(server, urgent, *waiting)
    assert sorted(waiting, key=lambda run_id: _time(server, run_id, Kind.RUN_STARTING)) == waiting
    assert all(
        _time(server, urgent, Kind.RUN_STARTING) < _time(server, run_id, Kind.RUN_STARTING) for run_id in waiting
    )
    runs = server.instance.get_run_ids()
    starts = [(_time(server, run_id, Kind.RUN_STARTING), 1) for run_id in runs]
    ends = [(_time(server, run_id, Kind.RUN_SUCCESS), -1) for run_id in runs]
    assert max(accumulate(change for _, change in sorted(starts + ends))) == LIMIT


def test_a_run_waits_for_its_pool(server: Server) -> None:
    runs = [server.launch("pooled") for _ in range(3)]
    _wait_for_success(server, *runs)


def test_a_daemon_that_is_killed_loses_and_doubles_no_run_of_several_webservers(
    server: Server, another: Server, busy: list[Path]
) -> None:
    waiting = []
    for before, after in ((server, another), (another, server)):
        daemon = wait_for("a daemon", lambda: _daemon(server))
        waiting.append(before.launch("success_in_process"))
        daemon.kill()
        waiting.append(after.launch("success_in_process"))
        wait_for("its end", partial(gone, daemon))
    for path in busy:
        path.unlink()
    _wait_for_success(server, *waiting)
    waiting += [one.finish("success_in_process") for one in (server, another)]
    for run_id in waiting:
        for kind in (Kind.RUN_ENQUEUED, Kind.RUN_STARTING, Kind.RUN_START):
            assert len(server.events(run_id, kind)) == 1


@on_postgresql
def test_a_connection_that_is_cut_is_opened_again(server: Server, database: str) -> None:
    log = server.deployment.home / ".bench" / "logs" / "daemon.log"
    for count in range(1, 3):
        ports = ", ".join(str(one.laddr.port) for one in server.daemon.net_connections("tcp"))
        execute(database, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_port IN ({ports})")
        server.finish("success_in_process")
        assert log.read_text().count("is opened again") == count


@on_postgresql
def test_only_what_changes_the_queue_is_told(server: Server) -> None:
    run = server.run(server.finish("success_in_process"))
    with changes_of(server.instance, logging.getLogger(__name__)) as found:
        assert found is not None
        server.instance.report_engine_event("of no interest", run)
        until_s = time.monotonic() + 2
        while (left_s := until_s - time.monotonic()) > 0:
            assert not found.wait(threading.Event(), left_s, with_pools=True)
        server.instance.report_dagster_event(dg.DagsterEvent(Kind.RUN_CANCELED.value, run.job_name), run.run_id)
        assert found.wait(threading.Event(), PATIENCE_S, with_pools=False)


@on_postgresql
def test_notifications_that_do_not_arrive_are_missed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pooler with PgBouncer's transaction mode swallows them, and keeps the session that listens."""
    sessions: list[sqlalchemy.Connection] = []
    monkeypatch.setattr(PostgresChanges, "_hears", lambda one, _: sessions.append(one._connection))
    with changes_of(server.instance, logging.getLogger(__name__)) as found:
        assert found is None
        assert sessions[0].execute(sqlalchemy.text("SELECT pg_listening_channels()")).all() == []
    monkeypatch.undo()
    with changes_of(server.instance, logging.getLogger(__name__)) as found:
        assert found is not None


def _wait_for_success(server: Server, *run_ids: str) -> None:
    for run_id in run_ids:
        assert server.wait_for_end(run_id) is Status.SUCCESS, server.story(run_id)


def _time(server: Server, run_id: str, kind: Kind) -> float:
    (entry,) = server.instance.all_logs(run_id, of_type=kind)
    return entry.timestamp


def _daemon(server: Server) -> psutil.Process | None:
    """Return the deployment's daemon, if there is one at the moment."""
    with suppress(ValueError, psutil.Error):
        return server.daemon
    return None
