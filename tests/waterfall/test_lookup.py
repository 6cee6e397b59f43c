"""A lookup finds the launch that is meant: in the results database, or else in a real instance."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import samples
from experiment_samples import experiment_sweep
from gantt_samples import queue_of_runs
from recording import broken, in_batches, make_plan, make_run, measured, run_trial

from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.plan import Variant
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.stages import Boundary, Stage
from bench_orchestrator.model.tags import SCHEDULED_TIME_TAG
from bench_orchestrator.results.store import Store
from bench_orchestrator.sources.instance import open_instance
from bench_orchestrator.waterfall.gantt_layout import run_panel, step_panel
from bench_orchestrator.waterfall.layout import UnknownLaunchError
from bench_orchestrator.waterfall.lookup import (
    Opening,
    find_launch,
    find_launches,
    find_median,
    find_runs_of,
    gantt_of_sweep,
)
from bench_orchestrator.waterfall.sides import gantt_of_sides


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.in_directory(tmp_path / "results")


@pytest.fixture
def opening(instance: dg.DagsterInstance) -> Opening:
    return lambda: nullcontext(instance)


def not_opened() -> AbstractContextManager[dg.DagsterInstance]:
    raise AssertionError("the instance was opened")


class TestByRun:
    def test_a_launch_of_the_results_database_is_found_without_the_instance(self, store: Store) -> None:
        sweep = samples.measured_sweep(["a250"])
        store.save(sweep)
        trial = sweep.trials[2]
        assert trial.launch.run_id is not None
        for run_id in (trial.launch.run_id, trial.launch.run_id[:8]):
            shown, sample = find_launch([run_id], store, not_opened)
            assert (shown.run_id, shown.lag_us, sample) == (trial.launch.run_id, trial.launch.lag_us, None)
            assert shown.environment == samples.ENVIRONMENT

    def test_a_launch_in_a_deployment_of_the_sweeps_own_has_its_environment(self, store: Store) -> None:
        sweep = samples.make_sweep([replace(samples.make_trial(), deployment="limited")])
        own = {"limited": {"launcher": "OwnLauncher"}}
        store.save(replace(sweep, plan=replace(sweep.plan, environments=own)))
        shown, _ = find_launch([sweep.trials[0].launch.run_id or ""], store, not_opened)
        assert shown.environment == own["limited"]

    def test_of_several_it_is_the_median_and_each_counts_once(self, store: Store) -> None:
        sweep = samples.measured_sweep(["a250"], repeats=3)
        store.save(sweep)
        ids = [trial.launch.run_id or "" for trial in sweep.trials[1:]]
        shown, sample = find_launch([*ids, *(run_id[:8] for run_id in ids)], store, not_opened)
        assert sample is not None
        assert sample.lag_s.n == 3
        assert shown.lag_us == sorted(trial.launch.lag_us or 0 for trial in sweep.trials[1:])[1]

    def test_any_other_run_is_read_from_the_instance(
        self, instance: dg.DagsterInstance, store: Store, opening: Opening
    ) -> None:
        run_id = dg.materialize([measured], instance=instance).run_id
        for asked in (run_id, run_id[:8]):
            shown, _ = find_launch([asked], store, opening)
            assert (shown.run_id, shown.outcome, shown.executor) == (run_id, "ok", "in_process")
            assert shown.zero is not Boundary.REQUESTED
            assert [step.key for step in shown.steps] == ["measured"]
            assert shown.steps[0].started_us == shown.lag_us

    def test_a_trial_that_is_not_harvested_yet_begins_at_its_request(
        self, instance: dg.DagsterInstance, store: Store, opening: Opening
    ) -> None:
        shown, _ = find_launch([run_trial(instance, make_plan(), 1)], store, opening)
        assert shown.zero is Boundary.REQUESTED
        assert shown.bars[0].stage is Stage.SUBMIT

    def test_a_run_of_a_schedule_begins_at_the_scheduled_time(
        self, instance: dg.DagsterInstance, store: Store, opening: Opening
    ) -> None:
        """The first stage is the tick: the schedule's function took 40 s."""
        scheduled = datetime.now(UTC) - timedelta(seconds=40)
        tags = {SCHEDULED_TIME_TAG: scheduled.isoformat()}
        run_id = dg.materialize([measured], instance=instance, tags=tags).run_id
        shown, _ = find_launch([run_id], store, opening)
        tick = shown.bars[0]
        assert (shown.zero_words, shown.label(tick.stage)) == ("the scheduled time", "tick")
        assert tick.duration_us >= 40 * MICROSECONDS
        again = dg.materialize([measured], instance=instance, tags={**tags, "dagster/parent_run_id": run_id}).run_id
        shown, _ = find_launch([again], store, opening)
        assert Boundary.REQUESTED not in shown.known
        assert shown.subject.endswith(", re-executed")

    def test_a_run_that_failed_or_is_not_over_is_shown_as_such(
        self, instance: dg.DagsterInstance, store: Store, opening: Opening
    ) -> None:
        failed = dg.materialize([broken], instance=instance, raise_on_error=False).run_id
        shown, _ = find_launch([failed], store, opening)
        assert (shown.outcome, shown.reason) == ("failed", "ConnectionError: no route to the warehouse")
        shown, _ = find_launch([make_run(instance, {}, RunStatus.STARTED)], store, opening)
        assert (shown.outcome, shown.bars, shown.ended_us) == ("not over", (), None)

    @pytest.mark.parametrize("asked", ["00000000-0000-4000-8000-000000000000", "4f2a1b"])
    def test_an_unknown_one_is_named_with_what_to_do(self, store: Store, opening: Opening, asked: str) -> None:
        with pytest.raises(UnknownLaunchError, match=f"no run {asked} in .*bench.duckdb, nor in the Dagster instance"):
            find_launch([asked], store, opening)

    def test_a_beginning_that_several_share_is_not_guessed_at(self, store: Store) -> None:
        store.save(samples.measured_sweep(["a250"], repeats=3))
        with pytest.raises(UnknownLaunchError, match="Several runs begin with 000000, such as 00000001-"):
            find_launch(["000000"], store, not_opened)

    @pytest.mark.parametrize("asked", ["", "4f2a1", "\udcff" * 8, "4f2a1b\x00", "4f2a1b\n", "4f2a1bé", "f" * 256])
    def test_what_cannot_be_a_run_id_is_refused(self, store: Store, asked: str) -> None:
        with pytest.raises(UnknownLaunchError, match=r"is too short|is not the id of a run"):
            find_launch([asked], store, not_opened)

    def test_a_whole_id_is_meant_even_if_another_begins_with_it(
        self, instance: dg.DagsterInstance, store: Store, opening: Opening
    ) -> None:
        for run_id in ("nightly-1", "nightly-10"):
            instance.run_storage.add_run(dg.DagsterRun("nothing", run_id))
        assert find_launch(["nightly-1"], store, opening)[0].run_id == "nightly-1"

    def test_a_whole_id_in_the_results_database_is_meant_likewise(self, store: Store) -> None:
        trials = [
            samples.relaunched(samples.make_trial(number), run_id=run_id)
            for number, run_id in enumerate(("nightly-1", "nightly-10"), start=1)
        ]
        store.save(samples.make_sweep(trials))
        assert find_launch(["nightly-1"], store, not_opened)[0].run_id == "nightly-1"

    def test_a_launch_of_which_nothing_is_left_is_not_shown(self, store: Store) -> None:
        lost = samples.make_trial(outcome=Outcome.LOST, reason="its events are gone")
        store.save(samples.make_sweep([lost]))
        with pytest.raises(UnknownLaunchError, match=r"There is nothing to show of a250/asset_0.*its events are gone"):
            find_launch([lost.launch.run_id or ""], store, not_opened)


