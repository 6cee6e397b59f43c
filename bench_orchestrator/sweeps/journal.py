"""A sweep's journal in its own run: the plan is an asset materialization, trials are asset observations."""

from dataclasses import dataclass

import dagster as dg
from dagster import DagsterEventType, DagsterInstance
from pydantic import TypeAdapter

from bench_orchestrator.model.launch import TrialNote
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.tags import SWEEPS_ASSET
from bench_orchestrator.sources.storage import entries_of_run, patient

_PLAN = TypeAdapter(SweepPlan)
_NOTE = TypeAdapter(TrialNote)


@dataclass(frozen=True)
class Journal:
    """The entries of a sweep's journal: its plan, and a note for each finished trial."""

    plan: SweepPlan
    notes: tuple[TrialNote, ...]


@patient
def read_journal(instance: DagsterInstance, sweep_run_id: str) -> Journal | None:
    """Return a sweep's journal; None if it ended before it had a plan.

    If it continues an interrupted sweep, the notes of that sweep come first.
    """
    plan: SweepPlan | None = None
    notes: list[TrialNote] = []
    types = frozenset({DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_OBSERVATION})
    for entry in entries_of_run(instance, sweep_run_id, types):
        event = entry.get_dagster_event()
        if event.asset_key != dg.AssetKey(SWEEPS_ASSET):
            continue
        if event.event_type is DagsterEventType.ASSET_MATERIALIZATION:
            data = event.step_materialization_data.materialization.metadata["plan"].value
            plan = _PLAN.validate_python(data)
        else:
            data = event.asset_observation_data.asset_observation.metadata["note"].value
            notes.append(_NOTE.validate_python(data))
    if plan is None:
        return None
    earlier = read_journal(instance, plan.resumes) if plan.resumes else None
    return Journal(plan, (*(earlier.notes if earlier else ()), *notes))


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
            "plan": dg.MetadataValue.json(_PLAN.dump_python(plan, mode="json")),
        },
    )


def note_event(note: TrialNote, description: str) -> dg.AssetObservation:
    """Return a later entry: the note on one trial."""
    return dg.AssetObservation(
        SWEEPS_ASSET,
        description=description,
        metadata={"note": dg.MetadataValue.json(_NOTE.dump_python(note, mode="json"))},
    )
