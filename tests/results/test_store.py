"""The results database loads what was saved, despite other processes, kills and damage to the file."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pytest
import samples
from examples import fewer
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.model.launch import Launch, Outcome, Sweep, Trial
from bench_orchestrator.model.plan import LaunchPath, Location, PlannedTrial, Prediction, SweepPlan, Variant
from bench_orchestrator.model.runs import Pod, StepSpan
from bench_orchestrator.model.stages import BootStage, Boundary, Stage, StepWorker
from bench_orchestrator.model.text import legible
from bench_orchestrator.results.database import StoreError
from bench_orchestrator.results.rows import COLUMNS
from bench_orchestrator.results.store import Store

BIGINT = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).map(legible)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.dictionaries(TEXT, st.none() | st.booleans() | BIGINT | TEXT | FLOATS)
VARIANTS = st.builds(
    Variant,
    TEXT,
    st.lists(TEXT, max_size=2).map(tuple),
    work=st.none() | BIGINT,
    path=st.sampled_from(LaunchPath),
    instance=JSON,
    cpus=st.none() | FLOATS,
    in_turn=st.booleans(),
)


@st.composite
def sweeps(draw: st.DrawFn) -> Sweep:
    """Draw any sweep whose launches match its plan; the values need not be realistic."""
    locations = draw(
        st.lists(
            st.builds(Location, TEXT, TEXT, TEXT, BIGINT, BIGINT), min_size=1, max_size=3, unique_by=lambda x: x.name
        )
    )
    planned = tuple(
        PlannedTrial(
            number=number,
            block=draw(BIGINT),
            location=draw(st.sampled_from(locations)).name,
            variant=draw(TEXT),
            warmup=draw(st.booleans()),
            asset_keys=tuple(draw(st.lists(TEXT, min_size=1, max_size=3))),
            partition_key=draw(st.none() | TEXT),
            last_partition_key=draw(st.none() | TEXT),
            work=draw(st.none() | BIGINT),
            deployment=draw(TEXT),
            path=draw(st.sampled_from(LaunchPath)),
        )
        for number in range(1, draw(st.integers(1, 4)) + 1)
    )
    plan = SweepPlan(
        draw(TEXT),
        draw(TEXT),
        draw(BIGINT),
        draw(BIGINT),
        tuple(locations),
        planned,
        draw(JSON),
        draw(JSON),
        variants=tuple(draw(st.lists(VARIANTS, max_size=2))),
        environments=draw(st.dictionaries(TEXT, JSON, max_size=2)),
        predicted_startups_s=draw(
            st.dictionaries(TEXT, st.builds(Prediction, FLOATS, st.none() | FLOATS, FLOATS, TEXT))
        ),
        resumes=draw(st.none() | TEXT),
    )
    maybe_us = st.none() | BIGINT
    launches = st.builds(
        Launch,
        run_id=st.none() | TEXT,
        outcome=st.sampled_from(Outcome),
        reason=TEXT,
        executor=st.none() | st.sampled_from(StepWorker),
        at_us=st.fixed_dictionaries(dict.fromkeys(Boundary, maybe_us)),
        ended_us=maybe_us,
        stages_us=st.fixed_dictionaries(dict.fromkeys(Stage, maybe_us)),
        queue_us=maybe_us,
        init_us=maybe_us,
        lag_us=maybe_us,
        time_to_code_us=maybe_us,
        warnings=st.lists(TEXT, max_size=2).map(tuple),
        step_process=JSON,
        work=BIGINT,
        materialized_us=maybe_us,
        work_us=maybe_us,
        steps=st.lists(st.builds(StepSpan, TEXT, maybe_us, maybe_us, maybe_us), max_size=3).map(tuple),
        template=st.dictionaries(TEXT, FLOATS),
        boot_us=st.dictionaries(st.sampled_from(BootStage), BIGINT),
        pod=st.none() | st.builds(Pod, TEXT, TEXT, *4 * [maybe_us], trouble=TEXT, unknown=TEXT),
    )
    trials = tuple(
        draw(
            st.builds(
                Trial,
                sweep_id=st.just(plan.sweep_id),
                number=st.just(entry.number),
                scenario=st.just(plan.scenario),
                variant=st.just(entry.variant),
                location=st.just(entry.location),
                asset_count=BIGINT,
                partition_count=BIGINT,
                block=st.just(entry.block),
                warmup=st.just(entry.warmup),
                asset_key=st.just(entry.asset_keys[0]),
                partition_key=st.just(entry.partition_key),
                launches=st.tuples(launches),
                deployment=st.just(entry.deployment),
                path=st.just(entry.path),
                assets=BIGINT,
                usage=st.dictionaries(TEXT, FLOATS),
            )
        )
        for entry in planned
    )
    return Sweep(plan, draw(TEXT), trials)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.in_directory(tmp_path)


def with_outcome(sweep: Sweep, outcome: Outcome) -> Sweep:
    """Return the sweep with this outcome for its first launch."""
    first = samples.relaunched(sweep.trials[0], outcome=outcome, reason="as the test says")
    return replace(sweep, trials=(first, *sweep.trials[1:]))


@contextmanager
def another_process(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run this code in a Python process, with `path` as its argument, within this context."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go on\n")
    process.stdin.flush()


HOLD = """
    import sys, duckdb
    connection = duckdb.connect(sys.argv[1])
    print("held", flush=True)
    input()
