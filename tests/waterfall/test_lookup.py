"""A lookup finds the launch that is meant: in the results database, or else in a real instance."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import samples
from recording import broken, make_plan, make_run, measured, run_trial

from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.plan import Variant
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.stages import Boundary, Stage
from bench_orchestrator.model.tags import SCHEDULED_TIME_TAG
from bench_orchestrator.results.store import Store
from bench_orchestrator.sources.instance import open_instance
from bench_orchestrator.waterfall.layout import UnknownLaunchError
from bench_orchestrator.waterfall.lookup import find_launch, find_median

Opening = Callable[[], AbstractContextManager[dg.DagsterInstance]]


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
