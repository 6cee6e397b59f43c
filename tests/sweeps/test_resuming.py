"""An interrupted sweep continues with its own plan, and launches only the remaining trials."""

from collections.abc import Callable
from dataclasses import replace

import dagster as dg
import pytest
from recording import make_plan, make_run, record_sweep, run_sweep, run_trial

from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.sweeps.harvest import harvest_sweep
from bench_orchestrator.sweeps.launching import trial_tags
from bench_orchestrator.sweeps.resuming import find_resumable, missing_trials

Status = RunStatus


class TestResuming:
    PLAN = make_plan(locations=("a10", "a250"), repeats=1)

    def interrupt(self, instance: dg.DagsterInstance, done: int, *notes: TrialNote) -> None:
        """Record a sweep that was killed after this many launches."""
        for number in range(1, done + 1):
            run_trial(instance, self.PLAN, number)
        run_sweep(instance, self.PLAN, notes, RuntimeError)

    def test_what_it_owes_is_what_was_never_launched_lost_or_canceled(self, instance: dg.DagsterInstance) -> None:
        canceled = make_run(instance, trial_tags(self.PLAN, self.PLAN.trials[2], now_us()), Status.CANCELED)
        self.interrupt(instance, 1, TrialNote(2, Outcome.REJECTED, "no"), TrialNote(3, Outcome.CANCELED, "", canceled))
        sweep = find_resumable(instance, "quick", self.PLAN.sweep_id)
        assert missing_trials(sweep) == {3, 4}
        assert sweep.plan.resumes is not None

    def test_together_they_are_one_sweep_with_every_trial_once(self, instance: dg.DagsterInstance) -> None:
        self.interrupt(instance, 1, TrialNote(2, Outcome.TIMED_OUT, "too long", "4f2a"))
        old = make_run(instance, trial_tags(self.PLAN, self.PLAN.trials[2], now_us()), Status.CANCELED)
        plan = find_resumable(instance, "quick", self.PLAN.sweep_id).plan
        new = [run_trial(instance, plan, number) for number in (3, 4)]
        notes = [TrialNote(number, Outcome.OK, run_id=run) for number, run in zip((3, 4), new, strict=True)]
        sweep = harvest_sweep(instance, run_sweep(instance, plan, notes))
        assert sweep is not None
        trials = sweep.trials
        assert [trial.outcome for trial in trials] == [Outcome.OK, Outcome.TIMED_OUT, Outcome.OK, Outcome.OK]
        assert [trial.launch.run_id for trial in trials[2:]] == new
        assert old not in new
        assert not any(trial.launch.warnings for trial in trials if "runs carry" in "".join(trial.launch.warnings))

    def test_a_sweep_that_was_continued_in_vain_can_be_continued_again(self, instance: dg.DagsterInstance) -> None:
        self.interrupt(instance, 1)
        second = find_resumable(instance, "quick", self.PLAN.sweep_id).plan
        run_trial(instance, second, 2)
        second_run = run_sweep(instance, second, (), RuntimeError)
        third = find_resumable(instance, "quick", self.PLAN.sweep_id)
        assert third.plan.resumes == second_run
        assert missing_trials(third) == {3, 4}

    def test_what_is_not_over_is_left_to_do_unless_it_was_timed_out(self, instance: dg.DagsterInstance) -> None:
        tags = [trial_tags(self.PLAN, trial, now_us()) for trial in self.PLAN.trials]
        timed_out = make_run(instance, tags[1], Status.CANCELING)
        make_run(instance, tags[2], Status.STARTED)
        self.interrupt(instance, 1, TrialNote(2, Outcome.TIMED_OUT, "too long", timed_out))
        assert missing_trials(find_resumable(instance, "quick", self.PLAN.sweep_id)) == {3, 4}

    def test_what_was_launched_again_and_is_not_over_is_left_to_do(self, instance: dg.DagsterInstance) -> None:
        first_us = now_us()
        canceled = make_run(instance, trial_tags(self.PLAN, self.PLAN.trials[1], first_us), Status.CANCELED)
        self.interrupt(instance, 1, TrialNote(2, Outcome.CANCELED, "", canceled, first_us))
        second = find_resumable(instance, "quick", self.PLAN.sweep_id).plan
        make_run(instance, trial_tags(second, second.trials[1], now_us()), Status.STARTED)
        run_sweep(instance, second, (), RuntimeError)
        assert missing_trials(find_resumable(instance, "quick", self.PLAN.sweep_id)) == {2, 3, 4}

    def test_a_killed_one_that_launched_a_trial_again_has_its_run_and_not_the_note_of_the_first(
        self, instance: dg.DagsterInstance
    ) -> None:
        two_hours_ago_us = now_us() - 7_200 * MICROSECONDS
        for earlier, outcome in ((None, Outcome.OK), (Status.CANCELED, Outcome.CANCELED), (None, Outcome.LOST)):
            plan = replace(self.PLAN, sweep_id=f"quick-{outcome}-{earlier}")
            tags = trial_tags(plan, plan.trials[0], two_hours_ago_us)
            first = make_run(instance, tags, earlier) if earlier else "deleted"
            note = TrialNote(1, outcome, "", first, two_hours_ago_us, warnings=("disturbed",))
            run_sweep(instance, plan, (note,), RuntimeError)
            resumed = find_resumable(instance, "quick", plan.sweep_id).plan
            again = run_trial(instance, resumed, 1)
            sweep = harvest_sweep(instance, run_sweep(instance, resumed, (), RuntimeError))
            assert sweep is not None
            trial = sweep.trials[0]
            assert (trial.outcome, trial.launch.run_id) == (Outcome.OK, again)
            submit_us = trial.launch.stages_us[Stage.SUBMIT]
            assert submit_us is not None
            assert submit_us < 600 * MICROSECONDS
            assert "disturbed" not in trial.launch.warnings

    def test_one_that_may_be_going_on_is_not_resumed(
        self, instance: dg.DagsterInstance, lose_sight_of: Callable[[dg.DagsterInstance, str], None]
    ) -> None:
        def meanwhile(run_id: str) -> None:
            lose_sight_of(instance, run_id)
            with pytest.raises(PreflightError, match="may still be running"):
                find_resumable(instance, "quick", self.PLAN.sweep_id)

        run_sweep(instance, self.PLAN, ending=RuntimeError, meanwhile=meanwhile)
        assert missing_trials(find_resumable(instance, "quick", self.PLAN.sweep_id))

    def test_what_cannot_be_resumed_is_refused(self, instance: dg.DagsterInstance) -> None:
        with pytest.raises(PreflightError, match="no finished sweep 'quick-9' of quick"):
            find_resumable(instance, "quick", "quick-9")
        run_id = record_sweep(instance, self.PLAN)
        assert harvest_sweep(instance, run_id)
        with pytest.raises(PreflightError, match="is complete: there is nothing to resume"):
            find_resumable(instance, "quick", self.PLAN.sweep_id)
        with pytest.raises(PreflightError, match="no finished sweep"):
            find_resumable(instance, "all-locations", self.PLAN.sweep_id)
