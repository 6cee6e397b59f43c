"""A journal is read whole, or refused if no results could be stored by it."""

from dataclasses import replace
from typing import Any

import pytest
from recording import make_plan

from bench_orchestrator.model.launch import Outcome, RunNote, TrialNote
from bench_orchestrator.model.plan import SweepPlan, Variant
from bench_orchestrator.model.runs import Pod, RunEvent, RunLog, RunStatus, StepSpan
from bench_orchestrator.model.workload import Await, Backfill, End, Limit, Rest, SetPool, Submit, Unit, Way, Workload
from bench_orchestrator.sweeps.entries import NOTE, NOTES, PLAN, PLANS, Journal, JournalError, fold_journal

GOOD = make_plan(locations=("a10",))
WORKLOAD = Workload(
    (
        SetPool("p", 1),
        Submit("run", 2, tags={"customer": "a"}, job="etl"),
        Backfill("backfill", 3),
        Await("run", (RunStatus.STARTED,)),
        End("run", Way.KILL),
        Rest(1.5),
    ),
    (Limit("pool p", 1, ("run",), Unit.STEPS, "p"),),
    ended=("run",),
)
RUN = RunNote("r", "run", RunStatus.SUCCESS, 1, 2, RunLog((RunEvent("PIPELINE_START", 3),), work=1))


def journal(plan: SweepPlan, *notes: TrialNote) -> Journal | None:
    entries: list[tuple[str, dict[str, Any]]] = [
        ("ASSET_MATERIALIZATION", {PLAN: PLANS.dump_python(plan, mode="json")}),
        *(("ASSET_OBSERVATION", {NOTE: NOTES.dump_python(note, mode="json")}) for note in notes),
    ]
    return fold_journal("4f2a", (RunEvent(kind, 1, metadata=metadata) for kind, metadata in entries))


def test_a_journal_is_read_whole() -> None:
    notes = (TrialNote(1, Outcome.OK, run_id="r", requested_us=1, log=RunLog(materialized_us=2), pod=Pod("p")),)
    assert journal(GOOD, *notes) == Journal(GOOD, notes)
    of_many = replace(GOOD, variants=(Variant("side", ("a10",), workload=WORKLOAD),))
    note = TrialNote(1, Outcome.OK, runs=(RUN, replace(RUN, requested_us=None)), acts_us=(1, 2))
    assert journal(of_many, note) == Journal(of_many, (note,))
    assert fold_journal("4f2a", []) is None


@pytest.mark.parametrize(
    "plan",
    [
        replace(GOOD, created_us=10**30),
        replace(GOOD, trials=GOOD.trials[:1] * 2),
        replace(GOOD, locations=()),
        replace(GOOD, locations=(replace(GOOD.locations[0], asset_count=2**64),)),
        replace(GOOD, trials=(replace(GOOD.trials[0], asset_keys=()),)),
        replace(GOOD, trials=(replace(GOOD.trials[0], number=-1),)),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(plan: SweepPlan) -> None:
    with pytest.raises(JournalError, match=r"number|count|instant|asset|plan"):
        journal(plan)


@pytest.mark.parametrize(
    "note",
    [
        TrialNote(1, Outcome.OK, requested_us=2**70),
        TrialNote(1, Outcome.OK, created_us=-1),
        TrialNote(1, Outcome.OK, log=RunLog(events=(RunEvent("PIPELINE_START", 2**70),))),
        TrialNote(1, Outcome.OK, log=RunLog(steps=(StepSpan("a", 2**70, None, None),))),
        TrialNote(1, Outcome.OK, log=RunLog(work=2**70)),
        TrialNote(1, Outcome.OK, pod=Pod(started_us=2**70)),
        TrialNote(1, Outcome.OK, acts_us=(2**70,)),
        TrialNote(1, Outcome.OK, runs=(replace(RUN, created_us=-1),)),
        TrialNote(1, Outcome.OK, runs=(RUN, replace(RUN, requested_us=2**70))),
        TrialNote(1, Outcome.OK, runs=(replace(RUN, log=RunLog(work=2**70)),)),
    ],
)
def test_a_note_of_no_instant_is_refused(note: TrialNote) -> None:
    with pytest.raises(JournalError, match=r"instant|count"):
        journal(GOOD, note)
