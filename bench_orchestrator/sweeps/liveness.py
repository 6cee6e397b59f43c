"""Whether a run of the bench, or what it launched, may still be alive, where Dagster cannot tell."""

from dagster import DagsterInstance

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.runs import Run
from bench_orchestrator.sources.instance import find_trial_runs, is_in_doubt, last_sign_us
from bench_orchestrator.sweeps.journal import read_journal

SILENCE_US = 600 * MICROSECONDS
"""How long a run of the bench may write nothing to its log, beside what one of its trials may take: many times what
preflight, terminating a run, or harvesting a large sweep from slow storage takes."""


def may_go_on(instance: DagsterInstance, sweep_run: Run, now_us: int) -> bool:
    """Whether a sweep that counts as failed may still be launching trials."""
    return is_in_doubt(instance, sweep_run) and not given_up(instance, sweep_run, now_us)


def overdue(instance: DagsterInstance, sweep_run: Run, now_us: int) -> bool:
    """Whether a finished sweep's trials are all over, or late enough not to be waited for any longer."""
    journal = read_journal(instance, sweep_run.run_id)
    if journal is None:
        return True
    patience_us = int(float(journal.plan.settings["timeout_s"]) * MICROSECONDS)
    return all(
        run.finished or now_us - run.created_us > patience_us
        for run in find_trial_runs(instance, journal.plan.sweep_id)
    )


def given_up(instance: DagsterInstance, run: Run, now_us: int) -> str:
    """Why a run of the bench, a sweep's or a harvest's, is taken for dead; empty while it may be alive.

    Dagster's default launcher reports the death of a run worker only while the code server that started it lives.
    Where both are killed, or the machine, the run would stay in progress for ever, and all that comes after it wait.
    A living sweep writes to its log after every trial, if not before.
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
    return f"This run has written nothing to its log for {silence_us // MICROSECONDS} s: its process is taken for dead."
