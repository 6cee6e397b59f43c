"""Queries Dagster's storage of both kinds: SQLite files, and a real PostgreSQL server."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import dagster as dg
import psycopg2.errors
import pytest
import sqlalchemy as sa
import yaml
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.event_log import SqlEventLogStorage
from postgresql import PostgresServer, new_database, running_server
from recording import make_plan, run_sweep, run_trial

from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.runs import RunLog
from bench_orchestrator.sources import storage
from bench_orchestrator.sources.instance import find_run_ids, find_trial_runs, get_run, read_run_log, read_run_logs
from bench_orchestrator.sources.storage import StorageError, delete_runs, describe_storage, store_queued_copies
from bench_orchestrator.sweeps.harvest import harvest_sweep

OpenInstance = Callable[[str], AbstractContextManager[dg.DagsterInstance]]


@pytest.fixture
def open_on(tmp_path: Path) -> OpenInstance:
    """Open an instance whose storage is the database of that URL."""

    def open_instance(url: str) -> dg.DagsterInstance:
        home = tmp_path / "on-postgresql"
        home.mkdir()
        settings = {"telemetry": {"enabled": False}, "storage": {"postgres": {"postgres_url": url}}}
        (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
        return dg.DagsterInstance.from_config(str(home))

    return open_instance


@pytest.fixture
def on_postgresql(open_on: OpenInstance, postgres_server: str) -> Iterator[dg.DagsterInstance]:
    """Yield an instance with a new database."""
    with new_database(postgres_server) as url, open_on(url) as instance:
        yield instance


@pytest.fixture(scope="module")
def separate_server() -> Iterator[PostgresServer]:
    """Yield a server that tests may stop if they start it again."""
    with running_server() as server:
        yield server


@pytest.fixture
def breakable(
    open_on: OpenInstance, separate_server: PostgresServer
) -> Iterator[tuple[PostgresServer, dg.DagsterInstance]]:
    """Yield that server, and an instance with a new database in it."""
    with new_database(separate_server.url) as url, open_on(url) as instance:
        yield separate_server, instance


def copy(run_id: str, source: dg.DagsterInstance, target: dg.DagsterInstance) -> None:
    """Copy the run with its events into another instance."""
    record = source.get_run_record_by_id(run_id)
    assert record is not None
    run = record.dagster_run._replace(job_snapshot_id=None, execution_plan_snapshot_id=None)
    target.run_storage.add_historical_run(run, record.create_timestamp)
    for entry in source.all_logs(run_id):
        target.event_log_storage.store_event(entry)


@contextmanager
def statements(instance: dg.DagsterInstance) -> Iterator[list[str]]:
    """Record the queries to the event log's database within this context."""
    asked: list[str] = []
    engine = instance.event_log_storage._engine  # type: ignore[attr-defined]

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    yield asked
    sa.event.remove(engine, "before_cursor_execute", note)


def test_both_storages_give_the_same_rows(
    home_instance: dg.DagsterInstance, on_postgresql: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_RUNS_AT_ONCE", 3)
    monkeypatch.setattr(storage, "_PAGE", 4)
    plan = make_plan(repeats=2)
    run_ids = [run_trial(home_instance, plan, trial.number, ok=trial.number != 2) for trial in plan.trials]
    outcomes = [Outcome.FAILED if trial.number == 2 else Outcome.OK for trial in plan.trials]
    notes = [
        TrialNote(trial.number, outcome, run_id=run_id, requested_us=now_us())
        for trial, outcome, run_id in zip(plan.trials, outcomes, run_ids, strict=True)
    ]
    sweep_run = run_sweep(home_instance, plan, notes)
    for run_id in (*run_ids, sweep_run):
        copy(run_id, home_instance, on_postgresql)

    on_files = read_run_logs(home_instance, run_ids)
    assert list(on_files) == run_ids
    assert len({log.events for log in on_files.values()}) == len(run_ids)
    assert read_run_logs(on_postgresql, run_ids) == on_files
    assert {run_id: read_run_log(on_postgresql, run_id) for run_id in run_ids} == on_files

    harvested = harvest_sweep(on_postgresql, sweep_run)
    assert harvested == harvest_sweep(home_instance, sweep_run)
    assert harvested is not None
    assert [trial.outcome for trial in harvested.trials] == outcomes


def test_many_runs_are_read_with_few_queries(on_postgresql: dg.DagsterInstance) -> None:
    plan = make_plan(repeats=4)
    run_ids = [run_trial(on_postgresql, plan, trial.number) for trial in plan.trials]
    with statements(on_postgresql) as asked:
        logs = read_run_logs(on_postgresql, [*run_ids, "one-that-is-unknown", run_ids[0]])
    assert len(asked) == 1
    assert logs.pop("one-that-is-unknown") == RunLog()
    assert all(log.work == 1 for log in logs.values())
    assert read_run_logs(on_postgresql, []) == {}


@pytest.mark.parametrize("kind", ["home_instance", "on_postgresql"])
def test_queued_copies_are_as_dagster_stores_runs(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(storage, "_PAGE", 2)
    instance: dg.DagsterInstance = request.getfixturevalue(kind)
    origin = RemoteJobOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("a10"), "__repository__"), "__ASSET_JOB"
    )
    tags = {"role": "first", "other": "kept"}
    first, waiting = (
        instance.run_storage.add_run(
            dg.DagsterRun("__ASSET_JOB", run_id, tags=tags, status=status, remote_job_origin=origin)
        )
        for run_id, status in (("first", dg.DagsterRunStatus.SUCCESS), ("waiting", dg.DagsterRunStatus.QUEUED))
    )
    store_queued_copies(instance, first.run_id, 5, {"role": "held", "more": "yes"})
    queued = instance.get_runs(dg.RunsFilter(tags={"role": "held"}, statuses=[dg.DagsterRunStatus.QUEUED]))
    assert len({run.run_id for run in queued}) == 5
    of_copies = {"role": "held", "other": "kept", "more": "yes"}
    assert [run._replace(run_id="waiting") for run in queued] == [waiting._replace(tags=of_copies)] * 5
    assert instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED], tags={"other": "kept"})) == 6
    delete_runs(instance, [run.run_id for run in queued])
    assert {run.run_id for run in instance.get_runs()} == {"first", "waiting"}
    assert instance.get_run_tags(["role"]) == [("role", {"first"})]


