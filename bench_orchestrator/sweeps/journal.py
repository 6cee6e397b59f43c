"""What a sweep records in its own run: its plan as an asset materialization, its trials as asset observations."""

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
    """What a sweep recorded of itself: its plan, and a note for each trial it is done with."""

    plan: SweepPlan
    notes: tuple[TrialNote, ...]


@patient
def read_journal(instance: DagsterInstance, sweep_run_id: str) -> Journal | None:
    """What a sweep recorded in its own run; None where it ended before it had a plan.

    Where it continues an interrupted sweep, that one's notes come first.
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
    """The journal's first entry: everything the sweep is going to do."""
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
    """A later entry: what the sweep knows of one trial."""
    return dg.AssetObservation(
        SWEEPS_ASSET,
        description=description,
        metadata={"note": dg.MetadataValue.json(_NOTE.dump_python(note, mode="json"))},
    )
