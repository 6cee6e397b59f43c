"""A sweep's journal, from the events of its run; pure, and the same for every source."""

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import TypeAdapter

from bench_orchestrator.model.instants import read_instant_us
from bench_orchestrator.model.launch import TrialNote
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.runs import Pod, RunEvent, RunLog

PLAN, NOTE = "plan", "note"
"""The metadata labels of the journal's entries."""

PLANS, NOTES = TypeAdapter(SweepPlan), TypeAdapter(TrialNote)

_UNCOUNTABLE = 1 << 62

ENTRY_TYPES = frozenset({"ASSET_MATERIALIZATION", "ASSET_OBSERVATION"})
"""The event types of a journal: the plan is a materialization, trials are observations."""


@dataclass(frozen=True)
class Journal:
    """The entries of a sweep's journal: its plan, and a note for each finished trial."""

    plan: SweepPlan
    notes: tuple[TrialNote, ...]


def fold_journal(events: Iterable[RunEvent]) -> Journal | None:
    """Return the journal in the events of one run; None without a plan. Notes of an earlier run are not included.

    Raises:
        ValueError: an entry cannot be read, or no results could be stored by it: those of other releases and of far
            webservers may hold anything.
    """
    plan: SweepPlan | None = None
    notes: list[TrialNote] = []
    for event in events:
        if event.type == "ASSET_MATERIALIZATION" and PLAN in event.metadata:
            plan = PLANS.validate_python(event.metadata[PLAN])
            _check_plan(plan)
        elif event.type == "ASSET_OBSERVATION" and NOTE in event.metadata:
            notes.append(NOTES.validate_python(event.metadata[NOTE]))
            _check_note(notes[-1])
    return Journal(plan, tuple(notes)) if plan is not None else None


def _check_plan(plan: SweepPlan) -> None:
    read_instant_us(plan.created_us)
    numbers = [trial.number for trial in plan.trials]
    if len(set(numbers)) < len(numbers):
        raise ValueError("two trials of the plan have the same number")
    counts = [count for place in plan.locations for count in (place.asset_count, place.partition_count)]
    counts += [number for trial in plan.trials for number in (trial.number, trial.block)]
    if any(not 0 <= count < _UNCOUNTABLE for count in counts):
        raise ValueError("the plan counts what nobody can count")
    for trial in plan.trials:
        if (trial.deployment, trial.location) not in plan.places or not trial.asset_keys:
            raise ValueError(f"trial {trial.number} of the plan has no location, or no asset")


def _check_note(note: TrialNote) -> None:
    log, pod = note.log or RunLog(), note.pod or Pod()
    instants_us = [
        *(note.requested_us, note.created_us, log.materialized_us),
        *(event.time_us for event in log.events),
        *(us for step in log.steps for us in (step.launched_us, step.started_us, step.ended_us)),
        *(pod.created_us, pod.scheduled_us, pod.pulled_us, pod.started_us),
    ]
    for us in instants_us:
        if us is not None:
            read_instant_us(us)
    if not 0 <= log.work < _UNCOUNTABLE:
        raise ValueError(f"trial {note.number} did more work than anybody can count")