"""
SAVE_HALFWAY = """
    import sys
    from pathlib import Path
    import duckdb
    import samples
    from bench_orchestrator.results.store import Store

    class Halfway:
        def __init__(self, connection):
            self._connection = connection

        def execute(self, sql, *parameters):
            if sql == "COMMIT":
                print("before commit", flush=True)
                input()
            return self._connection.execute(sql, *parameters)

        def close(self):
            self._connection.close()

    connect = duckdb.connect
    duckdb.connect = lambda *args, **options: Halfway(connect(*args, **options))
    Store(Path(sys.argv[1])).save(samples.troubled_sweep())
    print("saved", flush=True)
"""
"""Saves a sweep, and pauses before the commit until it receives a line."""


class TestSavingAndLoading:
    @fewer(5)
    @given(sweeps())
    def test_any_sweep_is_loaded_as_it_was_saved(self, sweep: Sweep) -> None:
        with TemporaryDirectory() as directory:
            store = Store.in_directory(Path(directory))
            store.save(sweep)
            loaded = store.load(sweep.plan.sweep_id)
        assert loaded == sweep
        # Enum members equal their values: only the type shows the difference.
        assert all(isinstance(stage, BootStage) for trial in loaded.trials for stage in trial.launch.boot_us)

    @pytest.mark.parametrize("make", [samples.measured_sweep, samples.troubled_sweep, samples.failed_sweep])
    def test_the_sample_sweeps_are_loaded_as_they_were_saved(self, store: Store, make: Callable[[], Sweep]) -> None:
        store.save(make())
        assert store.load(samples.SWEEP_ID) == make()

    @pytest.mark.parametrize("text", ["caf\udce9.csv", "a\0b", "\x1b[31mred", "\u202egnp.exe", "\uffff"])
    def test_texts_that_are_not_legible_are_stored_as_their_escapes(self, store: Store, text: str) -> None:
        sweep = samples.measured_sweep(("a10",), 1)
        strange = samples.relaunched(
            replace(sweep.trials[0], sweep_id=text, location=text, asset_key=text, usage={text: 1.0}),
            reason=text,
            warnings=(text,),
            step_process={text: [text]},
            steps=(StepSpan(text, 1, 2, 3),),
            pod=Pod(name=text),
        )
        plan = replace(sweep.plan, sweep_id=text, scenario=text, environment={text: {text: text}})
        store.save(Sweep(plan, text, (strange,)))
        loaded = store.load(text)
        shown = ascii(text)[1:-1]
        assert (loaded.plan.sweep_id, loaded.status, loaded.plan.environment) == (shown, shown, {shown: {shown: shown}})
        (trial,) = loaded.trials
        assert (trial.location, trial.asset_key, dict(trial.usage)) == (shown, shown, {shown: 1.0})
        assert (trial.launch.reason, trial.launch.warnings, trial.launch.pod) == (shown, (shown,), Pod(name=shown))
        assert (trial.launch.step_process, trial.launch.steps[0].key) == ({shown: [shown]}, shown)
        assert [summary.sweep_id for summary in store.list_sweeps([text])] == [shown]

    def test_saving_twice_changes_nothing(self, store: Store) -> None:
        sweep = samples.troubled_sweep()
        store.save(sweep)
        store.save(sweep)
        assert store.load(sweep.plan.sweep_id) == sweep
        assert [summary.trials for summary in store.list_sweeps()] == [len(sweep.trials)]

    def test_saving_again_replaces_what_was_known(self, store: Store) -> None:
        store.save(replace(with_outcome(samples.failed_sweep(), Outcome.CANCELED), status="canceled"))
        store.save(samples.failed_sweep())
        assert store.load(samples.SWEEP_ID) == samples.failed_sweep()

    @pytest.mark.parametrize("known", [outcome for outcome in Outcome if outcome is not Outcome.LOST])
    def test_a_lost_launch_never_replaces_one_whose_end_is_known(self, store: Store, known: Outcome) -> None:
        sweep = with_outcome(samples.measured_sweep(("a10", "a250"), 1), known)
        store.save(sweep)
        store.save(with_outcome(sweep, Outcome.LOST))
        assert store.load(samples.SWEEP_ID) == sweep

    @pytest.mark.parametrize("known", list(Outcome))
    def test_a_launch_whose_end_is_known_replaces_a_lost_one(self, store: Store, known: Outcome) -> None:
        sweep = samples.measured_sweep(("a10", "a250"), 1)
        store.save(with_outcome(sweep, Outcome.LOST))
        store.save(with_outcome(sweep, known))
        assert store.load(samples.SWEEP_ID) == with_outcome(sweep, known)

    def test_an_unknown_sweep_is_refused_with_its_name_and_the_file(self, store: Store) -> None:
        store.save(samples.failed_sweep())
        with pytest.raises(StoreError, match=r"no sweep 'quick-9' in .*bench\.duckdb"):
            store.load("quick-9")

    def test_before_the_first_sweep_the_list_is_empty_and_loading_says_what_to_do(self, store: Store) -> None:
        assert store.list_sweeps() == []
        with pytest.raises(StoreError, match="bench run quick"):
            store.load("quick-1")
        assert not store.path.exists()

    def test_sweeps_are_listed_latest_first(self, store: Store) -> None:
        sweep = samples.troubled_sweep()
        for sweep_id, created_us in (("b", 2), ("a", 3), ("c", 1)):
            plan = replace(sweep.plan, sweep_id=sweep_id, created_us=created_us)
            trials = tuple(replace(trial, sweep_id=sweep_id) for trial in sweep.trials)
            store.save(Sweep(plan, "complete", trials))
        summaries = store.list_sweeps()
        assert [summary.sweep_id for summary in summaries] == ["a", "b", "c"]
        assert summaries[0].trials == len(sweep.trials)
        assert summaries[0].ok == sum(trial.outcome is Outcome.OK for trial in sweep.trials)
        assert summaries[0].locations == sorted(samples.STUDY)


class TestTheTables:
    def test_the_columns_of_launches_are_those_of_a_launch_rows(self, store: Store) -> None:
        store.save(samples.failed_sweep())
        with store.open(read_only=True) as connection:
            columns = connection.execute("DESCRIBE launches").fetchall()
        # The table marks the texts that are JSON.
        assert [(name, kind.replace("JSON", "VARCHAR")) for name, kind, *_ in columns] == [
            *((column.name, column.sql_type) for column in COLUMNS),
            ("launch", "BIGINT"),
        ]

    def test_the_view_has_every_launch_with_its_environment(self, store: Store) -> None:
        sweep = samples.troubled_sweep()
        store.save(sweep)
        with store.open(read_only=True) as connection:
            rows = connection.execute(
                "SELECT trial, outcome, sweep_status, environment ->> 'dagster' FROM launch_measurements ORDER BY trial"
            ).fetchall()
        version = samples.ENVIRONMENT["dagster"]
        assert rows == [(trial.number, trial.outcome, "complete", version) for trial in sweep.trials]

    def test_the_stages_in_the_table_sum_to_the_lag(self, store: Store) -> None:
        store.save(samples.measured_sweep())
        with store.open(read_only=True) as connection:
            lags = connection.execute(
                "SELECT lag_us, queue_wait_us + worker_boot_us + worker_load_us + executor_start_us + step_boot_us "
                "+ step_load_us + step_init_us FROM launch_measurements"
            ).fetchall()
        assert len(lags) == len(samples.measured_sweep().trials)
        assert all(lag_us == sum_us for lag_us, sum_us in lags)

    def test_what_a_step_reported_can_be_queried_as_json(self, store: Store) -> None:
        store.save(samples.measured_sweep(("a10",), 1))
        with store.open(read_only=True) as connection:
            rows = connection.execute("SELECT (step_process ->> 'import_s')::DOUBLE FROM launches").fetchall()
        assert rows == [(1.5,)] * 2


class TestOtherProcesses:
    def test_a_held_file_is_named_when_the_wait_is_over(self, store: Store) -> None:
        store.save(samples.failed_sweep())
        impatient = replace(store, lock_wait_s=0.3)
        with another_process(HOLD, store.path) as holder:
            assert says(holder) == "held"
            begun = time.monotonic()
            with pytest.raises(StoreError, match=r"held .*bench\.duckdb for 0\.3 s"):
                impatient.load(samples.SWEEP_ID)
            with pytest.raises(StoreError, match="close it and try again"):
                impatient.save(samples.failed_sweep())
            assert time.monotonic() - begun < 30
        assert impatient.load(samples.SWEEP_ID) == samples.failed_sweep()

    def test_a_file_that_is_let_go_of_in_time_is_written(self, store: Store) -> None:
        with another_process(f"{HOLD}\n    import time\n    time.sleep(0.5)", store.path) as holder:
            assert says(holder) == "held"
            tell(holder)
            store.save(samples.failed_sweep())
            assert store.load(samples.SWEEP_ID) == samples.failed_sweep()

    def test_a_reader_that_comes_during_a_save_waits_and_sees_all_of_it(self, store: Store) -> None:
        store.save(samples.failed_sweep())
        with another_process(SAVE_HALFWAY, store.path) as writer:
            assert says(writer) == "before commit"
            with pytest.raises(StoreError):
                replace(store, lock_wait_s=0.2).load(samples.SWEEP_ID)
            tell(writer)
            assert store.load(samples.SWEEP_ID) == samples.troubled_sweep()
            assert says(writer) == "saved"

    def test_a_writer_that_is_killed_before_its_commit_changes_nothing(self, store: Store) -> None:
        store.save(samples.failed_sweep())
        with another_process(SAVE_HALFWAY, store.path) as writer:
            assert says(writer) == "before commit"
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            assert store.load(samples.SWEEP_ID) == samples.failed_sweep()
            store.save(samples.troubled_sweep())
            assert store.load(samples.SWEEP_ID) == samples.troubled_sweep()

    def test_a_save_that_fails_halfway_changes_nothing(self, store: Store) -> None:
        store.save(samples.failed_sweep())
        twice = replace(samples.troubled_sweep(), trials=samples.troubled_sweep().trials[:1] * 2)
        broken = replace(twice, trials=(samples.relaunched(twice.trials[0], reason=None),))
        with pytest.raises(StoreError, match="NOT NULL"):
            store.save(broken)
        assert store.load(samples.SWEEP_ID) == samples.failed_sweep()


class TestADamagedFile:
    # The folder's name contains the word from DuckDB's message about a locked file.
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        folder = tmp_path / "lock"
        folder.mkdir()
        return folder / "bench.duckdb"

    @pytest.mark.parametrize("content", [b"", b"sweep,trial\n", b"\x00" * 100_000], ids=["empty", "csv", "zeros"])
    def test_a_file_of_another_kind_is_refused_at_once_by_name(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        store = Store(path, lock_wait_s=60)
        begun = time.monotonic()
        for use in (store.list_sweeps, lambda: store.load("a"), lambda: store.save(samples.failed_sweep())):
            with pytest.raises(StoreError, match=rf"{path} cannot be opened"):
                use()
        assert time.monotonic() - begun < 30
        assert path.read_bytes() == content

    def test_a_corrupt_block_is_refused_by_name(self, path: Path) -> None:
        Store(path).save(samples.measured_sweep())
        content = bytearray(path.read_bytes())
        content[4096:12288] = b"\xff" * 8192
        path.write_bytes(content)
        with pytest.raises(StoreError, match=rf"{path} cannot be opened"):
            Store(path).list_sweeps()

    def test_a_file_of_another_version_is_refused_and_says_how_to_make_it_anew(self, path: Path) -> None:
        with duckdb.connect(path) as connection:
            connection.execute("CREATE TABLE launches (sweep_id VARCHAR)")
        for use in (Store(path).list_sweeps, lambda: Store(path).save(samples.measured_sweep())):
            with pytest.raises(StoreError, match=rf"{path} .*(another version of the bench|cannot be used)"):
                use()

    def test_a_database_without_the_tables_is_refused_by_name_and_can_be_saved_into(self, path: Path) -> None:
        duckdb.connect(path).close()
        with pytest.raises(StoreError, match=rf"{path} cannot be used as a results database"):
            Store(path).list_sweeps()
        Store(path).save(samples.failed_sweep())
        assert Store(path).load(samples.SWEEP_ID) == samples.failed_sweep()

    def test_a_folder_in_the_files_place_is_refused_by_name(self, path: Path) -> None:
        path.mkdir()
        with pytest.raises(StoreError, match=rf"{path} cannot be opened"):
            Store(path).list_sweeps()


def test_nothing_is_made_on_disk_before_the_first_save(tmp_path: Path) -> None:
    store = Store.in_directory(tmp_path / "new" / "results")
    assert store.list_sweeps() == []
    assert not (tmp_path / "new").exists()
    store.save(samples.failed_sweep())
    assert json.loads(json.dumps([summary.sweep_id for summary in store.list_sweeps()])) == [samples.SWEEP_ID]
