"""Decides whether a run of the bench, or a run that it launched, may still be alive if Dagster cannot tell."""

from collections.abc import Callable

from dagster import DagsterInstance

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.runs import UNFINISHED, Run
from bench_orchestrator.sources.instance import end_as_failed, find_trial_runs, is_in_doubt, last_sign_us
from bench_orchestrator.sweeps.entries import JournalError
from bench_orchestrator.sweeps.journal import find_plan

SILENCE_US = 600 * MICROSECONDS
"""The maximum silence of a live run's log, in addition to a trial's time. What takes longer before the first trial
says at intervals that it goes on; terminating a run and harvesting a large sweep from slow storage take a fraction."""

_UNKNOWN_TRIAL_S = 3_600.0
"""The assumed time of a trial of a sweep whose plan cannot be read."""


def may_go_on(instance: DagsterInstance, sweep_run: Run, now_us: int) -> bool:
    """Return whether a sweep marked as failed may still be launching trials."""
    return is_in_doubt(instance, sweep_run) and not given_up(instance, sweep_run, now_us)


def overdue(instance: DagsterInstance, sweep_run: Run, now_us: int) -> bool:
    """Return whether all trials of a finished sweep have ended, or are too late to wait for."""
    try:
        plan = find_plan(instance, sweep_run.run_id)
    except JournalError:
        return True
    if plan is None:
        return True
    patience_us = int(plan.settings["timeout_s"] * MICROSECONDS)
    running = find_trial_runs(instance, plan.sweep_id, statuses=UNFINISHED)
    return all(now_us - run.created_us > patience_us for run in running)


def given_up(instance: DagsterInstance, run: Run, now_us: int) -> str:
    """Return why a sweep's or a harvest's run is considered dead; empty while it may be alive.

    Dagster's default launcher reports a dead run worker only while the code server that started it is alive. If both
    are killed, the run would stay in progress indefinitely and block all later ones. A live sweep writes to its log at
    least after every trial. Its journal is read only after a long silence.
    """
    silence_us = now_us - last_sign_us(instance, run)
    if silence_us <= SILENCE_US or silence_us <= SILENCE_US + _trial_us(instance, run):
        return ""
    return f"This run has written nothing to its log for {silence_us // MICROSECONDS} s: its process counts as dead."


def end_if_dead(instance: DagsterInstance, run: Run, now_us: int, warn: Callable[[str], None]) -> None:
    """Mark a run of the bench in progress as failed if it is given up, and say so."""
    reason = given_up(instance, run, now_us)
    if reason:
        warn(f"Run {run.run_id} is reported as failed. {reason}")
        end_as_failed(instance, run.run_id, reason)


def _trial_us(instance: DagsterInstance, run: Run) -> int:
    """Return the maximum time of a trial of a sweep; 0 for other runs, and before the plan."""
    try:
        plan = find_plan(instance, run.run_id)
        trial_s = _trial_s(plan) if plan else 0.0
    except JournalError:
        trial_s = _UNKNOWN_TRIAL_S
    return int(trial_s * MICROSECONDS)


def _trial_s(plan: SweepPlan) -> float:
    # Its time-out holds twice: for replacing the code server, and from the request on.
    return float(2 * plan.settings["timeout_s"] + plan.settings["pause_s"] + plan.settings["jitter_s"])
