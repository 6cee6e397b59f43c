"""Every finished run is observed once, whatever happens meanwhile."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import duckdb
import pytest
import sqlalchemy as sa
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable
from finished_runs import NOON_US, add_run, change_run
from hypothesis import given, settings
from hypothesis import strategies as st
from recording import broken, damage_log, make_plan, measured, run_trial

from bench_orchestrator.definitions import defs
from bench_orchestrator.defs import observe
from bench_orchestrator.defs.observe import Tally, observe_into, observed_launches
from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.launch import OUTCOMES, Outcome
from bench_orchestrator.model.observed import Progress, Selection
from bench_orchestrator.model.runs import FINISHED, RunStatus
from bench_orchestrator.model.tags import OBSERVATION, OBSERVED_ASSET, Tag
from bench_orchestrator.results.rows import COLUMNS
from bench_orchestrator.results.schema import migrate
from bench_orchestrator.results.store import Store
from bench_orchestrator.sources import observing
from bench_orchestrator.sources.finished import id_of
from bench_orchestrator.sources.instance import find_requests, find_runs, read_run_logs
from bench_orchestrator.sources.observing import is_any_to_observe
from bench_orchestrator.timeline.launches import launch_of_run

ALL = Selection()
HOUR_US = 3_600 * MICROSECONDS


def observe_all(store: Store, instance: dg.DagsterInstance, selection: Selection = ALL) -> Tally:
    tally = observe_into(store, instance, selection, 3_600)
    assert tally.complete
    return tally


def rows_of(store: Store) -> dict[str, dict[str, Any]]:
    """Return the observed rows by run id."""
    if not store.path.exists():
        return {}
    with store.open(read_only=True) as connection:
        found = connection.execute("FROM observed_launches")
        names = [column[0] for column in found.description]
        return {row["run_id"]: row for row in (dict(zip(names, values, strict=True)) for values in found.fetchall())}


@contextmanager
def in_memory(folder: Path) -> Iterator[Store]:
    """Yield a results database that is in memory, where it opens sooner than a file; it is closed after each use."""
    with closing(duckdb.connect()) as database, pytest.MonkeyPatch.context() as patch:
        migrate(database)

        @contextmanager
        def open_cursor(_store: Store, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
            assert isinstance(read_only, bool)
            with closing(database.cursor()) as cursor:
                yield cursor

        patch.setattr(Store, "open", open_cursor)
        (folder / "bench.duckdb").touch()
        yield Store.in_directory(folder)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return the results database that the asset writes, a file that does not exist yet."""
    monkeypatch.setenv("BENCH_RESULTS_DIR", str(tmp_path))
    monkeypatch.delenv("BENCH_OBSERVED_LOCATIONS", raising=False)
    monkeypatch.delenv("BENCH_OBSERVE_BENCH", raising=False)
    return Store.in_directory(tmp_path)


@pytest.fixture
def store(stored: Store) -> Iterator[Store]:
    """Yield the results database, in memory."""
    with in_memory(stored.path.parent) as database:
        yield database


