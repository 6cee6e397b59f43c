"""How a trial with several runs is carried out and taken down: the actions, the waits, and what is left."""

import dataclasses
import time
from collections import Counter
from collections.abc import Iterable

import dagster as dg
import pytest
from recording import make_plan, make_run
from scripted_launches import (
    HASTY,
    Action,
    FakeWebserverWithRealRuns,
    carry_out,
    fails,
    hangs,
    is_away,
    is_rejected,
    opens_backfill,
    succeeds,
    takes,
)

from bench_orchestrator.model import workload
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.plan import SweepPlan, Variant
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.tags import BACKFILL_TAG, Tag
from bench_orchestrator.model.workload import Await, Backfill, End, Rest, SetPool, Submit, Workload
from bench_orchestrator.sources.instance import find_trial_runs
from bench_orchestrator.sweeps.runner import SweepAbortedError


def plan_of(*actions: workload.Action, trials: int = 1) -> SweepPlan:
    """Return a plan whose trials carry this workload out."""
    plan = make_plan(locations=("a10",))
    of_side = [dataclasses.replace(trial, variant="side", work=None) for trial in plan.trials[:trials]]
    return dataclasses.replace(
        plan, trials=tuple(of_side), variants=(Variant("side", ("a10",), workload=Workload(actions)),)
    )


def play(
    instance: dg.DagsterInstance, plan: SweepPlan, *launches: Action
) -> tuple[TrialNote, FakeWebserverWithRealRuns]:
    """Return the note on the plan's only trial, and the webserver that was asked."""
    webserver = FakeWebserverWithRealRuns(instance, *launches)
    (note,) = carry_out(instance, webserver, plan, sleep=webserver.sleep)
    return note, webserver


def roles(note: TrialNote) -> Counter[str]:
    return Counter(run.role for run in note.runs)


def tags_of(requests: Iterable[dict[str, str]], tag: str) -> list[str | None]:
    return [tags.get(tag) for tags in requests]


def test_each_run_is_taken_down_with_its_role_its_status_and_its_log(instance: dg.DagsterInstance) -> None:
    plan = plan_of(Submit("good", 2, tags={"customer": "a"}), Submit("bad"))
    note, webserver = play(instance, plan, succeeds, succeeds, fails)
    assert (note.outcome, note.reason) == (Outcome.OK, "")
    assert [(run.role, run.status) for run in note.runs] == [
        ("good", RunStatus.SUCCESS),
        ("good", RunStatus.SUCCESS),
        ("bad", RunStatus.FAILURE),
    ]
    assert [run.log.materializations for run in note.runs] == [1, 1, 0]
    assert "no route" in note.runs[2].log.failure
    assert tags_of(webserver.requests, "customer") == ["a", "a", None]
    assert tags_of(webserver.requests, Tag.ROLE) == ["good", "good", "bad"]
    requested = [int(tags[Tag.REQUESTED_AT]) for tags in webserver.requests]
    assert [run.requested_us for run in note.runs] == requested
    assert len(note.acts_us) == 2
    assert note.acts_us[0] <= requested[0] <= requested[1] <= note.acts_us[1] <= requested[2]


def test_the_trial_is_over_when_all_its_runs_are(instance: dg.DagsterInstance) -> None:
    note, webserver = play(instance, plan_of(Submit("run", 2)), takes(5), takes(20))
    assert note.outcome is Outcome.OK
    assert webserver.slept_s >= 20
    assert {run.status for run in note.runs} == {RunStatus.SUCCESS}


def test_it_waits_for_the_runs_of_a_backfill_that_come_late(instance: dg.DagsterInstance) -> None:
    note, webserver = play(instance, plan_of(Backfill("backfill", 1)), opens_backfill(succeeds, after_s=30))
    assert webserver.backfilled == [["wednesday"]]
    assert roles(note) == {"backfill": 1}
    assert webserver.slept_s >= 30
    assert find_trial_runs(instance, "quick-1")[0].tags[BACKFILL_TAG] == "backfill0"