class TestBySweep:
    def test_without_a_location_it_is_the_largest_that_was_measured(self) -> None:
        shown, sample = find_median(samples.troubled_sweep())  # in which a10k was not
        assert "in a5k, trial" in shown.subject
        assert sample.lag_s.n == 3

    def test_a_location_may_be_named(self) -> None:
        shown, sample = find_median(samples.measured_sweep(), "a250")
        assert "in a250, trial" in shown.subject
        assert sample.lag_s.n == 5

    def test_of_an_experiment_it_is_the_baseline_over_all_its_locations_or_the_variant_named(self) -> None:
        trials = [
            samples.make_trial(number, location, variant=variant)
            for number, (variant, location) in enumerate(
                [("split", "a250"), ("whole", "a2k"), ("split", "a500"), ("whole", "a2k")], start=1
            )
        ]
        sweep = samples.make_sweep(trials)
        variants = (Variant("whole", ("a2k",)), Variant("split", ("a250", "a500")))
        experiment = replace(sweep, plan=replace(sweep.plan, variants=variants))
        for variant, location, name, n in (
            ("", "", "whole", 2),
            ("split", "", "split", 2),
            ("", "a500", "split", 1),
        ):
            shown, sample = find_median(experiment, location, variant)
            assert f"({name})" in shown.subject
            assert sample.lag_s.n == n

    def test_what_was_not_measured_is_answered_with_what_was(self) -> None:
        sweep = samples.measured_sweep(["a10", "a250"])
        with pytest.raises(UnknownLaunchError, match=r"of a9k\. It has: a10 \(default\), a250 \(default\)\."):
            find_median(sweep, "a9k")
        with pytest.raises(UnknownLaunchError, match=r"of any location\. It has: none\."):
            find_median(samples.failed_sweep())


