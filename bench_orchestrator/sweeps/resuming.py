"""Resuming an earlier sweep: its remaining trials, and its plan for the run that continues it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from dagster import DagsterInstance

from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import REPEATED, Outcome, Sweep, Trial, TrialNote
from bench_orchestrator.model.runs import FINISHED
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sources.instance import find_runs, find_trial_runs
from bench_orchestrator.sweeps.entries import JournalError
from bench_orchestrator.sweeps.harvest import harvest_sweep
from bench_orchestrator.sweeps.journal import find_plan, read_journal
from bench_orchestrator.sweeps.liveness import may_go_on


def find_resumable(
    instance: DagsterInstance,
    scenario: str,
    sweep_id: str,
    *,
    complete_too: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> Sweep:
    """Return an earlier sweep as far as it got, with the plan for the run that continues it.

    Args:
        complete_too: whether a sweep without remaining trials can be continued, because blocks are added to it.
        warn: receives a line for each sweep of the scenario whose plan cannot be read.

    Raises:
        PreflightError: there is no such sweep, it has another scenario, or there is nothing to resume.
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
            sweep, journal = harvest_sweep(instance, run.run_id), read_journal(instance, run.run_id)
            assert sweep is not None
            assert journal is not None
            sweep = _with_unfinished_lost(instance, sweep, journal.notes)
            if not (complete_too or missing_trials(sweep)):
                raise PreflightError(
                    f"The sweep {sweep_id} is complete: there is nothing to resume. To add blocks to it, give their "
                    "number: `--more`, or `more` in the launchpad."
                )
            return replace(sweep, plan=replace(sweep.plan, resumes=run.run_id))
    raise PreflightError(
        f"This deployment has no finished sweep {sweep_id!r} of {scenario}. `bench sweeps` lists the sweeps."
    )


def missing_trials(sweep: Sweep) -> frozenset[int]:
    """Return the numbers of an interrupted sweep's remaining trials: never launched, canceled, or lost.

    Failed, rejected and timed-out trials are results and are not repeated.
    """
    return frozenset(trial.number for trial in sweep.trials if trial.outcome in REPEATED)


def _with_unfinished_lost(instance: DagsterInstance, sweep: Sweep, notes: Sequence[TrialNote]) -> Sweep:
    """Return the sweep with each trial as lost whose run is in progress, although no process waits for it.

    A run with a note is the exception: it was timed out and is being terminated.
    """
    runs = find_trial_runs(instance, sweep.plan.sweep_id)
    left = {run.run_id for run in runs if not run.finished} - {note.run_id for note in notes}

    def judged(trial: Trial) -> Trial:
        if trial.launch.run_id not in left:
            return trial
        lost = replace(trial.launch, outcome=Outcome.LOST, reason="its sweep ended before it did")
        return replace(trial, launches=(lost,))

    return replace(sweep, trials=tuple(map(judged, sweep.trials)))
