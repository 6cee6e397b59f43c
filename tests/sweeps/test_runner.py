"""How a sweep carries out its plan: outcomes, pace, time-outs and interruptions."""

import dataclasses
import random
import time
from collections.abc import Callable

import dagster as dg
import pytest
from recording import make_plan
from scripted_launches import (
    HASTY,
    PATIENT,
    Action,
    FakeWebserverWithRealRuns,
    carry_out,
    fails,
    hangs,
    has_no_server,
    is_canceled,
    is_denied,
    is_rejected,
    runs_of,
    succeeds,
)

from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sweeps.runner import Pace
from bench_orchestrator.webserver import (
    WebserverUnreachableError,
)


class TestOutcomes:
    @pytest.mark.parametrize(
        ("action", "outcome"),
        [(succeeds, Outcome.OK), (fails, Outcome.FAILED), (is_canceled, Outcome.CANCELED)],
    )
    def test_a_trial_ends_as_its_run_does(self, instance: dg.DagsterInstance, action: Action, outcome: Outcome) -> None:
        plan = make_plan(locations=("a10",))
        notes = list(carry_out(instance, FakeWebserverWithRealRuns(instance, action), plan))
        assert [(note.number, note.outcome) for note in notes] == [(1, outcome), (2, outcome)]
        assert [note.run_id for note in notes] == [run.run_id for run in runs_of(instance, plan)]
        assert [note.requested_us for note in notes] == [run.requested_us for run in runs_of(instance, plan)]

    @pytest.mark.parametrize("goes_on", [True, False])
    def test_one_whose_worker_dagster_could_not_ask_for_is_waited_for(
        self, instance: dg.DagsterInstance, lose_sight_of: Callable[[dg.DagsterInstance, str], None], goes_on: bool
    ) -> None:
        def is_lost(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
            run_id = hangs(webserver, tags)
            lose_sight_of(instance, run_id)
            return run_id

        def sleep(_seconds: float) -> None:
            for run in runs_of(instance, plan) if goes_on else ():
                instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", run.job), run.run_id)

        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, is_lost)
        first, second = carry_out(instance, webserver, plan, PATIENT if goes_on else HASTY, sleep)
        assert first.outcome is second.outcome is (Outcome.OK if goes_on else Outcome.FAILED)

    @pytest.mark.parametrize(("action", "reason"), [(is_rejected, "InvalidSubsetError"), (is_denied, "401")])
    def test_a_refused_launch_is_rejected_and_the_sweep_goes_on(
        self, instance: dg.DagsterInstance, action: Action, reason: str
    ) -> None:
        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, action, succeeds)
        first, second = carry_out(instance, webserver, plan)
        assert (first.outcome, first.run_id) == (Outcome.REJECTED, None)
        assert reason in first.reason
        assert second.outcome is Outcome.OK

    def test_a_code_server_that_is_replaced_is_waited_for(self, instance: dg.DagsterInstance) -> None:
        webserver = FakeWebserverWithRealRuns(instance, has_no_server, has_no_server, succeeds)
        first, *_ = carry_out(instance, webserver, make_plan(locations=("a10",)))
        assert first.outcome is Outcome.OK
        assert first.requested_us == int(webserver.requests[2][Tag.REQUESTED_AT])

    def test_one_that_stays_away_costs_its_trials(self, instance: dg.DagsterInstance) -> None:
        webserver = FakeWebserverWithRealRuns(instance, has_no_server, succeeds)
        first, second = carry_out(
            instance, webserver, make_plan(locations=("a10",)), Pace(timeout_s=0, pause_s=0, jitter_s=0)
        )
        assert (first.outcome, first.reason) == (Outcome.REJECTED, "The code location a10 had no code server.")
        assert second.outcome is Outcome.OK

    def test_a_run_that_vanishes_is_lost(self, instance: dg.DagsterInstance) -> None:
        def vanishes(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
            run_id = hangs(webserver, tags)
            instance.delete_run(run_id)
            return run_id

        note, *_ = carry_out(instance, FakeWebserverWithRealRuns(instance, vanishes), make_plan())
        assert note.outcome is Outcome.LOST

    def test_trials_are_launched_in_the_order_of_the_plan_one_at_a_time(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan(repeats=2)
        webserver = FakeWebserverWithRealRuns(instance, succeeds)
        for note in carry_out(instance, webserver, plan):
            assert len(webserver.requests) == note.number
            assert [tags[Tag.TRIAL] for tags in webserver.requests] == [str(n + 1) for n in range(note.number)]
        assert len(webserver.requests) == len(plan.trials)


class TestATrialThatTakesTooLong:
    def test_it_is_noted_before_it_is_terminated(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, hangs)
        trials = carry_out(instance, webserver, plan, HASTY, lambda _s: time.sleep(0.05))
        note = next(trials)
        assert note.outcome is Outcome.TIMED_OUT
        assert note.reason.startswith("not over 0.2 s after its request, still ")
        assert webserver.terminated == []
        next(trials)
        assert webserver.terminated == [note.run_id]

    def test_it_is_marked_canceled_where_it_does_not_stop(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bench_orchestrator.sweeps.ending.TERMINATION_GRACE_S", 0.2)
        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, hangs)
        webserver.obeys = False
        notes = list(carry_out(instance, webserver, plan, HASTY, lambda _s: time.sleep(0.05)))
        assert [note.outcome for note in notes] == [Outcome.TIMED_OUT] * 2
        assert webserver.forced == [note.run_id for note in notes]
        assert all(run.finished for run in runs_of(instance, plan))

    def test_the_sweep_goes_on_with_the_next_one(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, hangs, succeeds)
        notes = list(carry_out(instance, webserver, plan, Pace(1.0, 0, 0), lambda _s: time.sleep(0.05)))
        assert [note.outcome for note in notes] == [Outcome.TIMED_OUT, Outcome.OK]


class TestAnInterruption:
    @pytest.mark.parametrize("interruption", [KeyboardInterrupt, dg.DagsterExecutionInterruptedError])
    def test_it_terminates_the_trial_that_is_waited_for(
        self, instance: dg.DagsterInstance, interruption: type[BaseException]
    ) -> None:
        plan = make_plan()
        webserver = FakeWebserverWithRealRuns(instance, succeeds, hangs)

        def sleep(_seconds: float) -> None:
            if any(not run.finished for run in runs_of(instance, plan)) and not webserver.terminated:
                raise interruption

        trials = carry_out(instance, webserver, plan, sleep=sleep)
        assert next(trials).outcome is Outcome.OK
        with pytest.raises(interruption):
            next(trials)
        done, interrupted = runs_of(instance, plan)
        assert webserver.terminated == [interrupted.run_id]
        assert interrupted.status is RunStatus.CANCELED
        assert done.status is RunStatus.SUCCESS

    def test_it_terminates_a_trial_whose_request_was_under_way(self, instance: dg.DagsterInstance) -> None:
        def launches_and_is_interrupted(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
            hangs(webserver, tags)
            raise KeyboardInterrupt

        plan = make_plan()
        webserver = FakeWebserverWithRealRuns(instance, launches_and_is_interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(carry_out(instance, webserver, plan))
        assert [run.status for run in runs_of(instance, plan)] == [RunStatus.CANCELED]

    def test_closing_after_a_timeouts_note_still_terminates_the_run(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan()
        webserver = FakeWebserverWithRealRuns(instance, hangs)
        trials = carry_out(instance, webserver, plan, HASTY, lambda _s: time.sleep(0.05))
        note = next(trials)
        trials.close()  # type: ignore[attr-defined]
        assert webserver.terminated == [note.run_id]

    def test_closing_between_trials_terminates_nothing(self, instance: dg.DagsterInstance) -> None:
        webserver = FakeWebserverWithRealRuns(instance, succeeds)
        trials = carry_out(instance, webserver, make_plan())
        next(trials)
        trials.close()  # type: ignore[attr-defined]
        assert webserver.terminated == []
        assert len(webserver.requests) == 1

    def test_a_webserver_that_is_away_as_well_does_not_hide_it(self, instance: dg.DagsterInstance) -> None:
        class GoneForGood(FakeWebserverWithRealRuns):
            def terminate(self, run_id: str) -> None:
                self.terminated.append(run_id)
                raise WebserverUnreachableError("The webserver does not answer.")

            def force_terminate(self, run_id: str) -> None:
                self.forced.append(run_id)
                raise WebserverUnreachableError("The webserver does not answer.")

        webserver = GoneForGood(instance, hangs)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bench_orchestrator.sweeps.ending.TERMINATION_GRACE_S", 0.0)
            trials = carry_out(instance, webserver, make_plan(), HASTY, lambda _s: time.sleep(0.05))
            next(trials)
            trials.close()  # type: ignore[attr-defined]
        assert webserver.terminated == webserver.forced != []


class TestThePace:
    def test_rests_come_from_the_seed_and_are_within_the_bounds(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan(repeats=4)
        pace = Pace(timeout_s=60, pause_s=1.5, jitter_s=5)

        def rests(of: SweepPlan) -> list[float]:
            slept: list[float] = []
            list(carry_out(instance, FakeWebserverWithRealRuns(instance, succeeds), of, pace, slept.append))
            return slept

        first = rests(plan)
        assert len(first) == len(plan.trials)
        assert all(1.5 <= rest <= 6.5 for rest in first)
        assert len(set(first)) == len(first)
        assert rests(dataclasses.replace(plan, sweep_id="again")) == first
        assert rests(dataclasses.replace(plan, sweep_id="other", seed=plan.seed + 1)) != first
        rng = random.Random(plan.seed)
        assert first == [1.5 + rng.uniform(0, 5) for _ in first]

    def test_without_jitter_the_rest_is_the_pause(self, instance: dg.DagsterInstance) -> None:
        slept: list[float] = []
        webserver = FakeWebserverWithRealRuns(instance, succeeds)
        list(carry_out(instance, webserver, make_plan(), Pace(60, 2, 0), slept.append))
        assert set(slept) == {2.0}
