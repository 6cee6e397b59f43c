"""Resuming an interrupted sweep: its remaining trials, and its plan for the run that continues it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from dagster import DagsterInstance

from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import REPEATED, Trial
from bench_orchestrator.model.plan import PlannedTrial, SweepPlan
from bench_orchestrator.model.runs import FINISHED
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sources.instance import find_runs, find_trial_runs
from bench_orchestrator.sweeps.entries import JournalError
from bench_orchestrator.sweeps.harvest import harvest_sweep
from bench_orchestrator.sweeps.journal import find_plan, read_journal
from bench_orchestrator.sweeps.liveness import may_go_on


@dataclass(frozen=True)
class Remainder:
    """What an interrupted sweep has left to do."""

    plan: SweepPlan
    """The plan for the run that continues it."""
    trials: tuple[PlannedTrial, ...]
    """Those that were never launched, canceled, lost, or are not over. All other outcomes are results."""


def find_remainder(
    instance: DagsterInstance, scenario: str, sweep_id: str, warn: Callable[[str], None] = lambda _: None
) -> Remainder:
    """Return what an interrupted sweep has left to do.

    Args:
        warn: receives a line for each sweep of the scenario whose plan cannot be read.

    Raises:
        PreflightError: there is no such sweep, it has another scenario, or it is complete.
        JournalError: its notes cannot be read.
    """
    runs = find_runs(instance, {Tag.KIND: "sweep", Tag.SCENARIO: scenario}, statuses=FINISHED)
    for run in reversed(runs):  # of a chain of resumed runs, the latest has the most complete journal
        try:
            plan = find_plan(instance, run.run_id)
        except JournalError as error:
            warn(str(error))
            continue
        if plan is not None and plan.sweep_id == sweep_id:
            if may_go_on(instance, run, now_us()):
                raise PreflightError(f"The sweep {sweep_id} may still be running: Dagster could not reach its worker.")
            trials = _remaining(instance, run.run_id, plan)
            if not trials:
                raise PreflightError(f"The sweep {sweep_id} is complete: there is nothing to resume.")
            return Remainder(replace(plan, resumes=run.run_id), trials)
    raise PreflightError(
        f"This deployment has no interrupted sweep {sweep_id!r} of {scenario}. `bench sweeps` lists the sweeps."
    )


def _remaining(instance: DagsterInstance, sweep_run_id: str, plan: SweepPlan) -> tuple[PlannedTrial, ...]:
    sweep, journal = harvest_sweep(instance, sweep_run_id), read_journal(instance, sweep_run_id)
    assert sweep is not None
    assert journal is not None
    noted = {note.run_id for note in journal.notes}
    going_on = {
        run.run_id for run in find_trial_runs(instance, plan.sweep_id) if not run.finished
    } - noted  # one that was timed out is being terminated

    def remains(trial: Trial) -> bool:
        return trial.outcome in REPEATED or trial.launch.run_id in going_on

    return tuple(planned for planned, trial in zip(plan.trials, sweep.trials, strict=True) if remains(trial))
