"""From a sweep's journal and its trials' event logs to one launch per planned trial.

Derives everything from the instance, so that doing it again gives the same rows, and so that whatever was killed in
between costs nothing but time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dagster import DagsterInstance, DagsterRunStatus

from bench_orchestrator.model.launch import Launch, Outcome, Sweep, TrialNote
from bench_orchestrator.model.plan import Location, PlannedTrial, SweepPlan
from bench_orchestrator.model.runs import RunLog
from bench_orchestrator.model.stages import Boundary, Stage
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sources.instance import OUTCOMES, Run, find_trial_runs, get_run, read_run_logs
from bench_orchestrator.sweeps.journal import read_journal
from bench_orchestrator.timeline.stages import timeline
from bench_orchestrator.timeline.worker_boot import boot_stages

_DUMP = " Debug information for "
"""What dagster-k8s goes on with where it gives a run up: all that it finds out about the pod."""

_STATUS_OF = {
    **{outcome: status for status, outcome in OUTCOMES.items()},
    Outcome.TIMED_OUT: DagsterRunStatus.STARTED,
}
"""The status of a run that only the sweep's note remembers."""

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
    places = plan.places
    notes = {note.number: note for note in journal.notes}
    runs: dict[int, list[Run]] = {}
    for run in find_trial_runs(instance, plan.sweep_id):
        runs.setdefault(int(run.tags[Tag.TRIAL]), []).append(run)
    traces = [_trace(plan, notes.get(trial.number), runs.get(trial.number, [])) for trial in plan.trials]
    logs = read_run_logs(instance, [trace.run_id for trace in traces if trace and trace.log is None])
    launches = []
    for trial, trace in zip(plan.trials, traces, strict=True):
        note = notes.get(trial.number)
        log = (trace.log or logs[trace.run_id]) if trace else RunLog()
        location = places[trial.deployment, trial.location]
        launches.append(_launch(plan, trial, location, trace, log, note, sweep_run))
    return Sweep(plan, _STATUS.get(sweep_run.status, "failed"), tuple(launches))


@dataclass(frozen=True)
class _Trace:
    """What is left of a trial's run: in the instance, or in the sweep's note on it."""

    run_id: str
    status: DagsterRunStatus
    requested_us: int | None
    created_us: int | None
    log: RunLog | None = None
    """As the note has it; None where it is in the instance."""
    warnings: tuple[str, ...] = ()


def _trace(plan: SweepPlan, note: TrialNote | None, runs: Sequence[Run]) -> _Trace | None:
    """A trial's run, None where there is none."""
    if note is not None and note.log is not None and note.run_id is not None and note.outcome in _STATUS_OF:
        return _Trace(note.run_id, _STATUS_OF[note.outcome], note.requested_us, note.created_us, note.log)
    if not runs:
        return None
    noted = next((run for run in runs if note is not None and run.run_id == note.run_id), None)
    # A trial of an interrupted sweep may have left a run before it was launched again.
    run = noted or (runs[-1] if plan.resumes else runs[0])
    several = len(runs) > 1 and plan.resumes is None
    return _Trace(
        run.run_id,
        run.status,
        note.requested_us if note is not None and note.requested_us else run.requested_us,
        run.created_us,
        warnings=(f"{len(runs)} runs carry this trial's tags; the first is measured",) if several else (),
    )


def _launch(
    plan: SweepPlan,
    trial: PlannedTrial,
    location: Location,
    trace: _Trace | None,
    log: RunLog,
    note: TrialNote | None,
    sweep_run: Run,
) -> Launch:
    times = timeline(
        log.events,
        requested_us=trace.requested_us if trace else None,
        created_us=trace.created_us if trace else None,
    )
    outcome, reason = _outcome(trace, log, trial, note, sweep_run, has_lag=times.lag_us is not None)
    pod = note.pod if note else None
    if pod and pod.trouble and outcome is not Outcome.OK:
        reason = f"{pod.trouble} ({reason.partition(_DUMP)[0]})"
    boot_us, doubts = boot_stages(
        log.events,
        pod,
        starting_us=times.at_us[Boundary.STARTING],
        worker_boot_us=times.stages_us[Stage.WORKER_BOOT],
    )
    requested_us = times.at_us[Boundary.REQUESTED]
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
        asset_key=trial.asset_keys[0],
        partition_key=trial.partition_key,
        outcome=outcome,
        reason=reason,
        run_id=trace.run_id if trace else None,
        executor=times.executor,
        at_us=times.at_us,
        ended_us=times.ended_us,
        stages_us=times.stages_us,
        queue_us=times.queue_us,
        init_us=times.init_us,
        lag_us=times.lag_us,
        time_to_code_us=times.time_to_code_us,
        warnings=(*times.warnings, *trace.warnings, *doubts) if trace else (),
        step_process=log.step_process,
        deployment=trial.deployment,
        path=trial.path,
        assets=len(trial.asset_keys),
        work=log.work,
        materialized_us=log.materialized_us,
        work_us=log.materialized_us - requested_us if log.materialized_us and requested_us else None,
        steps=log.steps,
        template=log.template,
        usage=note.usage if note else {},
        boot_us=boot_us,
        pod=pod,
    )


def _outcome(
    trace: _Trace | None,
    log: RunLog,
    trial: PlannedTrial,
    note: TrialNote | None,
    sweep_run: Run,
    *,
    has_lag: bool,
) -> tuple[Outcome, str]:
    """The run's own log first, the sweep's note where the log cannot tell."""
    if trace is None:
        if note is not None and note.outcome is not Outcome.OK:
            return note.outcome, note.reason
        if note is not None:
            return Outcome.LOST, f"its run {note.run_id} is no longer in the instance"
        # Runs in a deployment of the sweep's own are gone with it; elsewhere, no run means no launch.
        when = "over" if trial.deployment else "launched"
        if sweep_run.status is DagsterRunStatus.CANCELED:
            return Outcome.CANCELED, f"the sweep was canceled before this trial was {when}"
        return Outcome.LOST, f"the sweep ended before this trial was {when}"
    if note is not None and note.outcome is Outcome.TIMED_OUT:
        return Outcome.TIMED_OUT, note.reason
    if trace.status is DagsterRunStatus.SUCCESS:
        if trial.work is not None and log.work != trial.work:
            return Outcome.FAILED, f"it succeeded, but did {log.work} of {trial.work} units of work"
        return (Outcome.OK, "") if has_lag else (Outcome.LOST, "it succeeded, but its log lacks events")
    if trace.status is DagsterRunStatus.FAILURE:
        return Outcome.FAILED, log.failure or "the run failed and its log does not say why"
    if trace.status is DagsterRunStatus.CANCELED:
        return Outcome.CANCELED, "the run was canceled"
    return Outcome.TIMED_OUT, f"still {trace.status.value} after the sweep was over"
