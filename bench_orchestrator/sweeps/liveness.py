"""Decides whether a run of the bench, or a run that it launched, may still be alive if Dagster cannot tell."""

from dagster import DagsterInstance

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.runs import Run
from bench_orchestrator.sources.instance import find_trial_runs, is_in_doubt, last_sign_us
from bench_orchestrator.sweeps.journal import read_journal

SILENCE_US = 600 * MICROSECONDS
"""The maximum silence of a live run's log, in addition to a trial's time-out. Preflight, terminating a run, and
harvesting a large sweep from slow storage take a fraction of it."""


def may_go_on(instance: DagsterInstance, sweep_run: Run, now_us: int) -> bool:
    """Return whether a sweep marked as failed may still be launching trials."""
    return is_in_doubt(instance, sweep_run) and not given_up(instance, sweep_run, now_us)


def overdue(instance: DagsterInstance, sweep_run: Run, now_us: int) -> bool:
    """Return whether all trials of a finished sweep have ended, or are too late to wait for."""
    journal = read_journal(instance, sweep_run.run_id)
    if journal is None:
        return True
    patience_us = int(float(journal.plan.settings["timeout_s"]) * MICROSECONDS)
    return all(
        run.finished or now_us - run.created_us > patience_us
        for run in find_trial_runs(instance, journal.plan.sweep_id)
    )


def given_up(instance: DagsterInstance, run: Run, now_us: int) -> str:
    """Return why a sweep's or a harvest's run is considered dead; empty while it may be alive.

    Dagster's default launcher reports a dead run worker only while the code server that started it is alive. If both
    are killed, the run would stay in progress indefinitely and block all later ones. A live sweep writes to its log at
    least after every trial.
    """
    patience_us = SILENCE_US
    journal = read_journal(instance, run.run_id)
    if journal is not None:
        settings = journal.plan.settings
        trial_s = sum(float(settings[name]) for name in ("timeout_s", "pause_s", "jitter_s"))
        patience_us += int(trial_s * MICROSECONDS)
    silence_us = now_us - last_sign_us(instance, run)
    if silence_us <= patience_us:
        return ""
    return f"This run has written nothing to its log for {silence_us // MICROSECONDS} s: its process counts as dead."