class TestRunsByTheBeginningOfTheirIds:
    IDS = ("4f2a1b2c-0000", "4f2a1b2d-0000", "4f_a1b2c-0000", "5f'a1b2c-0000")

    @pytest.fixture(params=["home_instance", "on_postgresql", "instance"])
    def holding(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
        """Return an instance with these runs that refuses to list all of them."""
        instance: dg.DagsterInstance = request.getfixturevalue(request.param)
        for run_id in self.IDS:
            instance.run_storage.add_run(dg.DagsterRun("nothing", run_id))
        monkeypatch.setattr(instance, "get_run_ids", None)
        return instance

    def test_at_most_two_are_loaded(self, holding: dg.DagsterInstance) -> None:
        assert find_run_ids(holding, self.IDS[0]) == [self.IDS[0]]
        assert find_run_ids(holding, "4f2a1b2c") == [self.IDS[0]]
        assert sorted(find_run_ids(holding, "4f2a1b")) == [*self.IDS[:2]]
        assert len(find_run_ids(holding, "4f")) == 2

    def test_no_character_is_a_wildcard_or_ends_the_query(self, holding: dg.DagsterInstance) -> None:
        for hostile in ("%", "4f%", "4_2a1b", "4F2A1B", "' OR '1'='1", "4f2a1b\\", "*", '"'):
            assert find_run_ids(holding, hostile) == []
        assert find_run_ids(holding, "4f_a") == [self.IDS[2]]
        assert find_run_ids(holding, "5f'a") == [self.IDS[3]]


def test_another_storage_is_searched_by_pages_until_two_runs_are_found(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ids = [f"{number:06x}-0000" for number in range(7)]
    for run_id in run_ids:
        instance.run_storage.add_run(dg.DagsterRun("nothing", run_id))
    monkeypatch.setattr(storage, "SqlRunStorage", SqlEventLogStorage)  # which no run storage is
    monkeypatch.setattr(storage, "_PAGE", 2)
    pages: list[int] = []
    get_run_ids = instance.get_run_ids

    def noting(*, cursor: str | None, limit: int) -> Sequence[str]:
        pages.append(limit)
        return get_run_ids(cursor=cursor, limit=limit)

    monkeypatch.setattr(instance, "get_run_ids", noting)
    for run_id in run_ids:
        assert find_run_ids(instance, run_id[:6]) == [run_id]
    pages.clear()
    assert len(find_run_ids(instance, "0000")) == 2
    assert pages == [2]


def test_a_restart_of_the_database_is_waited_for(breakable: tuple[PostgresServer, dg.DagsterInstance]) -> None:
    server, instance = breakable
    plan = make_plan()
    run_id = run_trial(instance, plan, 1)
    server.kill()
    restart = threading.Timer(8, server.start)  # longer than dagster-postgres itself tries
    restart.start()
    try:
        assert [run.run_id for run in find_trial_runs(instance, plan.sweep_id)] == [run_id]
    finally:
        restart.join()


def test_who_gives_up_names_the_database(
    breakable: tuple[PostgresServer, dg.DagsterInstance], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, instance = breakable
    server.stop()
    monkeypatch.setattr(storage, "PATIENCE_S", 0)
    with pytest.raises(
        StorageError, match=rf"The PostgreSQL database postgresql://\*\*\*@127.0.0.1:{server.port}/"
    ) as no:
        get_run(instance, "any")
    assert "Connection refused" in str(no.value)
    server.start()
    assert get_run(instance, "any") is None


def test_a_connection_that_is_cut_is_made_again(
    on_postgresql: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan()
    run_id = run_trial(on_postgresql, plan, 1)
    monkeypatch.setattr(storage, "_RETRY_S", 0)
    log = read_run_log(on_postgresql, run_id)
    cut: list[bool] = []

    @storage.patient
    def read(instance: dg.DagsterInstance) -> RunLog:
        if not cut:
            cut.append(True)
            with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
                connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return read_run_log(instance, run_id)

    assert read(on_postgresql) == log
    assert cut == [True]


def test_what_is_wrong_for_good_is_not_tried_again(on_postgresql: dg.DagsterInstance) -> None:
    @storage.patient
    def read(instance: dg.DagsterInstance) -> None:
        with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
            connection.execute(sa.text("SELECT nothing_of_that_name()"))

    with pytest.raises(sa.exc.ProgrammingError) as wrong:
        read(on_postgresql)
    assert isinstance(wrong.value.orig, psycopg2.errors.UndefinedFunction)


def test_a_storage_is_named_without_its_credentials(
    open_on: OpenInstance, postgres_server: str, home_instance: dg.DagsterInstance
) -> None:
    with new_database(postgres_server) as url:
        with_password = url.replace("dagster@", "dagster:very-secret@") if ":very" not in url else url
        with open_on(with_password) as instance:
            described = describe_storage(instance)
    assert "secret" not in described
    assert described.startswith("The PostgreSQL database postgresql://")
    assert describe_storage(home_instance).endswith(home_instance.root_directory)


def test_the_plain_scheme_is_read_as_the_driver_that_dagster_installs() -> None:
    assert sa.create_engine("postgresql://host/database").driver == "psycopg2"