class TestARow:
    def test_has_the_stages_of_its_run_whoever_launched_it(self, instance: dg.DagsterInstance, store: Store) -> None:
        good = dg.materialize([measured], instance=instance).run_id
        bad = dg.materialize([broken], instance=instance, raise_on_error=False).run_id
        tally = observe_all(store, instance)
        assert (dict(tally.outcomes), tally.left_out) == ({Outcome.OK: 1, Outcome.FAILED: 1}, 0)
        rows = rows_of(store)
        runs = find_runs(instance, {})
        logs, requests = read_run_logs(instance, [good, bad]), find_requests(instance, runs)
        for run in runs:
            row = rows[run.run_id]
            launch = launch_of_run(run, logs[run.run_id], requests[run.run_id])
            assert row["lag_us"] == launch.lag_us is not None
            assert {stage: row[f"{stage}_us"] for stage in launch.stages_us} == launch.stages_us
            assert {at: row[f"{at}_at_us"] for at in launch.at_us} == launch.at_us
            assert (row["updated_us"], row["job"], row["location"]) == (run.updated_us, run.job, "")
            assert (row["origin"], row["run_worker"], row["executor"]) == ("request", None, "in_process")
        assert (rows[bad]["outcome"], rows[bad]["reason"]) == ("failed", "ConnectionError: no route to the warehouse")

    def test_of_a_trial_is_that_of_its_sweep(self, instance: dg.DagsterInstance, store: Store) -> None:
        run_id = run_trial(instance, make_plan(), 1)
        assert observe_all(store, instance).left_out == 1
        assert not rows_of(store)
        with in_memory(store.path.parent) as other:
            observe_all(other, instance, Selection(of_bench=True))
            assert rows_of(other)[run_id]["requested_at_us"] is not None

    def test_has_its_location_its_partition_and_its_end_even_without_a_log(
        self, instance: dg.DagsterInstance, store: Store
    ) -> None:
        run_id = add_run(instance, location="sales", tags={"dagster/partition": "2026-07-14"})
        observe_all(store, instance)
        row = rows_of(store)[run_id]
        assert (row["location"], row["job"], row["partition_key"]) == ("sales", "nightly", "2026-07-14")
        assert (row["outcome"], row["updated_us"], row["lag_us"]) == ("ok", NOON_US, None)

    def test_of_a_run_with_a_damaged_log_holds_up_no_other(
        self, home_instance: dg.DagsterInstance, store: Store
    ) -> None:
        cut, sound = (dg.materialize([measured], instance=home_instance).run_id for _ in range(2))
        damage_log(home_instance, cut)
        without_table, no_database = add_run(home_instance), add_run(home_instance)
        logs = Path(home_instance.root_directory) / "history" / "runs"
        with closing(sqlite3.connect(logs / f"{without_table}.db")) as connection:
            connection.execute("CREATE TABLE alembic_version (version_num)")
        (logs / f"{no_database}.db").write_text("no database")
        assert observe_all(store, home_instance).outcomes[Outcome.OK] == 4
        assert {run_id for run_id, row in rows_of(store).items() if row["lag_us"] is not None} == {sound}

    @pytest.mark.parametrize("body", ["{", '{"__class__": "DagsterRunOfAnotherRelease"}'])
    def test_of_a_run_whose_record_is_damaged_holds_up_no_other_either(
        self, instance: dg.DagsterInstance, store: Store, body: str
    ) -> None:
        damaged, *sound = (add_run(instance, NOON_US + number) for number in range(5))
        assert isinstance(instance.run_storage, SqlRunStorage)
        with instance.run_storage.connect() as connection:
            connection.execute(sa.update(RunsTable).where(RunsTable.c.run_id == damaged).values(run_body=body))
        tally = observe_all(store, instance)
        assert (tally.unreadable, tally.outcomes[Outcome.OK], tally.left_out, tally.deleted) == ([damaged], 4, 0, 0)
        assert set(rows_of(store)) == set(sound)
        assert not is_any_to_observe(instance, store.observation_progress(id_of(instance)), ALL)

    def test_stays_when_its_run_is_deleted(self, instance: dg.DagsterInstance, store: Store) -> None:
        run_id = add_run(instance)
        observe_all(store, instance)
        instance.delete_run(run_id)
        assert observe_all(store, instance).deleted == 0
        assert list(rows_of(store)) == [run_id]


