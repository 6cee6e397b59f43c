"""How a trial's run is requested, by each launch path, and what its note and its tags hold."""

import dataclasses
import time
from pathlib import Path

import dagster as dg
import pytest
from recording import make_plan, make_run, run_sweep
from scripted_launches import (
    HASTY,
    PATIENT,
    Action,
    FakeWebserverWithRealRuns,
    carry_out,
    fails,
    is_away,
    is_lost,
    launches_and_goes_away,
    no_sleep,
    opens_backfill,
    runs_of,
    succeeds,
    takes,
)

from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.plan import LaunchPath, SweepPlan
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sources.instance import get_run, read_run_log
from bench_orchestrator.sources.processes import UsageMeter
from bench_orchestrator.sweeps.deployments import Site
from bench_orchestrator.sweeps.deriving import SEVERAL_RUNS
from bench_orchestrator.sweeps.harvest import harvest_sweep
from bench_orchestrator.sweeps.launching import trial_tags
from bench_orchestrator.sweeps.runner import SweepAbortedError, run_trials
from bench_orchestrator.webserver import WebserverError, WebserverUnreachableError
from synthetic_locations.triggers import LaunchRequest, Trigger, read_request, write_request


class TestTags:
    def test_a_trials_run_can_be_found_and_filtered_by_what_it_is(self) -> None:
        plan = make_plan("quick-7", locations=("a1p2k",))
        assert trial_tags(plan, plan.trials[0], 1_784_021_400_123_457) == {
            "bench/kind": "trial",
            "bench/sweep": "quick-7",
            "bench/scenario": "quick",
            "bench/variant": "default",
            "bench/trial": "1",
            "bench/warmup": "true",
            "bench/requested_at_us": "1784021400123457",
            "dagster/max_retries": "0",
            "dagster/partition": "p0",
        }

    @pytest.mark.parametrize("path", [path for path in LaunchPath if path is not LaunchPath.GRAPHQL])
    def test_whatever_else_launches_a_run_sets_its_partition_itself(self, path: LaunchPath) -> None:
        plan = make_plan(locations=("a1p2k",))
        assert "dagster/partition" not in trial_tags(plan, dataclasses.replace(plan.trials[0], path=path), 0)

    def test_without_partitions_no_partition_is_requested(self) -> None:
        plan = make_plan(locations=("a10",))
        assert "dagster/partition" not in trial_tags(plan, plan.trials[1], 0)
        assert trial_tags(plan, plan.trials[1], 0)[Tag.WARMUP] == "false"

    def test_dagster_takes_them_all(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan(locations=("a10",))
        tags = trial_tags(plan, plan.trials[0], now_us())
        run = get_run(instance, make_run(instance, tags))
        assert run is not None
        assert tags.items() <= run.tags.items()

    def test_a_range_of_partitions_is_launched_as_one_run(self) -> None:
        plan = make_plan(locations=("a1p2k",))
        trial = dataclasses.replace(plan.trials[0], partition_key="p0", last_partition_key="p9")
        tags = trial_tags(plan, trial, 0)
        assert "dagster/partition" not in tags
        assert tags["dagster/asset_partition_range_start"] == "p0"
        assert tags["dagster/asset_partition_range_end"] == "p9"


class TestAWebserverThatIsAway:
    def test_when_it_is_back_the_trial_is_launched_with_the_time_of_the_request_that_worked(
        self, instance: dg.DagsterInstance
    ) -> None:
        plan = make_plan()
        webserver = FakeWebserverWithRealRuns(instance, is_away, is_away, succeeds)
        notes = list(carry_out(instance, webserver, plan))
        assert [note.outcome for note in notes] == [Outcome.OK] * len(plan.trials)
        assert len(runs_of(instance, plan)) == len(plan.trials)
        assert notes[0].requested_us == int(webserver.requests[2][Tag.REQUESTED_AT])

    def test_a_request_that_was_carried_out_all_the_same_is_not_repeated(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, launches_and_goes_away)
        notes = list(carry_out(instance, webserver, plan))
        assert [note.outcome for note in notes] == [Outcome.OK, Outcome.OK]
        assert len(webserver.requests) == len(plan.trials)
        assert [run.run_id for run in runs_of(instance, plan)] == [note.run_id for note in notes]
        assert [run.requested_us for run in runs_of(instance, plan)] == [note.requested_us for note in notes]

    def test_a_launch_that_raced_with_a_rejection_is_the_trials_run(self, instance: dg.DagsterInstance) -> None:
        def launches_and_errs(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
            succeeds(webserver, tags)
            raise WebserverError("HTTP 500")

        note, *_ = carry_out(instance, FakeWebserverWithRealRuns(instance, launches_and_errs), make_plan())
        assert note.outcome is Outcome.OK

    def test_for_longer_than_a_trial_may_take_it_ends_the_sweep_after_a_note(
        self, instance: dg.DagsterInstance
    ) -> None:
        plan = make_plan()
        webserver = FakeWebserverWithRealRuns(instance, is_away)
        trials = carry_out(instance, webserver, plan, HASTY, lambda _s: time.sleep(0.05))
        note = next(trials)
        assert (note.number, note.outcome) == (1, Outcome.REJECTED)
        with pytest.raises(SweepAbortedError, match="does not answer"):
            next(trials)
        assert len(webserver.requests) > 1
        assert runs_of(instance, plan) == []


def launched_by(path: LaunchPath) -> SweepPlan:
    """Return a plan of two trials by this launch path."""
    plan = make_plan(locations=("a10",))
    return dataclasses.replace(plan, trials=tuple(dataclasses.replace(trial, path=path) for trial in plan.trials))


class TestAnAnswerThatIsLost:
    def test_the_run_of_the_first_request_counts_from_it_and_the_surplus_one_is_ended(
        self, instance: dg.DagsterInstance
    ) -> None:
        def launches_both(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
            takes(5)(webserver, webserver.requests[0])
            return takes(5)(webserver, tags)

        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, is_away, launches_both, succeeds)
        warned: list[str] = []
        first, second = carry_out(instance, webserver, plan, sleep=webserver.sleep, warn=warned.append)
        measured, surplus, _ = runs_of(instance, plan)
        assert (first.outcome, first.run_id) == (Outcome.OK, measured.run_id)
        assert first.requested_us == measured.requested_us == int(webserver.requests[0][Tag.REQUESTED_AT])
        assert surplus.status is RunStatus.CANCELED
        assert warned == [f"Run {surplus.run_id} of trial 1 was ended, because no trial waits for it."]
        assert first.warnings == (SEVERAL_RUNS,)
        assert (second.outcome, second.warnings) == (Outcome.OK, ())

    def test_a_run_that_comes_two_seconds_late_is_ended_while_the_second_is_measured(
        self, instance: dg.DagsterInstance
    ) -> None:
        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, is_lost(takes(60), after_s=2), takes(5), succeeds)
        first, _ = carry_out(instance, webserver, plan, sleep=webserver.sleep)
        measured, surplus, _ = runs_of(instance, plan)
        assert webserver.terminated == [surplus.run_id]
        assert (first.run_id, first.requested_us) == (measured.run_id, int(webserver.requests[1][Tag.REQUESTED_AT]))
        assert first.warnings == (SEVERAL_RUNS,)
        sweep = harvest_sweep(instance, run_sweep(instance, plan, [first]))
        assert sweep is not None
        assert sweep.trials[0].launch.run_id == measured.run_id
        assert sweep.trials[0].launch.warnings.count(SEVERAL_RUNS) == 1

    def test_one_that_made_the_run_all_the_same_is_a_warning(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, is_lost(takes(3)), succeeds)
        first, _ = carry_out(instance, webserver, plan, sleep=webserver.sleep)
        assert first.requested_us == int(webserver.requests[0][Tag.REQUESTED_AT])
        assert first.warnings == ("its request made the run, and was answered with: HTTP 504",)
        assert webserver.terminated == []

    def test_a_run_that_a_person_executes_again_is_neither_measured_nor_ended(
        self, instance: dg.DagsterInstance
    ) -> None:
        def is_repeated(_webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
            make_run(instance, {**tags, "dagster/parent_run_id": "4f2a"}, RunStatus.STARTED)
            raise WebserverUnreachableError("HTTP 504")

        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, is_repeated, succeeds)
        notes = list(carry_out(instance, webserver, plan, sleep=webserver.sleep))
        assert [(note.outcome, note.warnings) for note in notes] == [(Outcome.OK, ())] * 2
        assert webserver.terminated == []


class TestABackfill:
    PLAN = launched_by(LaunchPath.BACKFILL)

    def test_its_run_counts_from_its_request(self, instance: dg.DagsterInstance) -> None:
        webserver = FakeWebserverWithRealRuns(instance, opens_backfill(succeeds, after_s=20))
        notes = list(carry_out(instance, webserver, self.PLAN, sleep=webserver.sleep))
        assert [(note.outcome, note.warnings) for note in notes] == [(Outcome.OK, ())] * 2
        assert [note.requested_us for note in notes] == [int(tags[Tag.REQUESTED_AT]) for tags in webserver.requests]
        assert webserver.canceled_backfills == []

    def test_one_whose_answer_is_lost_is_not_requested_again(self, instance: dg.DagsterInstance) -> None:
        webserver = FakeWebserverWithRealRuns(instance, is_lost(opens_backfill(succeeds, after_s=20)))
        copied = {Tag.SWEEP.value: self.PLAN.sweep_id, Tag.TRIAL.value: "1"}
        webserver.backfills |= {"a person's": copied, "a joker's": {**copied, Tag.REQUESTED_AT.value: "soon"}}
        notes = list(carry_out(instance, webserver, self.PLAN, sleep=webserver.sleep))
        assert [note.outcome for note in notes] == [Outcome.OK] * 2
        assert len(webserver.backfills) - 2 == len(webserver.requests) == 2
        assert [note.requested_us for note in notes] == [int(tags[Tag.REQUESTED_AT]) for tags in webserver.requests]

    def test_a_second_one_is_canceled(self, instance: dg.DagsterInstance) -> None:
        late = is_lost(opens_backfill(takes(9), after_s=90), after_s=2)
        webserver = FakeWebserverWithRealRuns(instance, late, opens_backfill(takes(9), after_s=20))
        first, _ = carry_out(instance, webserver, self.PLAN, sleep=webserver.sleep)
        assert (first.outcome, first.requested_us) == (Outcome.OK, int(webserver.requests[1][Tag.REQUESTED_AT]))
        assert webserver.canceled_backfills == ["backfill1"]
        assert len(runs_of(instance, self.PLAN)) == 2

    def test_one_that_launches_nothing_in_time_is_canceled(self, instance: dg.DagsterInstance) -> None:
        webserver = FakeWebserverWithRealRuns(instance, opens_backfill(takes(9), after_s=1e6))
        warned: list[str] = []
        notes = list(carry_out(instance, webserver, self.PLAN, HASTY, lambda _s: time.sleep(0.05), warned.append))
        assert [note.outcome for note in notes] == [Outcome.TIMED_OUT] * 2
        assert webserver.canceled_backfills == ["backfill0", "backfill1"]
        assert warned == [f"Backfill backfill{n - 1} of trial {n} was canceled." for n in (1, 2)]

    def test_its_late_run_is_ended_before_the_next_trial(self, instance: dg.DagsterInstance) -> None:
        def is_too_late(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
            webserver.after(1, lambda: takes(1e6)(webserver, tags))
            return opens_backfill(takes(1e6), after_s=1e6)(webserver, tags)

        def sleep(seconds: float) -> None:
            time.sleep(seconds / 100)
            if seconds == 7:  # the pause
                webserver.sleep(seconds)

        webserver = FakeWebserverWithRealRuns(instance, is_too_late, opens_backfill(succeeds))
        pace = dataclasses.replace(HASTY, pause_s=7)
        first, second = carry_out(instance, webserver, self.PLAN, pace, sleep)
        assert (first.outcome, first.run_id) == (Outcome.TIMED_OUT, None)
        assert (second.outcome, second.warnings) == (Outcome.TIMED_OUT, ())
        (late,) = runs_of(instance, self.PLAN)
        assert late.status is RunStatus.CANCELED


class TestATick:
    PLAN = launched_by(LaunchPath.SCHEDULE)

    def carry_out(
        self, instance: dg.DagsterInstance, *answers: dict[str, float] | WebserverError
    ) -> tuple[list[TrialNote], FakeWebserverWithRealRuns]:
        """Carry out a sweep whose schedule launches what the mailbox asks for; ticks are known as in the answers."""
        webserver = FakeWebserverWithRealRuns(instance, succeeds)

        def sleep(seconds: float) -> None:
            webserver.sleep(seconds)
            request = read_request(instance, "a10", Trigger.SCHEDULE)
            if request is not None:
                run_id = succeeds(webserver, dict(request.tags))
                webserver.tick_times = [*answers, {run_id: 1_784_021_460.25}]

        return list(carry_out(instance, webserver, self.PLAN, sleep=sleep)), webserver

    def test_it_is_the_request(self, home_instance: dg.DagsterInstance) -> None:
        notes, _ = self.carry_out(home_instance, {})
        assert [(note.outcome, note.requested_us) for note in notes] == [(Outcome.OK, 1_784_021_460_250_000)] * 2

    def test_a_request_that_a_killed_sweep_left_is_withdrawn(self, home_instance: dg.DagsterInstance) -> None:
        write_request(home_instance, "a10", Trigger.SCHEDULE, LaunchRequest("left", ("a10/asset_0",)))
        notes, _ = self.carry_out(home_instance)
        assert [note.outcome for note in notes] == [Outcome.OK] * 2
        assert len(home_instance.get_runs()) == 2

    def test_a_webserver_that_is_away_is_asked_again_for_it(self, home_instance: dg.DagsterInstance) -> None:
        notes, _ = self.carry_out(home_instance, WebserverUnreachableError("HTTP 504"))
        assert [(note.outcome, note.requested_us) for note in notes] == [(Outcome.OK, 1_784_021_460_250_000)] * 2


class TestTheSweepsOwnDeployment:
    def carry_out(self, own: dg.DagsterInstance, action: Action) -> tuple[SweepPlan, list[TrialNote]]:
        """Return a sweep whose trials all run in a deployment with a separate instance."""
        plan = make_plan(locations=("a10",))
        plan = dataclasses.replace(
            plan,
            locations=tuple(dataclasses.replace(location, deployment="own") for location in plan.locations),
            trials=tuple(dataclasses.replace(trial, deployment="own") for trial in plan.trials),
        )
        webserver = FakeWebserverWithRealRuns(own, action)
        site = Site("own", webserver, own, UsageMeter(Path(own.root_directory)), {})
        return plan, list(run_trials(plan, {"own": site}, pace=PATIENT, sleep=no_sleep))

    @pytest.mark.parametrize(("action", "outcome"), [(succeeds, Outcome.OK), (fails, Outcome.FAILED)])
    def test_a_note_holds_all_that_is_to_be_known_of_its_run(
        self, instance: dg.DagsterInstance, action: Action, outcome: Outcome
    ) -> None:
        plan, (first, _) = self.carry_out(instance, action)
        (run, *_) = runs_of(instance, plan)
        assert first.outcome is outcome
        assert (first.run_id, first.created_us) == (run.run_id, run.created_us)
        assert first.log == read_run_log(instance, run.run_id)

    def test_the_harvest_needs_nothing_but_the_notes(self, instance: dg.DagsterInstance) -> None:
        with dg.DagsterInstance.ephemeral() as own:
            plan, notes = self.carry_out(own, succeeds)
        sweep = harvest_sweep(instance, run_sweep(instance, plan, notes))
        assert sweep is not None
        assert [trial.outcome for trial in sweep.trials] == [Outcome.OK, Outcome.OK]
        for trial, note in zip(sweep.trials, notes, strict=True):
            assert (trial.launch.run_id, trial.deployment) == (note.run_id, "own")
            assert trial.launch.time_to_code_us == sum(us for us in trial.launch.stages_us.values() if us is not None)
            assert (trial.launch.work, len(trial.launch.steps)) == (1, 1)
            assert trial.launch.work_us is not None
            assert trial.launch.work_us >= trial.launch.time_to_code_us