def test_actions_follow_each_other(instance: dg.DagsterInstance) -> None:
    plan = plan_of(
        SetPool("a pool", 3),
        Submit("holder"),
        Await("holder", (RunStatus.STARTED,)),
        End("holder"),
        Rest(7),
        Submit("next"),
    )
    note, webserver = play(instance, plan, hangs, succeeds)
    assert note.outcome is Outcome.OK
    assert [(run.role, run.status) for run in note.runs] == [
        ("holder", RunStatus.CANCELED),
        ("next", RunStatus.SUCCESS),
    ]
    assert webserver.terminated == [note.runs[0].run_id]
    assert webserver.slept_s >= 7
    (pool,) = instance.event_log_storage.get_pool_limits()
    assert (pool.name, pool.limit) == ("a pool", 3)
    assert list(note.acts_us) == sorted(note.acts_us)
    assert len(note.acts_us) == 6


def test_only_the_role_is_ended(instance: dg.DagsterInstance) -> None:
    plan = plan_of(Submit("holder"), Submit("other"), End("holder"))
    note, webserver = play(instance, plan, hangs, takes(3))
    assert webserver.terminated == [run.run_id for run in note.runs if run.role == "holder"]
    assert [run.status for run in note.runs] == [RunStatus.CANCELED, RunStatus.SUCCESS]


def test_one_that_takes_too_long_is_noted_before_its_runs_are_ended(instance: dg.DagsterInstance) -> None:
    webserver = FakeWebserverWithRealRuns(instance, succeeds, hangs)
    trials = carry_out(instance, webserver, plan_of(Submit("run", 2)), HASTY, lambda _s: time.sleep(0.05))
    note = next(trials)
    assert (note.outcome, note.reason) == (
        Outcome.TIMED_OUT,
        "not over after 0.2 s: it waited in vain for the end of its runs",
    )
    assert [run.status for run in note.runs] == [RunStatus.SUCCESS, RunStatus.STARTED]
    assert webserver.terminated == []
    assert not list(trials)
    assert webserver.terminated == [note.runs[1].run_id]


def test_what_an_action_waited_for_in_vain_is_said(instance: dg.DagsterInstance) -> None:
    plan = plan_of(Submit("run"), Await("run", (RunStatus.STARTING, RunStatus.STARTED), 2), Submit("never"))
    webserver = FakeWebserverWithRealRuns(instance, hangs)
    note = next(iter(carry_out(instance, webserver, plan, HASTY, lambda _s: time.sleep(0.05))))
    assert note.reason.endswith("it waited in vain for 2 runs of 'run' that are STARTING or STARTED")
    assert roles(note) == {"run": 1}
    assert len(note.acts_us) == 2


def test_a_refused_request_rejects_the_trial_and_the_sweep_goes_on(instance: dg.DagsterInstance) -> None:
    webserver = FakeWebserverWithRealRuns(instance, hangs, is_rejected, succeeds)
    first, second = carry_out(instance, webserver, plan_of(Submit("run", 2), trials=2))
    assert first.outcome is Outcome.REJECTED
    assert first.reason == "InvalidSubsetError: no such asset"
    assert webserver.terminated == [first.runs[0].run_id]
    assert second.outcome is Outcome.OK


def test_a_webserver_that_is_away_ends_the_sweep(instance: dg.DagsterInstance) -> None:
    webserver = FakeWebserverWithRealRuns(instance, is_away)
    notes = carry_out(instance, webserver, plan_of(Submit("run"), trials=2))
    assert next(notes).outcome is Outcome.REJECTED
    with pytest.raises(SweepAbortedError, match="does not answer"):
        next(notes)


def test_runs_of_an_earlier_trial_are_ended_before_and_not_taken_down(instance: dg.DagsterInstance) -> None:
    plan = plan_of(Submit("run"), trials=2)
    tags: dict[str, str] = {Tag.KIND: "trial", Tag.SWEEP: plan.sweep_id, Tag.TRIAL: "7", Tag.ROLE: "run"}
    left = make_run(instance, tags, RunStatus.STARTED)
    webserver = FakeWebserverWithRealRuns(instance, succeeds)
    notes = list(carry_out(instance, webserver, plan))
    assert webserver.terminated == [left]
    assert [len(note.runs) for note in notes] == [1, 1]
