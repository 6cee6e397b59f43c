"""What an interrupted sweep still owes, and the plan by which another run continues it."""

from dataclasses import replace

from dagster import DagsterInstance

from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Outcome, Sweep
from bench_orchestrator.model.runs import FINISHED
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sources.instance import find_runs
from bench_orchestrator.sweeps.harvest import harvest_sweep
from bench_orchestrator.sweeps.journal import read_journal
from bench_orchestrator.sweeps.liveness import may_go_on


def find_interrupted(instance: DagsterInstance, scenario: str, sweep_id: str) -> Sweep:
    """A sweep that was interrupted, as far as it came, with a plan for the run that is to continue it.

    Raises:
        PreflightError: there is none, it is of another scenario, or it owes nothing.
    """
    runs = find_runs(instance, {Tag.KIND: "sweep", Tag.SCENARIO: scenario}, statuses=FINISHED)
    for run in reversed(runs):  # of those that continued one another, the latest knows the most
        journal = read_journal(instance, run.run_id)
        if journal is not None and journal.plan.sweep_id == sweep_id:
            if may_go_on(instance, run, now_us()):
                raise PreflightError(
                    f"The sweep {sweep_id} may still be running: Dagster could not ask for its worker."
                )
            sweep = harvest_sweep(instance, run.run_id)
            assert sweep is not None
            if not missing_trials(sweep):
                raise PreflightError(f"The sweep {sweep_id} is complete: there is nothing to resume.")
            return replace(sweep, plan=replace(sweep.plan, resumes=run.run_id))
    raise PreflightError(
        f"This deployment has no interrupted sweep {sweep_id!r} of {scenario}. `bench sweeps` lists the sweeps."
    )


def missing_trials(sweep: Sweep) -> frozenset[int]:
    """The numbers of the trials that an interrupted sweep still owes: never launched, canceled, or lost.

    What failed, was refused or took too long is a result and is not tried again.
    """
    return frozenset(trial.number for trial in sweep.trials if trial.outcome in (Outcome.LOST, Outcome.CANCELED))
