"""Which sweep is harvested when, and what a harvest leaves in the database, the catalog and on disk."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
import samples
from dagster_duckdb import DuckDBResource
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from recording import end_run, make_plan, make_run, record_sweep, run_sweep

from bench_orchestrator.charts import CHARTS
from bench_orchestrator.definitions import defs
from bench_orchestrator.defs import harvest as harvest_module
from bench_orchestrator.defs.harvest import harvest_sensor, launch_measurements
from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.tags import MEASUREMENTS_ASSET, Tag
from bench_orchestrator.results.store import Store
from bench_orchestrator.sources.instance import get_run
from bench_orchestrator.sweeps.launching import trial_tags

Status = RunStatus
MEASUREMENTS = dg.AssetKey(MEASUREMENTS_ASSET)


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """Evaluate the sensor once; a skip is a result without requests."""
    answer = harvest_sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
    if isinstance(answer, dg.SkipReason):
        return dg.SensorResult(skip_reason=answer, cursor=cursor)
    assert isinstance(answer, dg.SensorResult)
    return answer


def reason(result: dg.SensorResult) -> str:
    assert not result.run_requests
    assert result.skip_reason is not None
    return result.skip_reason.skip_message or ""


def requested(result: dg.SensorResult) -> dg.RunRequest:
    assert result.run_requests is not None
    (request,) = result.run_requests
    return request


class TestTheSensor:
    def test_without_a_sweep_it_skips(self, instance: dg.DagsterInstance) -> None:
        assert "No sweep has finished" in reason(tick(instance))

    @pytest.mark.parametrize("status", [Status.STARTING, Status.STARTED, Status.CANCELING])
    def test_while_a_sweep_is_running_it_waits_even_with_another_to_harvest(
        self, instance: dg.DagsterInstance, status: Status
    ) -> None:
        run_sweep(instance, make_plan())
        running = make_run(instance, {Tag.KIND: "sweep"}, status)
        assert f"Sweep run {running} is in progress" in reason(tick(instance))

    @pytest.mark.parametrize("ending", [None, RuntimeError, KeyboardInterrupt])
    def test_however_a_sweep_ended_it_asks_for_one_harvest_of_it(
        self, instance: dg.DagsterInstance, ending: type[BaseException] | None
    ) -> None:
        run_id = run_sweep(instance, make_plan(), ending=ending)
        request = requested(tick(instance))
        assert request.tags[Tag.HARVEST_OF] == run_id
        assert request.tags[Tag.KIND] == "harvest"
        assert request.tags[Tag.SCENARIO] == "quick"
        assert request.run_config["ops"]["launch_measurements"]["config"] == {"sweep_runs": [run_id]}
        assert dg.validate_run_config(defs().resolve_job_def("harvest"), request.run_config)

    @pytest.mark.parametrize("status", [Status.STARTING, Status.STARTED, Status.NOT_STARTED])
    def test_while_the_harvest_is_under_way_it_waits(self, instance: dg.DagsterInstance, status: Status) -> None:
        run_sweep(instance, make_plan())
        make_run(instance, requested(tick(instance)).tags, status)
        assert "is in progress" in reason(tick(instance))

    def test_a_sweep_that_was_harvested_is_not_harvested_again(self, instance: dg.DagsterInstance) -> None:
        run_sweep(instance, make_plan())
        make_run(instance, requested(tick(instance)).tags, Status.SUCCESS)
        assert "Every finished sweep has been harvested" in reason(tick(instance))

    def test_a_failed_harvest_is_requested_again_with_back_off(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_sweep(instance, make_plan())
        keys: list[str | None] = []
        cursor = None
        for attempt, backoff_s in enumerate([10, 20, 40, 80, 160, 320, 600, 600]):
            result = tick(instance, cursor)
            request, cursor = requested(result), result.cursor
            keys.append(request.run_key)
            failed = get_run(instance, end_run(instance, make_run(instance, request.tags, Status.STARTED), "held"))
            assert failed is not None
            # The update's time has the precision of the database: allow a second.
            for elapsed_s in (0, backoff_s - 1):
                monkeypatch.setattr(
                    harvest_module, "now_us", lambda at=failed.updated_us + elapsed_s * MICROSECONDS: at
                )
                assert f"{attempt + 1} harvests" in reason(tick(instance, cursor))
            later_us = failed.updated_us + backoff_s * MICROSECONDS
            monkeypatch.setattr(harvest_module, "now_us", lambda at=later_us: at)
        assert len(set(keys)) == len(keys)

    def test_while_trials_are_still_running_it_waits_as_long_as_one_may_take(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = make_plan()
        make_run(instance, trial_tags(plan, plan.trials[0], now_us()), Status.STARTED)
        run_sweep(instance, plan, ending=RuntimeError)
        assert "still running" in reason(tick(instance))
        later_us = now_us() + (plan.settings["timeout_s"] + 60) * MICROSECONDS
        monkeypatch.setattr(harvest_module, "now_us", lambda: later_us)
        assert requested(tick(instance))

    def test_one_whose_worker_dagster_could_not_ask_for_is_waited_for_while_it_may_go_on(
        self,
        instance: dg.DagsterInstance,
        lose_sight_of: Callable[[dg.DagsterInstance, str], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def meanwhile(run_id: str) -> None:
            lose_sight_of(instance, run_id)
            assert "may still be running" in reason(tick(instance))
            with monkeypatch.context() as patch:
                later_us = now_us() + 3_600 * MICROSECONDS
                patch.setattr(harvest_module, "now_us", lambda: later_us)
                assert requested(tick(instance)).tags[Tag.HARVEST_OF] == run_id

        run_id = run_sweep(instance, make_plan(), meanwhile=meanwhile)
        assert requested(tick(instance)).tags[Tag.HARVEST_OF] == run_id

    def test_one_that_went_on_after_it_was_harvested_is_harvested_again(self, instance: dg.DagsterInstance) -> None:
        early: list[dg.RunRequest] = []

        def meanwhile(run_id: str) -> None:
            end_run(instance, run_id, "taken for dead")
            early.append(requested(tick(instance)))
            make_run(instance, early[0].tags, Status.SUCCESS)
            assert "Every finished sweep has been harvested" in reason(tick(instance))

        run_sweep(instance, make_plan(), meanwhile=meanwhile)
        late = requested(tick(instance))
        assert late.tags[Tag.HARVEST_OF] == early[0].tags[Tag.HARVEST_OF]
        assert late.run_key != early[0].run_key
        make_run(instance, late.tags, Status.SUCCESS)
        assert "Every finished sweep has been harvested" in reason(tick(instance))

    def test_a_sweep_that_failed_in_preflight_is_passed_over(self, instance: dg.DagsterInstance) -> None:
        run_sweep(instance, None, ending=RuntimeError)
        assert "Every finished sweep" in reason(tick(instance))
        second = run_sweep(instance, make_plan())
        assert requested(tick(instance)).tags[Tag.HARVEST_OF] == second

    def test_one_that_must_wait_does_not_hold_up_the_next(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_sweep(instance, make_plan("quick-1"))
        first = tick(instance)
        end_run(instance, make_run(instance, requested(first).tags, Status.STARTED), "held")
        second = run_sweep(instance, make_plan("quick-2"))
        result = tick(instance, first.cursor)
        assert requested(result).tags[Tag.HARVEST_OF] == second
        make_run(instance, requested(result).tags, Status.SUCCESS)
        later_us = now_us() + 3_600 * MICROSECONDS
        monkeypatch.setattr(harvest_module, "now_us", lambda: later_us)
        assert requested(tick(instance, result.cursor)).tags == requested(first).tags

    @settings(max_examples=10, deadline=None)
    @given(
        batches=st.lists(st.integers(0, 2), min_size=1, max_size=3),
        overlap_us=st.sampled_from([0, 60 * MICROSECONDS]),
    )
    def test_every_sweep_is_harvested_exactly_once_and_the_oldest_first(
        self, batches: list[int], overlap_us: int
    ) -> None:
        finished: list[str] = []
        harvested: list[str] = []
        cursor = None
        with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
            patch.setattr(harvest_module, "_OVERLAP_US", overlap_us + 1)
            for batch in batches:
                for _ in range(batch):
                    finished.append(run_sweep(instance, make_plan(f"quick-{len(finished)}")))
                while True:
                    result = tick(instance, cursor)
                    cursor = result.cursor
                    if not result.run_requests:
                        break
                    harvested.append(requested(result).tags[Tag.HARVEST_OF])
                    make_run(instance, requested(result).tags, Status.SUCCESS)
                    assert len(harvested) <= len(finished)
        assert harvested == finished


def harvest(
    instance: dg.DagsterInstance, request: dg.RunRequest | None = None, only: Sequence[dg.AssetKey] | None = None
) -> dg.ExecuteInProcessResult:
    """Execute the harvest job as the sensor requests it, or as a user launches it, for all assets or for some."""
    return (
        defs()
        .resolve_job_def("harvest")
        .execute_in_process(
            instance=instance,
            run_config=request.run_config if request else None,
            tags=dict(request.tags) if request else None,
            asset_selection=only,
        )
    )


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> Mapping[str, Any]:
    (event,) = [event for event in result.get_asset_materialization_events() if event.asset_key == dg.AssetKey(asset)]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def rows(path: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute("SELECT * FROM launch_measurements ORDER BY sweep_id, trial").fetchall()


class TestAHarvest:
    def test_leaves_rows_metadata_a_check_and_charts_and_again_changes_nothing(
        self, home: Path, home_instance: dg.DagsterInstance
    ) -> None:
        plan = make_plan(repeats=2)
        run_id = record_sweep(home_instance, plan)
        result = harvest(home_instance, requested(tick(home_instance)))
        results = home / "results"

        known = rows(results / "bench.duckdb")
        assert len(known) == len(plan.trials)
        metadata = metadata_of(result, "launch_measurements")
        assert metadata["launches"] == metadata["launches/ok"] == len(plan.trials)
        assert (metadata["sweeps"], metadata["launches/failed"]) == (1, 0)
        assert "sweep" not in metadata  # the rows are not written a second time
        assert metadata["database"] == str(results / "bench.duckdb")

        (check,) = result.get_asset_check_evaluations()
        assert check.passed
        assert f"of {plan.sweep_id} succeeded" in (check.description or "")

        drawn = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}  # type: ignore[union-attr]
        drawn -= {"launch_measurements", "launch_timeline"}
        assert {"stage_breakdown", "lag_vs_assets"} <= drawn <= {chart.stem for chart in CHARTS}
        for stem in drawn:
            chart = metadata_of(result, stem)
            assert chart["sweep"] == plan.sweep_id
            assert chart["chart"].startswith(f"![{stem}](data:image/png;base64,")
            assert "a250" in chart["summary"]
            assert len(chart["summary"]) < 1_000
            assert {record.data["location"]: record.data["n"] for record in chart["table"].records} == {
                "a10": 2,
                "a250": 2,
            }
            assert chart["lag_s/a10"] > 0
            assert chart["n/a10"] == 2
            with Image.open(chart["png"]) as image:
                assert image.format == "PNG"
                assert image.width > 400
            assert Path(chart["svg"]).read_text().lstrip().startswith("<?xml")

        files = {path: path.read_bytes() for path in (results / "charts").iterdir()}
        assert harvest(home_instance).success
        assert rows(results / "bench.duckdb") == known
        assert {path: path.read_bytes() for path in (results / "charts").iterdir()} == files
        assert get_run(home_instance, run_id) is not None

    @pytest.mark.usefixtures("undrawn")
    def test_without_configuration_takes_every_finished_sweep_and_passes_over_those_without_a_plan(
        self, home: Path, home_instance: dg.DagsterInstance
    ) -> None:
        for number, ending in enumerate((None, RuntimeError, KeyboardInterrupt)):
            run_sweep(home_instance, make_plan(f"quick-{number}"), ending=ending)
        run_sweep(home_instance, None, ending=RuntimeError)
        result = harvest(home_instance)
        summaries = Store.in_directory(home / "results").list_sweeps()
        assert {summary.sweep_id: summary.status for summary in summaries} == {
            "quick-0": "complete",
            "quick-1": "failed",
            "quick-2": "canceled",
        }
        metadata = metadata_of(result, "launch_measurements")
        assert metadata["sweeps"] == 3
        assert "sweep" not in metadata
        (check,) = result.get_asset_check_evaluations()
        assert not check.passed
        assert check.severity is dg.AssetCheckSeverity.WARN

    def test_texts_that_no_file_can_hold_are_stored_as_their_escapes_and_hold_up_nothing(
        self, home: Path, home_instance: dg.DagsterInstance
    ) -> None:
        name, shown_name = "$a$ and $\\frac{ ![x](/etc/passwd) \x1b[31m", "$a$ and $\\frac{ ![x](/etc/passwd) \\x1b[31m"
        error, shown_error = f"caf\udce9\0 {name}", f"caf\\udce9\\x00 {shown_name}"

        @dg.asset
        def broken() -> None:
            raise RuntimeError(f"no such file: {error}")

        plan = make_plan("quick-1", ("a10",))
        plan = replace(
            plan,
            sweep_id=name,
            locations=(replace(plan.locations[0], name=name),),
            trials=tuple(replace(trial, location=name, variant=name) for trial in plan.trials),
        )
        tags = trial_tags(plan, plan.trials[0], now_us())
        dg.materialize([broken], instance=home_instance, tags=tags, raise_on_error=False)
        for made_up in ({Tag.TRIAL: "first"}, {Tag.REQUESTED_AT: "soon"}, {Tag.REQUESTED_AT: "9" * 30}):
            make_run(home_instance, tags | made_up)
        run_sweep(home_instance, plan, [TrialNote(2, Outcome.REJECTED, error)])
        record_sweep(home_instance, make_plan("quick-2", ("a10",)))
        assert harvest(home_instance, only=[MEASUREMENTS]).success
        store = Store.in_directory(home / "results")
        first, second = store.load(name).trials
        assert (first.sweep_id, first.location, first.outcome) == (shown_name, shown_name, Outcome.FAILED)
        assert first.reason == f"RuntimeError: no such file: {shown_error}"
        assert (second.outcome, second.reason) == (Outcome.REJECTED, shown_error)
        assert {summary.sweep_id: summary.ok for summary in store.list_sweeps()} == {shown_name: 0, "quick-2": 2}

    def test_with_nothing_to_harvest_succeeds_and_draws_nothing(
        self, home: Path, home_instance: dg.DagsterInstance
    ) -> None:
        result = harvest(home_instance)
        assert result.success
        assert metadata_of(result, "launch_measurements")["launches"] == 0
        assert len(result.get_asset_materialization_events()) == 1
        assert not (home / "results").exists()

    def test_of_an_unknown_run_fails_with_its_id(self, home_instance: dg.DagsterInstance) -> None:
        config = {"ops": {"launch_measurements": {"config": {"sweep_runs": ["4f2a"]}}}}
        job = defs().resolve_job_def("harvest")
        with pytest.raises(ValueError, match="no run 4f2a"):
            job.execute_in_process(instance=home_instance, run_config=config)

    @pytest.mark.usefixtures("undrawn")
    def test_keeps_what_was_measured_of_a_run_that_has_since_been_deleted(
        self, home: Path, home_instance: dg.DagsterInstance
    ) -> None:
        plan = make_plan(locations=("a10",))
        record_sweep(home_instance, plan)
        harvest(home_instance)
        known = rows(home / "results" / "bench.duckdb")
        for run in home_instance.get_runs(dg.RunsFilter(tags={Tag.KIND: "trial"})):
            home_instance.delete_run(run.run_id)
        harvest(home_instance)
        assert rows(home / "results" / "bench.duckdb") == known

    @pytest.mark.usefixtures("undrawn")
    def test_notes_of_trials_that_never_were_runs_become_rows(
        self, home: Path, home_instance: dg.DagsterInstance
    ) -> None:
        plan = make_plan()
        run_sweep(home_instance, plan, [TrialNote(1, Outcome.REJECTED, "InvalidSubsetError")], RuntimeError)
        harvest(home_instance)
        sweep = Store.in_directory(home / "results").load(plan.sweep_id)
        assert [trial.outcome for trial in sweep.trials] == [Outcome.REJECTED, *[Outcome.LOST] * 3]


@pytest.mark.usefixtures("undrawn")
class TestTheCheck:
    @pytest.fixture
    def results(self, home: Path) -> Store:
        return Store.in_directory(home / "results")

    def evaluate(self, instance: dg.DagsterInstance, *sweep_runs: str) -> dg.AssetCheckEvaluation:
        config = {"ops": {"launch_measurements": {"config": {"sweep_runs": list(sweep_runs)}}}}
        job = defs().resolve_job_def("harvest")
        result = job.execute_in_process(instance=instance, run_config=config, asset_selection=[MEASUREMENTS])
        (evaluation,) = result.get_asset_check_evaluations()
        return evaluation

    def test_passes_where_nothing_was_harvested(self, home_instance: dg.DagsterInstance) -> None:
        assert self.evaluate(home_instance).passed

    def test_judges_what_was_harvested_and_not_the_latest_sweep(
        self, home_instance: dg.DagsterInstance, results: Store
    ) -> None:
        later = samples.troubled_sweep()
        results.save(replace(later, plan=replace(later.plan, created_us=2**62)))
        run_id = record_sweep(home_instance, make_plan(locations=("a10",)))
        evaluation = self.evaluate(home_instance, run_id)
        assert evaluation.passed
        assert "trials of" in (evaluation.description or "")
        assert samples.SWEEP_ID not in (evaluation.description or "")

    def test_warns_where_a_trial_did_not_end_well(self, home_instance: dg.DagsterInstance) -> None:
        notes = [TrialNote(1, Outcome.REJECTED, "InvalidSubsetError")]
        run_id = run_sweep(home_instance, make_plan(), notes, RuntimeError)
        evaluation = self.evaluate(home_instance, run_id)
        assert not evaluation.passed
        assert evaluation.severity is dg.AssetCheckSeverity.WARN
        assert "0 of 4 trials of" in (evaluation.description or "")


@pytest.mark.usefixtures("undrawn")
class TestTheCatalog:
    def test_shows_the_columns_the_rows_and_the_name_of_the_table(
        self, home: Path, home_instance: dg.DagsterInstance
    ) -> None:
        record_sweep(home_instance, make_plan(locations=("a10",)))
        harvest(home_instance)
        schema = launch_measurements.metadata_by_key[MEASUREMENTS]["dagster/column_schema"]
        with Store.in_directory(home / "results").open(read_only=True) as connection:
            columns = connection.execute("DESCRIBE launch_measurements").fetchall()
            (rows,) = connection.execute("SELECT count(*) FROM launch_measurements").fetchall()[0]
        assert [(one.name, one.type.upper()) for one in schema.columns] == [column[:2] for column in columns]
        assert all(one.description for one in schema.columns)
        latest = home_instance.get_latest_materialization_event(MEASUREMENTS)
        assert latest is not None
        assert latest.asset_materialization is not None
        assert latest.asset_materialization.metadata["dagster/row_count"].value == rows > 0


class TestAUsersAsset:
    def test_queries_the_results_by_asking_for_a_duckdb_resource(
        self, home: Path, home_instance: dg.DagsterInstance
    ) -> None:
        Store.in_directory(home / "results").save(samples.measured_sweep())

        @dg.asset
        def slowest(results: DuckDBResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
            with results.get_connection() as connection:
                found = connection.execute(
                    "SELECT location FROM launch_measurements WHERE outcome = 'ok' ORDER BY lag_us DESC LIMIT 1"
                ).fetchall()
            return dg.MaterializeResult(metadata={"location": found[0][0]})

        result = dg.materialize([slowest], instance=home_instance, resources=defs().resources)
        (materialization,) = result.asset_materializations_for_node("slowest")
        assert materialization.metadata["location"].value == "a10k"

    def test_reads_beside_other_readers_and_writes_alone(self, home: Path) -> None:
        database = home / "own.duckdb"
        resource = ResultsResource(database=str(database), connection_config={"threads": 1})
        resource.store.save(samples.failed_sweep())
        with resource.get_connection() as connection:
            assert connection.execute("SELECT current_setting('threads')").fetchall() == [(1,)]
            with pytest.raises(duckdb.InvalidInputException, match="read-only"):
                connection.execute("CREATE TABLE mine (x INTEGER)")
        with resource.get_connection(read_only=False) as connection:
            connection.execute("CREATE TABLE mine AS SELECT 1 AS x")
        with resource.get_connection() as connection:
            assert connection.execute("FROM mine").fetchall() == [(1,)]

    def test_is_closed_whatever_a_query_raises(self, home: Path) -> None:
        resource = ResultsResource(database=str(home / "own.duckdb"))
        resource.store.save(samples.failed_sweep())
        with pytest.raises(duckdb.CatalogException), resource.get_connection() as connection:
            connection.execute("FROM nowhere")
        with pytest.raises(duckdb.ConnectionException, match="closed"):
            connection.execute("SELECT 1")
