"""What a harvest leaves in the database, the catalog and on disk."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from logging import WARNING
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
import samples
from PIL import Image
from recording import damage_log, make_plan, make_run, other_release, record_sweep, run_sweep
from ticking import requested, tick

from bench_orchestrator.charts import CHARTS
from bench_orchestrator.definitions import defs
from bench_orchestrator.defs.harvest import OUTCOME_CHECK, launch_measurements
from bench_orchestrator.defs.history import DEPLOY_CHECK, LIMIT_CHECK, SLOWER_CHECK
from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.tags import MEASUREMENTS_ASSET, Tag
from bench_orchestrator.results.store import Store
from bench_orchestrator.sources.instance import get_run
from bench_orchestrator.sweeps.launching import trial_tags

MEASUREMENTS = dg.AssetKey(MEASUREMENTS_ASSET)


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

        check, *of_history = result.get_asset_check_evaluations()
        assert check.passed
        assert f"of {plan.sweep_id} succeeded" in (check.description or "")
        checks = (SLOWER_CHECK, LIMIT_CHECK, DEPLOY_CHECK)
        assert {one.check_name: one.passed for one in of_history} == dict.fromkeys(checks, True)

        drawn = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}  # type: ignore[union-attr]
        drawn -= {"launch_measurements", "launch_timeline", "gantt_chart", "lag_over_time"}
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
        assert harvest(home_instance, only=[MEASUREMENTS, dg.AssetKey("lag_vs_assets")]).success
        assert rows(results / "bench.duckdb") == known
        assert {path: path.read_bytes() for path in (results / "charts").iterdir()} == files
        assert get_run(home_instance, run_id) is not None

    def test_without_configuration_takes_every_finished_sweep_and_passes_over_those_without_a_plan(
        self, home: Path, home_instance: dg.DagsterInstance
    ) -> None:
        for number, ending in enumerate((None, RuntimeError, KeyboardInterrupt)):
            run_sweep(home_instance, make_plan(f"quick-{number}"), ending=ending)
        run_sweep(home_instance, None, ending=RuntimeError)
        result = harvest(home_instance, only=[MEASUREMENTS])
        summaries = Store.in_directory(home / "results").list_sweeps()
        assert {summary.sweep_id: summary.status for summary in summaries} == {
            "quick-0": "complete",
            "quick-1": "failed",
            "quick-2": "canceled",
        }
        metadata = metadata_of(result, "launch_measurements")
        assert metadata["sweeps"] == 3
        assert "sweep" not in metadata
        (check,) = (one for one in result.get_asset_check_evaluations() if one.check_name == OUTCOME_CHECK)
        assert not check.passed
        assert check.severity is dg.AssetCheckSeverity.WARN

    def test_reports_the_journals_that_cannot_be_read_and_takes_the_other_sweeps(
        self, home: Path, home_instance: dg.DagsterInstance
    ) -> None:
        foreign = run_sweep(home_instance, other_release(make_plan("quick-0")))
        damaged = run_sweep(home_instance, make_plan("quick-1"))
        run_sweep(home_instance, make_plan("quick-2"))
        damage_log(home_instance, damaged)
        result = harvest(home_instance, only=[MEASUREMENTS])
        assert [one.sweep_id for one in Store.in_directory(home / "results").list_sweeps()] == ["quick-2"]
        (check,) = (one for one in result.get_asset_check_evaluations() if one.check_name == OUTCOME_CHECK)
        assert not check.passed
        assert f"The journal of sweep run {foreign} cannot be read: timeout_s: Input should be a valid number." in (
            check.description or ""
        )
        assert check.metadata["unreadable_sweeps"].value == 2
        warned = [entry.message for entry in home_instance.all_logs(result.run_id) if entry.level == WARNING]
        for run_id in (foreign, damaged):
            assert any(line.startswith(f"The journal of sweep run {run_id} cannot be read: ") for line in warned)

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

    def test_of_an_unknown_run_fails_with_its_id_and_harvests_the_others(
        self, home: Path, home_instance: dg.DagsterInstance
    ) -> None:
        run_id = record_sweep(home_instance, make_plan("known"))
        config = {"ops": {"launch_measurements": {"config": {"sweep_runs": ["4f2a", run_id]}}}}
        job = defs().resolve_job_def("harvest")
        with pytest.raises(UnusableError, match=r"no run 4f2a.* Sweeps harvested: 1\."):
            job.execute_in_process(instance=home_instance, run_config=config, asset_selection=[MEASUREMENTS])
        (stored,) = Store.in_directory(home / "results").list_sweeps()
        assert stored.sweep_id == make_plan("known").sweep_id

    def test_keeps_what_was_measured_of_a_run_that_has_since_been_deleted(
        self, home: Path, home_instance: dg.DagsterInstance
    ) -> None:
        plan = make_plan(locations=("a10",))
        record_sweep(home_instance, plan)
        harvest(home_instance, only=[MEASUREMENTS])
        known = rows(home / "results" / "bench.duckdb")
        for run in home_instance.get_runs(dg.RunsFilter(tags={Tag.KIND: "trial"})):
            home_instance.delete_run(run.run_id)
        harvest(home_instance, only=[MEASUREMENTS])
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


class TestTheCatalog:
    def test_shows_the_columns_the_rows_and_the_name_of_the_table(
        self, home: Path, home_instance: dg.DagsterInstance
    ) -> None:
        record_sweep(home_instance, make_plan(locations=("a10",)))
        harvest(home_instance, only=[MEASUREMENTS])
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
