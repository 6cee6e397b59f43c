"""A sweep's journal, from the events of its run; pure, and the same for every source."""

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import TypeAdapter

from bench_orchestrator.model.launch import TrialNote
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.runs import RunEvent

PLAN, NOTE = "plan", "note"
"""The metadata labels of the journal's entries."""

PLANS, NOTES = TypeAdapter(SweepPlan), TypeAdapter(TrialNote)

ENTRY_TYPES = frozenset({"ASSET_MATERIALIZATION", "ASSET_OBSERVATION"})
"""The event types of a journal: the plan is a materialization, trials are observations."""


@dataclass(frozen=True)
class Journal:
    """The entries of a sweep's journal: its plan, and a note for each finished trial."""

    plan: SweepPlan
    notes: tuple[TrialNote, ...]


def fold_journal(events: Iterable[RunEvent]) -> Journal | None:
    """Return the journal in the events of one run; None without a plan. Notes of an earlier run are not included."""
    plan: SweepPlan | None = None
    notes: list[TrialNote] = []
    for event in events:
        if event.type == "ASSET_MATERIALIZATION" and PLAN in event.metadata:
            plan = PLANS.validate_python(event.metadata[PLAN])
        elif event.type == "ASSET_OBSERVATION" and NOTE in event.metadata:
            notes.append(NOTES.validate_python(event.metadata[NOTE]))
    return Journal(plan, tuple(notes)) if plan is not None else None
