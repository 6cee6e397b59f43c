"""A sweep's journal, from the events of its run; pure, and the same for every source."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from bench_orchestrator.model.errors import UnusableError, one_line
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

_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Durations(BaseModel):
    """The settings of a plan that are waited for, in seconds."""

    timeout_s: _Seconds
    pause_s: _Seconds
    jitter_s: _Seconds


_DURATIONS = TypeAdapter(_Durations)
_Entry = TypeVar("_Entry")


class JournalError(UnusableError):
    """A sweep's journal cannot be read, for example another release's; the message names the sweep's run and why."""

    def __init__(self, run_id: str, why: str) -> None:
        super().__init__(
            f"The journal of sweep run {run_id} cannot be read: {one_line(why)}. Another release of the bench may have "
            "written it."
        )


@dataclass(frozen=True)
class Journal:
    """The entries of a sweep's journal: its plan, and a note for each finished trial."""

    plan: SweepPlan
    notes: tuple[TrialNote, ...]


def fold_journal(run_id: str, events: Iterable[RunEvent]) -> Journal | None:
    """Return the journal in the events of one run; None without a plan. Notes of an earlier run are not included.

    Raises:
        JournalError: an entry cannot be read.
    """
    plan: SweepPlan | None = None
    notes: list[TrialNote] = []
    for event in events:
        if event.type == "ASSET_MATERIALIZATION" and PLAN in event.metadata:
            plan = read_plan(run_id, event)
        elif event.type == "ASSET_OBSERVATION" and NOTE in event.metadata:
            notes.append(_read_note(run_id, event))
    return Journal(plan, tuple(notes)) if plan is not None else None


def read_plan(run_id: str, event: RunEvent) -> SweepPlan:
    """Return the plan in an event that has one.

    Raises:
        JournalError: it cannot be read.
    """
    plan = _read(run_id, PLANS, event.metadata[PLAN])
    _read(run_id, _DURATIONS, plan.settings)
    if contradiction := _contradiction(plan):
        raise JournalError(run_id, contradiction)
    return plan


def _read_note(run_id: str, event: RunEvent) -> TrialNote:
    note = _read(run_id, NOTES, event.metadata[NOTE])
    if contradiction := _contradiction_in_note(note):
        raise JournalError(run_id, contradiction)
    return note


def as_json(kind: TypeAdapter[_Entry], entry: _Entry) -> Any:
    """Return an entry as the plain data of strict JSON.

    Raises:
        ValueError: a number in it is not finite, so that it could not be read again.
    """
    return json.loads(json.dumps(kind.dump_python(entry), allow_nan=False))


def _read(run_id: str, kind: TypeAdapter[_Entry], data: object) -> _Entry:
    try:
        return kind.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise JournalError(run_id, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _contradiction(plan: SweepPlan) -> str:
    """Return why no results could be stored under this plan; empty if they can. Anyone may have recorded it."""
    try:
        read_instant_us(plan.created_us)
    except ValueError as error:
        return str(error)
    numbers = [trial.number for trial in plan.trials]
    if len(set(numbers)) < len(numbers):
        return "two trials have the same number"
    counts = [count for place in plan.locations for count in (place.asset_count, place.partition_count)]
    counts += [number for trial in plan.trials for number in (trial.number, trial.block)]
    if any(not 0 <= count < _UNCOUNTABLE for count in counts):
        return "a count is negative or exceeds 62 bits"
    places = plan.places
    for trial in plan.trials:
        if (trial.deployment, trial.location) not in places:
            return f"trial {trial.number} is in {trial.location!r}, which the plan does not have"
        if not trial.asset_keys:
            return f"trial {trial.number} has no asset"
    return ""


def _contradiction_in_note(note: TrialNote) -> str:
    """Return why no result could be stored by this note; empty if it can."""
    logs, pod = [note.log or RunLog(), *(run.log for run in note.runs)], note.pod or Pod()
    instants_us = [
        *(note.requested_us, note.created_us, *note.acts_us),
        *(us for run in note.runs for us in (run.requested_us, run.created_us)),
        *(log.materialized_us for log in logs),
        *(event.time_us for log in logs for event in log.events),
        *(us for log in logs for step in log.steps for us in (step.launched_us, step.started_us, step.ended_us)),
        *(pod.created_us, pod.scheduled_us, pod.pulled_us, pod.started_us),
    ]
    try:
        for us in instants_us:
            if us is not None:
                read_instant_us(us)
    except ValueError as error:
        return f"trial {note.number}: {error}"
    return (
        ""
        if all(0 <= log.work < _UNCOUNTABLE for log in logs)
        else f"trial {note.number} has a count of units of work that is negative or exceeds 62 bits"
    )