class TestForAGanttChart:
    def test_runs_of_the_results_database_come_with_their_side_or_location(self, store: Store) -> None:
        sweep = samples.measured_sweep(["a250", "a2k"], repeats=1)
        store.save(sweep)
        ids = [trial.launch.run_id or "" for trial in sweep.trials]
        runs = find_launches([*ids, ids[0][:8]], store, not_opened)
        assert [run.launch.run_id for run in runs] == ids
        assert [run.group for run in runs] == [trial.location for trial in sweep.trials]
        assert all(run.environment == samples.ENVIRONMENT for run in runs)

    def test_any_other_runs_come_with_their_job_and_those_in_progress_are_read_at_one_instant(
        self, instance: dg.DagsterInstance, store: Store, opening: Opening
    ) -> None:
        sweep = samples.measured_sweep(["a250"], repeats=1)
        store.save(sweep)
        over = in_batches.execute_in_process(instance=instance).run_id
        waiting = [make_run(instance, {}, RunStatus.STARTED) for _ in range(2)]
        stored = sweep.trials[0].launch.run_id or ""
        runs = find_launches([over[:8], stored, *waiting], store, opening)
        assert [run.launch.run_id for run in runs] == [stored, over, *waiting]
        assert [run.group for run in runs] == ["a250", "in_batches", "nothing", "nothing"]
        assert len({run.read_us for run in runs[1:]}) == 1
        panel = run_panel(runs[1:])
        assert [row.is_open for row in panel.rows] == [False, True, True]
        assert panel.rows[-1].end_us == panel.makespan_us == (runs[1].read_us or 0) - panel.zero_us
        steps = step_panel(runs[1])
        assert {row.name: row.group for row in steps.rows} == {
            "plan_batches": "plan_batches",
            **{f"{op}[batch_{n}]": op for op in ("extract", "load") for n in range(2)},
        }
        assert steps.in_flight is not None

    def test_unknown_ones_are_all_named(self, store: Store, opening: Opening) -> None:
        with pytest.raises(UnknownLaunchError, match="no run 4f2a1b2c, 9d03e6aa in "):
            find_launches(["4f2a1b2c", "9d03e6aa"], store, opening)

    def test_of_a_sweep_they_are_those_of_all_trials_or_of_one_location(self) -> None:
        sweep = samples.troubled_sweep()
        assert [run.launch for run in find_runs_of(sweep)] == [trial.launch for trial in sweep.trials]
        of_one = find_runs_of(sweep, "a10k")
        assert {run.group for run in of_one} == {"a10k"}
        assert len(of_one) == 6
        with pytest.raises(UnknownLaunchError, match=r"of a9k\. It has: a10k "):
            find_runs_of(sweep, "a9k")

    def test_of_a_sweep_whose_trials_have_several_it_is_the_trial_with_the_median_makespan(self) -> None:
        seconds = {"whole": (9, 4, 6, 5), "split": (1,)}
        trials = [
            replace(
                samples.make_trial(variant=variant, number=10 * length),
                launches=tuple(run.launch for run in queue_of_runs(3, 1, length)),
            )
            for variant, lengths in seconds.items()
            for length in lengths
        ]
        sweep = samples.make_sweep(trials)
        variants = (Variant("whole", ("a250",)), Variant("split", ("a250",)))
        sweep = replace(sweep, plan=replace(sweep.plan, variants=variants))
        for variant, length in (("", 5), ("split", 1)):
            runs = find_runs_of(sweep, variant=variant)
            assert len(runs) == 3
            assert {run.group for run in runs} == {variant or "whole"}
            assert run_panel(runs).makespan_us == 3 * (length + 1) * MICROSECONDS


class TestOpeningAnInstance:
    def test_it_is_the_one_of_the_home(self, home: Path) -> None:
        with dg.DagsterInstance.get() as other:
            run_id = dg.materialize([measured], instance=other).run_id
        with open_instance(home) as opened:
            assert list(opened.get_run_ids()) == [run_id]

    def test_a_folder_without_one_stays_without_one(self, tmp_path: Path) -> None:
        with pytest.raises(UnusableError, match="no Dagster instance in"), open_instance(tmp_path):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_one_that_cannot_be_opened_says_why(self, home: Path) -> None:
        (home / "dagster.yaml").write_text("nonsense: 3")
        with pytest.raises(UnusableError, match=r"cannot be opened: .*nonsense"), open_instance(home):
            pass


def test_the_chart_of_a_sweep_is_that_of_its_sides_if_they_have_workloads() -> None:
    sweep = experiment_sweep("max-concurrent-runs", repeats=2)
    assert gantt_of_sweep(sweep) == gantt_of_sides(sweep)
    (of_one,) = gantt_of_sweep(sweep, variant="limit 1").panels
    assert len(of_one.rows) == 6


def test_that_of_another_sweep_has_all_its_runs() -> None:
    sweep = samples.measured_sweep(repeats=2)
    (panel,) = gantt_of_sweep(sweep).panels
    assert len(panel.rows) == len(sweep.trials)
