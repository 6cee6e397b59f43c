"""What a sweep launched and does not wait for is ended before the next trial, or at its end."""

import dataclasses

import dagster as dg
import pytest
from examples import fewer
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from recording import make_plan, make_run, run_sweep
from scripted_launches import (
    Action,
    FakeWebserverWithRealRuns,
    carry_out,
    fails,
    is_away,
    is_lost,
    is_rejected,
    runs_of,
    succeeds,
    takes,
)

from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sweeps import ending
from bench_orchestrator.sweeps.harvest import harvest_sweep
from bench_orchestrator.sweeps.launching import trial_tags
from bench_orchestrator.sweeps.runner import Pace
from bench_orchestrator.webserver import WebserverError

PLAN = make_plan(locations=("a10",))


def errs_and_launches(after_s: float) -> Action:
    """Answer with an error that is not retried, and launch a run all the same, later."""

    def launch(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
        webserver.after(after_s, lambda: takes(1e6)(webserver, tags))
        raise WebserverError("HTTP 500")

    return launch


def test_a_run_that_appears_after_its_trial_was_rejected_is_ended_before_the_next(instance: dg.DagsterInstance) -> None:
    webserver = FakeWebserverWithRealRuns(instance, errs_and_launches(after_s=3), succeeds)
    first, second = carry_out(instance, webserver, PLAN, Pace(60, 5, 0), webserver.sleep)
    late, measured = runs_of(instance, PLAN)
    assert (first.outcome, first.run_id) == (Outcome.REJECTED, None)
    assert (second.outcome, second.run_id, second.warnings) == (Outcome.OK, measured.run_id, ())
    assert (late.status, late.tags[Tag.TRIAL]) == (RunStatus.CANCELED, "1")
    sweep = harvest_sweep(instance, run_sweep(instance, PLAN, [first, second]))
    assert sweep is not None
    assert [(trial.outcome, trial.launch.run_id) for trial in sweep.trials] == [
        (Outcome.REJECTED, None),
        (Outcome.OK, measured.run_id),
    ]


def test_one_that_appears_beside_the_next_is_ended_at_once_and_the_next_says_so(instance: dg.DagsterInstance) -> None:
    webserver = FakeWebserverWithRealRuns(instance, errs_and_launches(after_s=3), takes(60))
    warned: list[str] = []
    _, second = carry_out(instance, webserver, PLAN, sleep=webserver.sleep, warn=warned.append)
    measured, late = runs_of(instance, PLAN)
    assert (second.outcome, second.run_id) == (Outcome.OK, measured.run_id)
    assert webserver.terminated == [late.run_id]
    assert second.warnings == (f"run {late.run_id} of trial 1 was in progress beside it",)
    assert warned == [f"Run {late.run_id} of trial 1 was ended, because no trial waits for it."]


def test_one_that_appears_after_the_last_is_waited_for_and_ended(instance: dg.DagsterInstance) -> None:
    webserver = FakeWebserverWithRealRuns(instance, succeeds, errs_and_launches(after_s=8))
    _, second = carry_out(instance, webserver, PLAN, sleep=webserver.sleep)
    assert second.outcome is Outcome.REJECTED
    assert [run.status for run in runs_of(instance, PLAN)] == [RunStatus.SUCCESS, RunStatus.CANCELED]


def test_what_a_killed_sweep_left_is_ended_before_it_is_resumed(instance: dg.DagsterInstance) -> None:
    left = make_run(instance, trial_tags(PLAN, PLAN.trials[0], now_us()), RunStatus.STARTED)
    other = make_run(instance, trial_tags(make_plan("other"), PLAN.trials[0], now_us()), RunStatus.STARTED)
    webserver = FakeWebserverWithRealRuns(instance, succeeds)
    notes = list(carry_out(instance, webserver, dataclasses.replace(PLAN, resumes="4f2a"), sleep=webserver.sleep))
    assert webserver.terminated == [left]
    assert [(note.outcome, note.warnings) for note in notes] == [(Outcome.OK, ())] * 2
    run = instance.get_run_by_id(other)
    assert run is not None
    assert not run.is_finished


def test_one_that_cannot_be_ended_is_reported(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unwilling(FakeWebserverWithRealRuns):
        def force_terminate(self, run_id: str) -> None:
            raise WebserverError(f"no permission to end {run_id}")

    monkeypatch.setattr(ending, "TERMINATION_GRACE_S", 0.0)
    left = make_run(instance, trial_tags(PLAN, PLAN.trials[0], now_us()), RunStatus.STARTED)
    webserver = Unwilling(instance, succeeds)
    webserver.obeys = False
    warned: list[str] = []
    notes = list(carry_out(instance, webserver, PLAN, sleep=webserver.sleep, warn=warned.append))
    assert f"Run {left} of trial 1 goes on and cannot be ended: no permission to end {left}" in warned
    assert f"run {left} of trial 1 was in progress beside it" in notes[1].warnings


ACTIONS = st.recursive(
    st.sampled_from([succeeds, fails, is_rejected, is_away, takes(2)]),
    lambda actions: st.builds(is_lost, actions, st.sampled_from([0.0, 0.5, 2.0, 6.0])),
    max_leaves=3,
)


@settings(fewer(6), phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(actions=st.lists(ACTIONS, max_size=5), pause_s=st.sampled_from([0, 1, 5]))
def test_whatever_is_lost_each_trial_is_one_launch_and_no_other_goes_on(actions: list[Action], pause_s: float) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        webserver = FakeWebserverWithRealRuns(instance, *actions, succeeds)
        notes = list(carry_out(instance, webserver, PLAN, Pace(60, pause_s, 0), webserver.sleep))
        runs = runs_of(instance, PLAN)
        assert [note.number for note in notes] == [trial.number for trial in PLAN.trials]
        assert all(run.finished for run in runs)
        for note in notes:
            own = [run for run in runs if run.tags[Tag.TRIAL] == str(note.number)]
            if note.run_id is not None:
                assert (note.run_id, note.requested_us) == (own[0].run_id, own[0].requested_us)
        sweep = harvest_sweep(instance, run_sweep(instance, PLAN, notes))
        assert sweep is not None
        assert [trial.launch.run_id for trial in sweep.trials] == [note.run_id for note in notes]
