"""From a sweep's journal and its trials' event logs to one launch per planned trial.

Derives everything from the instance, so that doing it again gives the same rows, and so that whatever was killed in
between costs nothing but time.
"""

from collections.abc import Sequence

from dagster import DagsterInstance, DagsterRunStatus

from bench_orchestrator.event_log import (
    Run,
    RunLog,
    find_trial_runs,
    get_run,
    last_sign_us,
    read_journal,
    read_run_log,
)
from bench_orchestrator.model import (
    MICROSECONDS,
    Launch,
    Location,
    Outcome,
    PlannedTrial,
    Sweep,
    SweepPlan,
    Tag,
    TrialNote,
)
from bench_orchestrator.timeline import timeline

SILENCE_US = 600 * MICROSECONDS
"""How long a run of the bench may write nothing to its log, beside what one of its trials may take: many times what
preflight, terminating a run, or harvesting a large sweep from slow storage takes."""

_STATUS = {DagsterRunStatus.SUCCESS: "complete", DagsterRunStatus.CANCELED: "canceled"}


def harvest_sweep(instance: DagsterInstance, sweep_run_id: str) -> Sweep | None:
    """The sweep that a run carried out, one launch for every planned trial; None where it never had a plan.

    Raises:
        ValueError: the instance has no run of that id.
    """
    sweep_run = get_run(instance, sweep_run_id)
    if sweep_run is None:
        raise ValueError(f"There is no run {sweep_run_id} in this instance.")
    journal = read_journal(instance, sweep_run_id)
    if journal is None:
        return None
    plan = journal.plan
    locations = {location.name: location for location in plan.locations}
    notes = {note.number: note for note in journal.notes}
    runs: dict[int, list[Run]] = {}
    for run in find_trial_runs(instance, plan.sweep_id):
        runs.setdefault(int(run.tags[Tag.TRIAL]), []).append(run)
    launches = [
        _launch(instance, plan, trial, locations[trial.location], runs.get(trial.number, []), notes, sweep_run)
        for trial in plan.trials
    ]
    return Sweep(plan, _STATUS.get(sweep_run.status, "failed"), tuple(launches))


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
    """Why a run of the bench in progress, a sweep's or a harvest's, is taken for dead; empty while it may be alive.

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


def _launch(
    instance: DagsterInstance,
    plan: SweepPlan,
    trial: PlannedTrial,
    location: Location,
    runs: Sequence[Run],
    notes: dict[int, TrialNote],
    sweep_run: Run,
) -> Launch:
    note = notes.get(trial.number)
    run = runs[0] if runs else None
    log = read_run_log(instance, run.run_id) if run else RunLog((), "", {})
    times = timeline(
        log.events,
        requested_us=run.requested_us if run else None,
        created_us=run.created_us if run else None,
    )
    warnings = times.warnings if run else ()
    if len(runs) > 1:
        warnings += (f"{len(runs)} runs carry this trial's tags; the first is measured",)
    outcome, reason = _outcome(run, log, note, sweep_run, has_lag=times.lag_us is not None)
    return Launch(
        sweep_id=plan.sweep_id,
        trial=trial.number,
        scenario=plan.scenario,
        variant=trial.variant,
        location=trial.location,
        asset_count=location.asset_count,
        partition_count=location.partition_count,
        block=trial.block,
        warmup=trial.warmup,
        asset_key=trial.asset_key,
        partition_key=trial.partition_key,
        outcome=outcome,
        reason=reason,
        run_id=run.run_id if run else None,
        executor=times.executor,
        at_us=times.at_us,
        ended_us=times.ended_us,
        stages_us=times.stages_us,
        queue_us=times.queue_us,
        init_us=times.init_us,
        lag_us=times.lag_us,
        time_to_code_us=times.time_to_code_us,
        warnings=warnings,
        step_process=log.step_process,
    )


def _outcome(
    run: Run | None, log: RunLog, note: TrialNote | None, sweep_run: Run, *, has_lag: bool
) -> tuple[Outcome, str]:
    """The run's own log first, the sweep's note where the log cannot tell."""
    if run is None:
        if note is not None and note.outcome is not Outcome.OK:
            return note.outcome, note.reason
        if note is not None:
            return Outcome.LOST, f"its run {note.run_id} is no longer in the instance"
        if sweep_run.status is DagsterRunStatus.CANCELED:
            return Outcome.CANCELED, "the sweep was canceled before this trial was launched"
        return Outcome.LOST, "the sweep ended before this trial was launched"
    if note is not None and note.outcome is Outcome.TIMED_OUT:
        return Outcome.TIMED_OUT, note.reason
    if run.status is DagsterRunStatus.SUCCESS:
        return (Outcome.OK, "") if has_lag else (Outcome.LOST, "it succeeded, but its log lacks events")
    if run.status is DagsterRunStatus.FAILURE:
        return Outcome.FAILED, log.failure or "the run failed and its log does not say why"
    if run.status is DagsterRunStatus.CANCELED:
        return Outcome.CANCELED, "the run was canceled"
    return Outcome.TIMED_OUT, f"still {run.status.value} after the sweep was over"
