"""A workload's run is killed by its process, which the run itself reports; one that is elsewhere is not."""

import dataclasses
from pathlib import Path

import dagster as dg
import pytest
from recording import end_run, make_plan
from scripted_launches import FakeWebserverWithRealRuns, carry_out, hangs, takes

from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.plan import Variant
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.workload import End, Submit, Way, Workload
from bench_orchestrator.sweeps import workloads

PID = 4711


def reports_its_process(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
    run_id = hangs(webserver, tags)
    webserver.instance.report_engine_event(f"Started process for run (pid: {PID}).", job_name="job", run_id=run_id)
    return run_id


def carry_out_kill(instance: dg.DagsterInstance) -> tuple[TrialNote, FakeWebserverWithRealRuns]:
    """Return the note on a trial that kills one of its two runs."""
    workload = Workload((Submit("holder"), Submit("other"), End("holder", Way.KILL)), ended=("holder",))
    plan = make_plan(locations=("a10",))
    plan = dataclasses.replace(
        plan,
        trials=(dataclasses.replace(plan.trials[0], variant="side", work=None),),
        variants=(Variant("side", ("a10",), workload=workload),),
    )
    webserver = FakeWebserverWithRealRuns(instance, reports_its_process, takes(3))
    (note,) = carry_out(instance, webserver, plan, sleep=webserver.sleep)
    return note, webserver


def test_its_process_in_this_deployment_is_killed(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[tuple[Path, int]] = []

    def kill_run(home: Path, pid: int) -> bool:
        killed.append((home, pid))
        (holder,) = instance.get_run_records(dg.RunsFilter(tags={"bench/role": "holder"}))
        end_run(instance, holder.dagster_run.run_id)  # as its code server does when it notices
        return True

    monkeypatch.setattr(workloads, "kill_run", kill_run)
    note, webserver = carry_out_kill(instance)
    assert killed == [(Path(instance.root_directory), PID)]
    assert (note.outcome, note.reason) == (Outcome.OK, "")
    assert [(run.role, run.status) for run in note.runs] == [
        ("holder", RunStatus.CANCELED),
        ("other", RunStatus.SUCCESS),
    ]
    assert webserver.terminated == []


def test_one_that_is_not_on_this_machine_rejects_the_trial(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workloads, "kill_run", lambda _home, _pid: False)
    note, _ = carry_out_kill(instance)
    assert note.outcome is Outcome.REJECTED
    assert note.reason == (
        f"the processes of run {note.runs[0].run_id} are not on this machine, so it cannot be killed"
    )
