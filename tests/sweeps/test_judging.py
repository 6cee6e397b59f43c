"""Whether the runs of a workload ended as planned, none is missing, and limits were kept."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bench_orchestrator.model.launch import Launch, Outcome, RunNote, TrialNote
from bench_orchestrator.model.runs import RunEvent, RunLog, RunStatus
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.model.workload import Backfill, Limit, Rest, SetPool, Submit, Workload
from bench_orchestrator.scenarios import registry
from bench_orchestrator.scenarios.experiment import Gate
from bench_orchestrator.sweeps.judging import ENDED, launches_of_workload
from bench_orchestrator.timeline.occupancy import Breach

S = 1_000_000
SCENARIO = "max-concurrent-runs"
TWO = Workload((Submit("run", 2),), (Limit("max_concurrent_runs", 1),))


def run(name: str, start_s: float, end_s: float | None, **other: Any) -> RunNote:
    """Return a run that was enqueued at 0, started and ended then; in progress without an end."""
    ends = [] if end_s is None else [RunEvent("PIPELINE_SUCCESS", round(end_s * S))]
    events = (
        RunEvent("PIPELINE_ENQUEUED", 0),
        RunEvent("PIPELINE_STARTING", round(start_s * S)),
        RunEvent("PIPELINE_START", round(start_s * S)),
        RunEvent("STEP_START", round(start_s * S), "a"),
        *ends,
    )
    values: Mapping[str, Any] = {
        "role": "run",
        "status": RunStatus.STARTED if end_s is None else RunStatus.SUCCESS,
        "requested_us": 0,
        "created_us": 0,
        "log": RunLog(events, work=1),
    }
    return RunNote(name, **{**values, **other})


def judge(workload: Workload, *runs: RunNote, work: int | None = None, **note: Any) -> tuple[Launch, ...]:
    return launches_of_workload(SCENARIO, workload, TrialNote(1, **{"outcome": Outcome.OK, **note, "runs": runs}), work)


def outcomes(launches: tuple[Launch, ...]) -> list[tuple[str, str]]:
    return [(launch.outcome or "in progress", launch.reason) for launch in launches]


def test_runs_that_keep_the_limit_are_ok() -> None:
    first, second = judge(TWO, run("a", 1, 3), run("b", 3, 5), work=2)
    assert outcomes((first, second)) == [("ok", ""), ("ok", "")]
    assert (first.role, second.role) == ("run", "run")
    assert second.stages_us[Stage.QUEUE_WAIT] == 3 * S


def test_the_run_by_which_a_limit_was_not_kept_has_failed() -> None:
    assert outcomes(judge(TWO, run("a", 1, 3), run("b", 2.9, 5))) == [
        ("ok", ""),
        ("failed", "max_concurrent_runs was not kept: run b started beside 1 others under a limit of 1"),
    ]


def test_a_pool_that_is_raised_meanwhile_holds_from_then_on() -> None:
    workload = Workload((SetPool("p", 1), Submit("run", 2), Rest(1), SetPool("p", 2)), (Limit("pool p", 1, pool="p"),))
    acts_us = (0, 0, 0, 2 * S)
    assert outcomes(judge(workload, run("a", 1, 9), run("b", 2, 9), acts_us=acts_us)) == [("ok", ""), ("ok", "")]
    (_, early) = judge(workload, run("a", 1, 9), run("b", 1.5, 9), acts_us=acts_us)
    assert early.outcome is Outcome.FAILED


@pytest.mark.parametrize("status", [RunStatus.CANCELED, RunStatus.FAILURE])
def test_a_run_that_the_workload_ends_is_as_planned(status: RunStatus) -> None:
    workload = Workload((Submit("holder"),), ended=("holder",))
    (launch,) = judge(workload, run("a", 1, 3, role="holder", status=status))
    assert (launch.outcome, launch.reason) == (Outcome.OK, "")
    assert ENDED in launch.warnings


@pytest.mark.parametrize(
    ("status", "outcome"), [(RunStatus.CANCELED, Outcome.CANCELED), (RunStatus.FAILURE, Outcome.FAILED)]
)
def test_another_that_ends_so_is_not(status: RunStatus, outcome: Outcome) -> None:
    (launch,) = judge(Workload((Submit("run"),)), run("a", 1, 3, status=status))
    assert launch.outcome is outcome


def test_a_missing_run_is_told_of_the_first() -> None:
    workload = Workload((Submit("run", 2), Backfill("backfill", 3)))
    assert outcomes(judge(workload, run("a", 1, 2), run("b", 1, 2))) == [
        ("failed", "there were 0 of 3 runs of 'backfill'"),
        ("ok", ""),
    ]


def test_a_surplus_run_is_told_too() -> None:
    first, *_ = judge(Workload((Submit("run"),)), run("a", 1, 2), run("b", 1, 2))
    assert first.reason == "there were 2 of 1 runs of 'run'"


def test_work_that_was_not_done_is_told() -> None:
    first, *_ = judge(Workload((Submit("run", 2),)), run("a", 1, 2), run("b", 1, 2), work=3)
    assert (first.outcome, first.reason) == (Outcome.FAILED, "its runs did 2 of 3 units of work")


def test_a_trial_that_timed_out_names_the_runs_that_did_not_end() -> None:
    note: dict[str, Any] = {"outcome": Outcome.TIMED_OUT, "reason": "not over after 9 s"}
    assert outcomes(judge(TWO, run("a", 1, 3), run("b", 3, None), **note)) == [
        ("ok", ""),
        ("timed_out", "still STARTED when its trial was over"),
    ]
    done = judge(TWO, run("a", 1, 3), run("b", 3, 5), **note)
    assert outcomes(done)[0] == ("timed_out", "not over after 9 s")


def test_the_gate_of_the_experiment_judges_too(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate("the first is the first", lambda _, launches: iter([Breach(launches[1].run_id or "", "b was early")]))
    gated = replace(registry.EXPERIMENTS[SCENARIO], gate=gate)
    monkeypatch.setitem(registry.EXPERIMENTS, SCENARIO, gated)
    assert outcomes(judge(TWO, run("a", 1, 3), run("b", 3, 5)))[1] == ("failed", "b was early")
