"""Derives the outcome of each planned trial from a sweep's journal and its trials' event logs; pure.

Everything is derived from a source: a Dagster instance, or a webserver that is asked over GraphQL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.launch import OUTCOMES, REPEATED, Launch, Outcome, Sweep, Trial, TrialNote
from bench_orchestrator.model.plan import Location, PlannedTrial, SweepPlan
from bench_orchestrator.model.runs import Run, RunLog, RunStatus
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sweeps.entries import Journal
from bench_orchestrator.sweeps.judging import launches_of_workload
from bench_orchestrator.timeline.launches import launch_of


class Source(Protocol):
    """Where the runs of a sweep are read."""

    @property
    def resolution_us(self) -> int:
        """The times of its events are multiples of this, rounded down."""

    def get_run(self, run_id: str) -> Run | None:
        """Return the run with this id; None if the source does not have it."""

    def find_trial_runs(self, sweep_id: str) -> list[Run]:
        """Return the runs launched for a sweep, oldest first."""

    def read_run_logs(self, run_ids: Sequence[str]) -> Mapping[str, RunLog]:
        """Return the logs of runs by run id; the log of a run without events is empty."""

    def read_journal(self, sweep_run_id: str) -> Journal | None:
        """Return a sweep's journal, with the notes of the sweep that it resumes; None if it has no plan."""


SEVERAL_RUNS = "several runs carry this trial's tags; the first is measured"
"""The warning on a trial whose request was sent again, although it had been carried out."""

_DUMP = " Debug information for "
"""The text after which dagster-k8s appends debug information on the pod to a failure message."""

_STATUS_OF = {
    **{outcome: status for status, outcome in OUTCOMES.items()},
    Outcome.TIMED_OUT: RunStatus.STARTED,
}
"""The status of a run that is recorded only in the sweep's note."""

_STATUS = {RunStatus.SUCCESS: "complete", RunStatus.CANCELED: "canceled"}


def derive_sweep(source: Source, sweep_run_id: str) -> Sweep | None:
    """Return the sweep of a run with every planned trial; None if it never recorded a plan.

    Raises:
        UnusableError: the source has no run of that id.
    """
    sweep_run = source.get_run(sweep_run_id)
    if sweep_run is None:
        raise UnusableError(f"The deployment has no run {sweep_run_id}. If it was deleted, so were its measurements.")
    journal = source.read_journal(sweep_run_id)
    if journal is None:
        return None
    plan = journal.plan
    places = plan.places
    runs: dict[str, list[Run]] = {}
    for run in source.find_trial_runs(plan.sweep_id):
        runs.setdefault(run.tags.get(Tag.TRIAL, ""), []).append(run)
    latest = {note.number: note for note in journal.notes}
    notes = {number: note for number, note in latest.items() if _holds(plan, note, runs.get(str(number), []))}
    traces = [
        _trace(plan, notes.get(trial.number), runs.get(str(trial.number), []), source.resolution_us)
        for trial in plan.trials
    ]
    logs = source.read_run_logs([trace.run_id for trace in traces if trace and trace.log is None])
    trials = []
    for planned, trace in zip(plan.trials, traces, strict=True):
        note, workload = notes.get(planned.number), plan.workload_of(planned)
        if workload is not None and note is not None and note.runs:
            launches = launches_of_workload(plan.scenario, workload, note, planned.work)
        else:
            log = (trace.log or logs[trace.run_id]) if trace else RunLog()
            launches = (_launch(planned, trace, log, note, sweep_run),)
        trials.append(_trial(plan, planned, places[planned.deployment, planned.location], launches, note))
    return Sweep(plan, _STATUS.get(sweep_run.status, "failed"), tuple(trials))


@dataclass(frozen=True)
class _Trace:
    """The record of a trial's run, from the source or from the sweep's note."""

    run_id: str
    status: RunStatus
    requested_us: int | None
    created_us: int | None
    log: RunLog | None = None
    """The log from the note; None if the source has the run."""
    warnings: tuple[str, ...] = ()


def _holds(plan: SweepPlan, note: TrialNote, runs: Sequence[Run]) -> bool:
    """Return whether a note is the last word on its trial.

    A resumed sweep launches a lost or canceled trial again; killed before its own note, it leaves that of the first.
    """
    gone = all(run.run_id != note.run_id for run in runs)
    if plan.resumes is None or not (note.outcome in REPEATED or (note.outcome is Outcome.OK and gone)):
        return True
    return all((run.requested_us or 0) <= (note.requested_us or 0) for run in runs)


