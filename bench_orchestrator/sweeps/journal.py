"""A sweep's journal in its own run: the plan is an asset materialization, trials are asset observations."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import dagster as dg
from dagster import DagsterEventType, DagsterInstance

from bench_orchestrator.model.launch import TrialNote
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.tags import SWEEPS_ASSET
from bench_orchestrator.model.text import legible, legible_data
from bench_orchestrator.sources.instance import run_event
from bench_orchestrator.sources.storage import entries_of_run, patient
from bench_orchestrator.sweeps.entries import (
    ENTRY_TYPES,
    NOTE,
    NOTES,
    PLAN,
    PLANS,
    Journal,
    JournalError,
    as_json,
    fold_journal,
    read_plan,
)

_TYPES = frozenset(map(DagsterEventType, ENTRY_TYPES))


@patient
def read_journal(instance: DagsterInstance, sweep_run_id: str) -> Journal | None:
    """Return a sweep's journal; None if it ended before it had a plan.

    If it continues an interrupted sweep, the notes of that sweep come first.

    Raises:
        JournalError: it cannot be read, or that of the interrupted sweep.
    """
    with _readable(sweep_run_id):
        journal = fold_journal(sweep_run_id, map(run_event, entries_of_run(instance, sweep_run_id, _TYPES)))
    if journal is None or journal.plan.resumes is None:
        return journal
    earlier = read_journal(instance, journal.plan.resumes)
    return replace(journal, notes=(*(earlier.notes if earlier else ()), *journal.notes))


@patient
def find_plan(instance: DagsterInstance, sweep_run_id: str) -> SweepPlan | None:
    """Return a sweep's plan without reading its notes; None if it has not recorded one.

    Raises:
        JournalError: it cannot be read.
    """
    with _readable(sweep_run_id):
        # The plan is the only materialization of a sweep's run.
        found = instance.get_records_for_run(sweep_run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION, limit=1)
    events = [run_event(record.event_log_entry) for record in found.records]
    return next((read_plan(sweep_run_id, event) for event in events if PLAN in event.metadata), None)


@patient
def has_plan(instance: DagsterInstance, sweep_run_id: str) -> bool:
    """Return whether a sweep has recorded a plan, readable or not; reads no event."""
    return instance.get_run_stats(sweep_run_id).materializations > 0


def plan_event(plan: SweepPlan) -> dg.AssetMaterialization:
    """Return the journal's first entry: the plan."""
    return dg.AssetMaterialization(
        SWEEPS_ASSET,
        description=f"{plan.scenario}: {len(plan.trials)} trials planned",
        metadata={
            "sweep": plan.sweep_id,
            "scenario": plan.scenario,
            "trials": len(plan.trials),
            "seed": plan.seed,
            PLAN: dg.MetadataValue.json(as_json(PLANS, plan)),
        },
    )


def note_event(note: TrialNote, description: str) -> dg.AssetObservation:
    """Return a later entry: the note on one trial, legible, since a webserver cannot answer with a lone surrogate."""
    return dg.AssetObservation(
        SWEEPS_ASSET,
        description=legible(description),
        metadata={NOTE: dg.MetadataValue.json(legible_data(as_json(NOTES, note)))},
    )


@contextmanager
def _readable(run_id: str) -> Iterator[None]:
    """Turn Dagster's error about an unreadable event into JournalError."""
    try:
        yield
    except dg.DagsterEventLogInvalidForRun as error:
        raise JournalError(run_id, str(error)) from error
