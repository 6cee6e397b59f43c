"""A trial's queue is filled with runs that nothing waits for, and is empty again however the trial ends."""

import time
from collections.abc import Callable
from dataclasses import replace

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from recording import make_plan
from scripted_launches import HASTY, Action, FakeWebserverWithRealRuns, carry_out, hangs, is_rejected, succeeds

from bench_orchestrator.model import workload
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.plan import SweepPlan, Variant
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.model.workload import Await, Fill, Rest, Submit, Workload
from bench_orchestrator.sources import storage
from bench_orchestrator.sources.instance import FILLER, find_started_fillers, find_trial_runs
from bench_orchestrator.sweeps.judging import launches_of_workload

ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("a10"), "__repository__"), "__ASSET_JOB")
"""What a queued run needs."""

FIRST = (Submit("first"), Await("first", (RunStatus.SUCCESS,)))


def plan_of(*actions: workload.Action) -> SweepPlan:
    """Return a plan whose only trial carries this workload out."""
    plan = make_plan(locations=("a10",))
    trial = replace(plan.trials[0], variant="side", work=None)
    return replace(plan, trials=(trial,), variants=(Variant("side", ("a10",), workload=Workload(actions)),))


def served(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
    """Launch a run that succeeds, and comes from a code location."""
    storage = webserver.instance.run_storage
    run = webserver.instance.get_run_by_id(succeeds(webserver, tags))
    assert run is not None
    storage.delete_run(run.run_id)
    storage.add_run(run._replace(remote_job_origin=ORIGIN))
    return run.run_id


def fillers(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(tags={Tag.KIND: FILLER})))


def looking(instance: dg.DagsterInstance, seen: list[dg.DagsterRun]) -> Callable[[float], None]:
    """Return a way to sleep that notes what fills the queue."""

    def sleep(_seconds: float) -> None:
        seen[:] = seen or fillers(instance)

    return sleep


def test_they_are_copies_of_the_first_run_that_nothing_waits_for(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_PAGE", 4)
    plan, seen = plan_of(*FIRST, Fill("held", 10, {"held": "yes"}), Rest(1), Submit("free")), list[dg.DagsterRun]()
    webserver = FakeWebserverWithRealRuns(instance, served)
    (note,) = carry_out(instance, webserver, plan, sleep=looking(instance, seen))
    assert note.outcome is Outcome.OK
    assert [run.role for run in note.runs] == ["first", "free"]
    first = instance.get_run_by_id(note.runs[0].run_id)
    assert first is not None
    assert len({run.run_id for run in seen} - {first.run_id}) == 10
    for run in seen:
        assert run.status is dg.DagsterRunStatus.QUEUED
        assert (run.job_name, run.asset_selection) == (first.job_name, first.asset_selection)
        assert run.tags == {**first.tags, Tag.KIND: FILLER, Tag.ROLE: "held", "held": "yes"}
    assert fillers(instance) == []
    assert webserver.terminated == []
    assert {run.run_id for run in find_trial_runs(instance, plan.sweep_id)} == {run.run_id for run in note.runs}


@pytest.mark.parametrize(("then", "outcome"), [(is_rejected, Outcome.REJECTED), (hangs, Outcome.TIMED_OUT)])
def test_the_queue_is_empty_again_after_a_failure(instance: dg.DagsterInstance, then: Action, outcome: Outcome) -> None:
    webserver = FakeWebserverWithRealRuns(instance, served, then)
    plan = plan_of(*FIRST, Fill("held", 5), Submit("free"))
    (note,) = carry_out(instance, webserver, plan, HASTY, lambda _s: time.sleep(0.05))
    assert note.outcome is outcome
    assert fillers(instance) == []


def test_the_queue_is_empty_again_after_a_cancellation(instance: dg.DagsterInstance) -> None:
    class CanceledError(BaseException): ...

    def cancel(_seconds: float) -> None:
        if fillers(instance):
            raise CanceledError

    webserver = FakeWebserverWithRealRuns(instance, served)
    with pytest.raises(CanceledError):
        list(carry_out(instance, webserver, plan_of(*FIRST, Fill("held", 5), Rest(1)), sleep=cancel))
    assert fillers(instance) == []


def test_one_that_starts_is_taken_down_and_ended(instance: dg.DagsterInstance) -> None:
    def start_one(_seconds: float) -> None:
        queued = [run for run in fillers(instance) if run.status is dg.DagsterRunStatus.QUEUED]
        if len(queued) == 3:
            instance.report_dagster_event(dg.DagsterEvent("PIPELINE_STARTING", queued[0].job_name), queued[0].run_id)

    plan = plan_of(*FIRST, Fill("held run", 3), Rest(1))
    webserver = FakeWebserverWithRealRuns(instance, served)
    (note,) = carry_out(instance, webserver, plan, sleep=start_one)
    started = find_started_fillers(instance, plan.sweep_id, plan.trials[0].number)
    assert [run.status for run in started] == [RunStatus.CANCELED]
    assert webserver.terminated == [started[0].run_id]
    assert [(run.role, run.status) for run in note.runs] == [
        ("first", RunStatus.SUCCESS),
        ("held run", RunStatus.STARTING),
    ]
    assert [run.run_id for run in fillers(instance)] == [started[0].run_id]
    limited = Workload(plan.variants[0].workload.actions) if plan.variants[0].workload else Workload(())
    _, held = launches_of_workload("deep-queue", limited, note, None)
    assert held.outcome is Outcome.FAILED
    assert held.reason == f"the limit was not kept: run {held.run_id}, which it holds, started"