def _measured_run(plan: SweepPlan, note: TrialNote | None, runs: Sequence[Run]) -> Run | None:
    """Return the run that counts for a trial: the note's, or else the first, or the last of a resumed sweep."""
    if note is not None:
        return next((run for run in runs if run.run_id == note.run_id), None)
    # Surplus runs and those of trials to be launched again are canceled.
    kept = [run for run in runs if run.status is not RunStatus.CANCELED] or runs
    if not kept:
        return None
    return kept[-1] if plan.resumes else kept[0]


def _trace(plan: SweepPlan, note: TrialNote | None, runs: Sequence[Run], resolution_us: int) -> _Trace | None:
    """Return the record of a trial's run, its instants as exact as its events; None if there is none."""
    warnings = note.warnings if note else ()
    if note is not None and note.log is not None and note.run_id is not None and note.outcome in _STATUS_OF:
        return _Trace(
            note.run_id, _STATUS_OF[note.outcome], note.requested_us, note.created_us, note.log, warnings=warnings
        )
    run = _measured_run(plan, note, runs)
    if run is None:
        return None
    requested_us = note.requested_us if note is not None and note.requested_us else run.requested_us
    several = (SEVERAL_RUNS,) if len(runs) > 1 and plan.resumes is None else ()
    return _Trace(
        run.run_id,
        run.status,
        None if requested_us is None else requested_us - requested_us % resolution_us,
        run.created_us - run.created_us % resolution_us,
        warnings=tuple(dict.fromkeys((*warnings, *several))),
    )


def _launch(planned: PlannedTrial, trace: _Trace | None, log: RunLog, note: TrialNote | None, sweep_run: Run) -> Launch:
    launch = launch_of(
        trace.run_id if trace else None,
        log,
        outcome=OUTCOMES.get(trace.status) if trace else None,
        requested_us=trace.requested_us if trace else None,
        created_us=trace.created_us if trace else None,
        pod=note.pod if note else None,
    )
    return _judged(launch, trace, planned, note, sweep_run)


def _trial(
    plan: SweepPlan, planned: PlannedTrial, location: Location, launches: tuple[Launch, ...], note: TrialNote | None
) -> Trial:
    return Trial(
        sweep_id=plan.sweep_id,
        number=planned.number,
        scenario=plan.scenario,
        variant=planned.variant,
        location=planned.location,
        asset_count=location.asset_count,
        partition_count=location.partition_count,
        block=planned.block,
        warmup=planned.warmup,
        asset_key=planned.asset_keys[0],
        partition_key=planned.partition_key,
        launches=launches,
        deployment=planned.deployment,
        path=planned.path,
        assets=len(planned.asset_keys),
        usage=note.usage if note else {},
    )


def _judged(
    launch: Launch, trace: _Trace | None, planned: PlannedTrial, note: TrialNote | None, sweep_run: Run
) -> Launch:
    """Return the launch with its outcome as a trial, which depends on the plan and the sweep's note, too."""
    outcome, reason = _outcome(launch, trace, planned, note, sweep_run)
    if launch.pod and launch.pod.trouble and outcome is not Outcome.OK:
        reason = f"{launch.pod.trouble} ({reason.partition(_DUMP)[0]})"
    warnings = (*launch.warnings, *(trace.warnings if trace else ()))
    return replace(launch, outcome=outcome, reason=reason, warnings=warnings)


def _outcome(
    launch: Launch, trace: _Trace | None, planned: PlannedTrial, note: TrialNote | None, sweep_run: Run
) -> tuple[Outcome, str]:
    """Return outcome and reason: from the run's own log, or else from the sweep's note."""
    if trace is None:
        if note is not None:
            gone = f"its run {note.run_id} is no longer in the instance"
            return (Outcome.LOST, gone) if note.outcome is Outcome.OK else (note.outcome, note.reason or gone)
        # The runs of temporary deployments are deleted with them; elsewhere, no run means no launch.
        when = "over" if planned.deployment else "launched"
        if sweep_run.status is RunStatus.CANCELED:
            return Outcome.CANCELED, f"the sweep was canceled before this trial was {when}"
        return Outcome.LOST, f"the sweep ended before this trial was {when}"
    if note is not None and note.outcome is Outcome.TIMED_OUT:
        return Outcome.TIMED_OUT, note.reason
    match launch.outcome:
        case Outcome.OK:
            if planned.work is not None and launch.work != planned.work:
                return Outcome.FAILED, f"it succeeded, but did {launch.work} of {planned.work} units of work"
            lacks_events = launch.lag_us is None
            return (Outcome.LOST, "it succeeded, but its log lacks events") if lacks_events else (Outcome.OK, "")
        case Outcome.FAILED:
            return Outcome.FAILED, launch.reason or "the run failed and its log does not say why"
        case Outcome.CANCELED:
            return Outcome.CANCELED, "the run was canceled"
    return Outcome.TIMED_OUT, f"still {trace.status.value} after the sweep was over"