class TestProgress:
    def test_what_is_observed_is_not_read_again(
        self, instance: dg.DagsterInstance, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_ids = {add_run(instance, NOON_US + number) for number in range(3)}
        assert observe_all(store, instance).outcomes.total() == 3
        monkeypatch.setattr(observing, "find_runs", None)
        assert observe_all(store, instance).outcomes.total() == 0
        assert set(rows_of(store)) == run_ids

    def test_an_observation_ends_with_its_time_and_the_next_goes_on(
        self, instance: dg.DagsterInstance, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(observing, "AT_ONCE", 2)
        run_ids = [add_run(instance, NOON_US + number) for number in range(5)]
        for observed in (2, 4, 5):
            assert not observe_into(store, instance, ALL, 0).complete
            assert set(rows_of(store)) == set(run_ids[:observed])
            assert is_any_to_observe(instance, store.observation_progress(id_of(instance)), ALL) is (observed < 5)
        assert observe_into(store, instance, ALL, 0).complete

    def test_two_instances_are_observed_into_one_file(
        self, instance: dg.DagsterInstance, home_instance: dg.DagsterInstance, store: Store
    ) -> None:
        of_one, of_other = add_run(instance, NOON_US + HOUR_US * 24), add_run(home_instance)
        assert observe_all(store, instance).outcomes.total() == observe_all(store, home_instance).outcomes.total() == 1
        assert set(rows_of(store)) == {of_one, of_other}

    def test_only_what_is_recent_is_remembered(self, instance: dg.DagsterInstance, store: Store) -> None:
        for hours in range(5):
            add_run(instance, NOON_US + hours * HOUR_US)
        observe_all(store, instance)
        progress = store.observation_progress(id_of(instance))
        assert progress.until_us == NOON_US + 4 * HOUR_US
        assert {updated_us for _, updated_us in progress.recent} == {NOON_US + hours * HOUR_US for hours in (2, 3, 4)}

    def test_a_clock_that_is_ahead_hides_no_other_run(self, instance: dg.DagsterInstance, store: Store) -> None:
        ahead = add_run(instance, now_us() + 1_000 * HOUR_US)
        observe_all(store, instance)
        later = add_run(instance, now_us() - HOUR_US)
        assert observe_all(store, instance).outcomes.total() == 1
        assert set(rows_of(store)) == {ahead, later}

    def test_a_place_in_the_future_is_left_for_the_present(
        self, instance: dg.DagsterInstance, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        at_us = now_us()
        with monkeypatch.context() as ahead:
            ahead.setattr(observing, "now_us", lambda: at_us + 1_000 * HOUR_US)
            early = add_run(instance, at_us + 999 * HOUR_US)
            observe_all(store, instance)
        later = add_run(instance, at_us)
        observe_all(store, instance)
        assert set(rows_of(store)) == {early, later}

    def test_runs_that_were_deleted_before_are_counted_once(
        self, instance: dg.DagsterInstance, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add_run(instance)
        observe_all(store, instance)
        deleted, _ = (add_run(instance, NOON_US + number) for number in (1, 2))
        instance.delete_run(deleted)
        assert observe_all(store, instance).deleted == 1
        assert observe_all(store, instance).deleted == 0
        # Those that are deleted between being found and being read, of which one was stored before the last look.
        early = add_run(instance, status=RunStatus.STARTED)
        observe_all(store, instance)
        add_run(instance, NOON_US + 3)
        observe_all(store, instance)
        change_run(instance, early, NOON_US + 4)
        both = {early, add_run(instance, NOON_US + 5)}
        add_run(instance, NOON_US + 6)

        def find_fewer(*args: Any, **options: Any) -> Any:
            for run_id in both:
                instance.delete_run(run_id)
            return find_runs(*args, **options)

        monkeypatch.setattr(observing, "find_runs", find_fewer)
        assert observe_all(store, instance).deleted == 2
        assert store.observation_progress(id_of(instance)).deleted == 3


Step = tuple[str, int, int]
STEPS = st.tuples(
    st.sampled_from(["end", "end", "change", "delete", "observe"]), st.integers(0, 9), st.integers(-59, 59)
)


@settings(max_examples=12)
@given(steps=st.lists(STEPS, max_size=9), outage_hours=st.integers(0, 10_000))
def test_each_run_is_observed_once_in_its_last_state_whatever_the_clocks_and_the_outages(
    steps: Sequence[Step], outage_hours: int
) -> None:
    """Clocks differ by less than an hour. A run that was observed and then deleted stays."""
    with (
        dg.DagsterInstance.ephemeral() as instance,
        TemporaryDirectory() as folder,
        in_memory(Path(folder)) as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(observing, "AT_ONCE", 2)
        runs: dict[str, RunStatus] = {}
        kept: dict[str, RunStatus] = {}
        clock_us = NOON_US
        for kind, which, skew_minutes in [*steps, ("observe", 0, 0)]:
            clock_us += MICROSECONDS + (outage_hours * HOUR_US if kind == "observe" and which % 2 else 0)
            stamp_us, status = clock_us + skew_minutes * 60 * MICROSECONDS, FINISHED[which % 3]
            if kind == "end":
                runs[add_run(instance, stamp_us, status=status)] = status
            elif kind == "change" and runs:
                run_id = list(runs)[which % len(runs)]
                change_run(instance, run_id, stamp_us, status)
                runs[run_id] = status
            elif kind == "delete" and runs:
                run_id = list(runs)[which % len(runs)]
                instance.delete_run(run_id)
                del runs[run_id]
            elif kind == "observe":
                observe_all(store, instance)
                kept |= runs
                assert not is_any_to_observe(instance, store.observation_progress(id_of(instance)), ALL)
        assert {run_id: row["outcome"] for run_id, row in rows_of(store).items()} == {
            run_id: OUTCOMES[status] for run_id, status in kept.items()
        }


class _Killed(BaseException):
    """What a kill is to the process that observes."""


class Fuse:
    """Raises at one of the moments that it is told of."""

    def __init__(self, moments: int) -> None:
        self.left = moments

    def burn(self) -> None:
        if self.left == 0:
            raise _Killed
        self.left -= 1

    def watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **options: Any) -> Any:
            self.burn()
            return function(*args, **options)

        return watched


class Watched:
    """A connection that may be cut before each statement, and after the commit."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, fuse: Fuse) -> None:
        self._connection, self._fuse = connection, fuse

    def execute(self, sql: str, *parameters: Any) -> Any:
        self._fuse.burn()
        done = self._connection.execute(sql, *parameters)
        if sql == "COMMIT":
            self._fuse.burn()
        return done


def test_a_kill_at_any_moment_loses_and_doubles_nothing(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observing, "AT_ONCE", 2)
    for number in range(4):
        add_run(instance, NOON_US + number // 2, tags={Tag.KIND: "trial"} if number == 1 else {})
    with in_memory(tmp_path) as whole:
        observe_all(whole, instance)
        expected = rows_of(whole), whole.observation_progress(id_of(instance))
    assert len(expected[0]) == 3
    moments, ended = 0, False
    while not ended:
        fuse = Fuse(moments)
        with in_memory(tmp_path) as store:
            with monkeypatch.context() as patch:
                opened = Store.open

                @contextmanager
                def open_watched(store: Store, *, read_only: bool) -> Iterator[Any]:
                    with opened(store, read_only=read_only) as connection:  # noqa: B023
                        yield Watched(connection, fuse)  # noqa: B023

                patch.setattr(Store, "open", open_watched)
                for name in ("find_runs", "read_run_logs", "find_gaps"):
                    patch.setattr(observing, name, fuse.watch(getattr(observing, name)))
                try:
                    observe_all(store, instance)
                    ended = True
                except _Killed:
                    moments += 1
            observe_all(store, instance)
            assert (rows_of(store), store.observation_progress(id_of(instance))) == expected
    assert moments > 20


@contextmanager
def asked_of_sqlite() -> Iterator[list[tuple[str, str, Any]]]:
    """Record the database, the text and the parameters of each query to Dagster's storage within this context."""
    asked: list[tuple[str, str, Any]] = []
    connect = sqlite3.connect

    def note(connection: Any, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
        asked.append((connection.engine.url.database, statement, parameters))

    def connect_and_note(file: str, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(file, **options)
        connection.set_trace_callback(lambda statement: asked.append((file, statement, ())))
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect_and_note)
        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            yield asked
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)


def plan_of(database: str, statement: str, parameters: Any) -> list[str]:
    """Return the steps that SQLite takes for a query."""
    with sqlite3.connect(database, uri=database.startswith("file:")) as connection:
        return [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]


def test_no_query_scans_runs_or_events_and_only_the_logs_of_new_runs_are_read(
    home_instance: dg.DagsterInstance, store: Store
) -> None:
    dg.materialize([measured], instance=home_instance)
    observe_all(store, home_instance)
    run_id = dg.materialize([measured], instance=home_instance).run_id
    progress = store.observation_progress(id_of(home_instance))
    with asked_of_sqlite() as asked:
        assert is_any_to_observe(home_instance, progress, ALL)
        observe_all(store, home_instance)
    plans = {statement: plan_of(*query) for query in asked if (statement := query[1]).startswith("SELECT")}
    steps = [step for plan in plans.values() for step in plan]
    assert not [step for step in steps if step.startswith(("SCAN runs", "SCAN event_logs", "SCAN run_tags"))]
    by_update = [plan for statement, plan in plans.items() if "runs.update_timestamp > " in statement]
    assert by_update
    for plan in by_update:
        assert plan == ["SEARCH runs USING INDEX idx_run_range (status=? AND update_timestamp>?)"]
    of_events = {database for database, statement, _ in asked if "event_logs" in statement}
    assert len(of_events) == 1
    assert f"{run_id}.db" in of_events.pop()


class TestTheAsset:
    def materialize(self, instance: dg.DagsterInstance, **config: Any) -> dg.ExecuteInProcessResult:
        job = defs().resolve_job_def("observe")
        run_config = {"ops": {OBSERVED_ASSET: {"config": config}}}
        return job.execute_in_process(instance=instance, run_config=run_config)

    def test_counts_what_it_has_observed_and_shows_the_table(self, stored: Store, instance: dg.DagsterInstance) -> None:
        add_run(instance, NOON_US)
        add_run(instance, NOON_US + 1, status=RunStatus.CANCELED)
        add_run(instance, NOON_US + 2, tags={Tag.KIND: "harvest"})
        result = self.materialize(instance)
        (event,) = result.get_asset_materialization_events()
        metadata = {name: value.value for name, value in event.materialization.metadata.items()}
        assert metadata["launches"] == metadata["dagster/row_count"] == 2
        assert (metadata["launches/ok"], metadata["launches/canceled"], metadata["runs_left_out"]) == (1, 1, 1)
        assert (metadata["runs_deleted"], metadata["runs_deleted/ever"], metadata["complete"]) == (0, 0, True)
        assert metadata["observed_until"] == (NOON_US + 2) / MICROSECONDS
        schema = observed_launches.metadata_by_key[dg.AssetKey(OBSERVED_ASSET)]["dagster/column_schema"]
        with stored.open(read_only=True) as connection:
            columns = connection.execute("DESCRIBE observed_launches").fetchall()
        assert [(one.name, one.type.upper()) for one in schema.columns] == [column[:2] for column in columns]
        assert all(one.description for one in schema.columns)

    def test_observes_nothing_on_an_instance_without_runs_of_others(
        self, store: Store, instance: dg.DagsterInstance
    ) -> None:
        assert self.materialize(instance).success
        assert not rows_of(store)

    def test_takes_the_locations_that_are_configured_or_those_of_the_environment(
        self, store: Store, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        of = {location: add_run(instance, location=location) for location in ("sales", "finance", "legal")}
        monkeypatch.setenv("BENCH_OBSERVED_LOCATIONS", "sales, finance=0")
        self.materialize(instance)
        assert set(rows_of(store)) == {of["sales"]}
        add_run(instance, NOON_US + 1, location="sales")
        later = add_run(instance, NOON_US + 2, location="legal")
        self.materialize(instance, locations=["legal"])
        assert set(rows_of(store)) == {of["sales"], later}
        monkeypatch.setenv("BENCH_OBSERVED_LOCATIONS", "sales=7")
        with pytest.raises(UnusableError, match=r"^BENCH_OBSERVED_LOCATIONS: 'sales=7' is no location with a share"):
            self.materialize(instance)

    @pytest.mark.usefixtures("store")
    def test_warns_of_deleted_runs(self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(observe, "observe_into", lambda *_: Tally(deleted=3))
        monkeypatch.setattr(Store, "observation_progress", lambda *_: Progress(deleted=4))
        result = self.materialize(instance)
        logged = [entry.message for entry in instance.all_logs(result.run_id)]
        assert any("3 runs were deleted before they were observed." in line for line in logged)

    def test_is_never_observed_itself(self, store: Store, instance: dg.DagsterInstance) -> None:
        assert self.materialize(instance).success
        (run,) = find_runs(instance, {Tag.KIND: OBSERVATION})
        self.materialize(instance, of_bench=True)
        assert run.run_id not in rows_of(store)


def test_observed_columns_are_those_of_launches_where_both_have_them(
    instance: dg.DagsterInstance, store: Store
) -> None:
    add_run(instance)
    observe_all(store, instance)
    (row,) = rows_of(store).values()
    names = {column.name for column in COLUMNS}
    assert set(row) - names == {"job", "updated_us", "origin", "run_worker"}
