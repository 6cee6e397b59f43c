"""A sweep's journal in its own run: the plan is an asset materialization, trials are asset observations."""

from dataclasses import replace

import dagster as dg
from dagster import DagsterEventType, DagsterInstance

from bench_orchestrator.model.launch import TrialNote
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.tags import SWEEPS_ASSET
from bench_orchestrator.model.text import legible, legible_data
from bench_orchestrator.sources.instance import run_event
from bench_orchestrator.sources.storage import entries_of_run, patient
from bench_orchestrator.sweeps.entries import ENTRY_TYPES, NOTE, NOTES, PLAN, PLANS, Journal, fold_journal

_TYPES = frozenset(map(DagsterEventType, ENTRY_TYPES))


@patient
def read_journal(instance: DagsterInstance, sweep_run_id: str) -> Journal | None:
    """Return a sweep's journal; None if it ended before it had a plan.

    If it continues an interrupted sweep, the notes of that sweep come first.
    """
    journal = fold_journal(map(run_event, entries_of_run(instance, sweep_run_id, _TYPES)))
    if journal is None or journal.plan.resumes is None:
        return journal
    earlier = read_journal(instance, journal.plan.resumes)
    return replace(journal, notes=(*(earlier.notes if earlier else ()), *journal.notes))


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
            PLAN: dg.MetadataValue.json(PLANS.dump_python(plan, mode="json")),
        },
    )


def note_event(note: TrialNote, description: str) -> dg.AssetObservation:
    """Return a later entry: the note on one trial, legible, since a webserver cannot answer with a lone surrogate."""
    return dg.AssetObservation(
        SWEEPS_ASSET,
        description=legible(description),
        metadata={NOTE: dg.MetadataValue.json(legible_data(NOTES.dump_python(note, mode="json")))},
    )
