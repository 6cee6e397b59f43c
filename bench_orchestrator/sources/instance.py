"""What the bench reads from Dagster's run and event storage; only `storage` is nearer to it.

It turns what the instance holds into the bench's own plain data: runs, the events a timeline needs, and the journal
that a sweep keeps in its own run (its plan as an asset materialization, its trials as asset observations). The
event log is the bench's source of truth; the results database is derived from it and can be rebuilt at any time.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, EventLogEntry, RunRecord, RunsFilter

from bench_orchestrator.model.errors import UnusableError, one_line
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.runs import RunEvent, RunLog, StepSpan
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sources.storage import entries_of_run, entries_of_runs, patient
from bench_orchestrator.timeline.stages import EVENT_TYPES, without_steps_after_the_first

IN_PROGRESS = (DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING)
FINISHED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)

OUTCOMES = {
    DagsterRunStatus.SUCCESS: Outcome.OK,
    DagsterRunStatus.FAILURE: Outcome.FAILED,
    DagsterRunStatus.CANCELED: Outcome.CANCELED,
}
"""How a run ended, by its last status."""

NO_REASON = "This run has been marked as failed from outside the execution context."
"""What Dagster writes for a run that it found dead or could not launch; the engine event before it says why."""

IN_DOUBT = re.compile(r"run worker status UNKNOWN: (?!'Job \S+ could not be found)")
"""How Dagster's run monitoring marks a run as failed whose worker it could not ask for. One refused connection to
Kubernetes is enough; the worker goes on, and a run that succeeds says so afterwards."""

_JOB_NAME, _JOB_NAMESPACE = "Kubernetes Job name", "Kubernetes Namespace"
"""What dagster-k8s calls them where it says that it creates a run's job."""

_KUBERNETES_REFUSAL = re.compile(r'HTTP response body: (?P<status>\{"kind":"Status".*\})')
"""How Kubernetes' client ends its message, behind all headers of the answer."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEP_ENDS = frozenset({DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE})
_DETAIL_TYPES = _STEP_ENDS | {
    DagsterEventType.RUN_FAILURE,
    DagsterEventType.RUN_CANCELED,
    DagsterEventType.ASSET_MATERIALIZATION,
}
_RUN_TYPES = frozenset(DagsterEventType(name) for name in EVENT_TYPES) | _DETAIL_TYPES


@dataclass(frozen=True)
class Run:
    """One run as the run storage has it."""

    run_id: str
    status: DagsterRunStatus
    job: str
    tags: dict[str, str]
    created_us: int
    updated_us: int

    @property
    def finished(self) -> bool:
        """Whether the run has reached its last status."""
        return self.status in FINISHED

    @property
    def requested_us(self) -> int | None:
        """When its request was sent, by the clock of whoever sent it; None where nobody said."""
        return int(self.tags[Tag.REQUESTED_AT]) if Tag.REQUESTED_AT in self.tags else None


@contextmanager
def open_instance(home: Path) -> Iterator[DagsterInstance]:
    """The Dagster instance of a home, for the time being.

    Raises UnusableError where there is none, or where its configuration or its storage cannot be used.
    """
    # Dagster would make an instance of any folder.
    if not any((home / name).exists() for name in ("dagster.yaml", "history")):
        raise UnusableError(f"There is no Dagster instance in {home}: set DAGSTER_HOME to the folder of one.")
    try:
        instance = DagsterInstance.from_config(str(home))
    except Exception as error:  # whatever its YAML and the storage that it names may raise
        raise UnusableError(f"The Dagster instance in {home} cannot be opened: {one_line(str(error))}") from error
    with instance:
        yield instance


@patient
def find_run_ids(instance: DagsterInstance, prefix: str) -> list[str]:
    """The ids of all runs that begin so. Storages know no prefixes: a whole id is better looked up by `get_run`."""
    return [run_id for run_id in instance.get_run_ids() if run_id.startswith(prefix)]


@patient
def get_run(instance: DagsterInstance, run_id: str) -> Run | None:
    """The run of that id, None where the instance does not know it."""
    record = instance.get_run_record_by_id(run_id)
    return _run(record) if record else None


@patient
def find_runs(
    instance: DagsterInstance,
    tags: dict[str, str],
    *,
    statuses: Sequence[DagsterRunStatus] = (),
    updated_after_us: int | None = None,
) -> list[Run]:
    """All runs with these tags, oldest first; `updated_after_us` is exclusive, as Dagster's filter is."""
    after = _EPOCH + timedelta(microseconds=updated_after_us) if updated_after_us is not None else None
    filters = RunsFilter(tags=tags, statuses=list(statuses), updated_after=after)
    return [_run(record) for record in instance.get_run_records(filters, ascending=True)]


def find_trial_runs(instance: DagsterInstance, sweep_id: str, trial: int | None = None) -> list[Run]:
    """The runs launched for a sweep, or for one trial of it, oldest first."""
    tags: dict[str, str] = {Tag.KIND: "trial", Tag.SWEEP: sweep_id}
    if trial is not None:
        tags[Tag.TRIAL] = str(trial)
    return find_runs(instance, tags)


@patient
def last_sign_us(instance: DagsterInstance, run: Run) -> int:
    """When a run last wrote to its log, or else was created."""
    latest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    return max([run.created_us, *(to_us(record.event_log_entry.timestamp) for record in latest)])


@patient
def is_in_doubt(instance: DagsterInstance, run: Run) -> bool:
    """Whether a run counts as failed only because its worker could not be asked for, so that it may go on."""
    if run.status is not DagsterRunStatus.FAILURE:
        return False
    records = instance.get_records_for_run(
        run.run_id, of_type=DagsterEventType.RUN_FAILURE, limit=1, ascending=False
    ).records
    return any(IN_DOUBT.search(record.event_log_entry.get_dagster_event().message or "") for record in records)


def end_as_failed(instance: DagsterInstance, run_id: str, reason: str) -> None:
    """Give a run its end that has lost its process."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_run_failed(run, reason)


@patient
def read_run_log(instance: DagsterInstance, run_id: str) -> RunLog:
    """The part of one run's event log that the bench needs."""
    return _run_log(entries_of_run(instance, run_id, _RUN_TYPES))


@patient
def read_run_logs(instance: DagsterInstance, run_ids: Sequence[str]) -> dict[str, RunLog]:
    """The same of many runs, by their ids; a run that has logged nothing has an empty one."""
    logs = dict.fromkeys(run_ids, RunLog())
    for run_id, entries in entries_of_runs(instance, run_ids, _RUN_TYPES):
        logs[run_id] = _run_log(entries)
    return logs


def to_us(timestamp_s: float) -> int:
    """Dagster's float seconds as integer microseconds."""
    return round(timestamp_s * MICROSECONDS)


def _run_log(entries: Iterable[EventLogEntry]) -> RunLog:
    """In one pass."""
    events: list[RunEvent] = []
    failure = ""
    engine_event: dg.DagsterEvent | None = None
    steps: dict[str, StepSpan] = {}
    materialized: list[dict[str, Any]] = []
    materialized_us: int | None = None
    template: dict[str, float] = {}
    job: tuple[str, str] | None = None
    for entry in entries:
        event, time_us = entry.get_dagster_event(), to_us(entry.timestamp)
        if event.event_type_value in EVENT_TYPES:
            events.append(RunEvent(event.event_type_value, time_us, entry.step_key, event.message or ""))
        if entry.step_key is not None:
            _follow_step(steps, entry.step_key, event.event_type, time_us)
        # A step's own failure says more than the run's, which follows it; and anything more than that nobody knew.
        failed = event.event_type in (DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE)
        if failed and (not failure or IN_DOUBT.search(failure)):
            failure = _failure(event)
            if failure == NO_REASON and engine_event is not None:
                failure = _failure(engine_event)
        if event.event_type is DagsterEventType.ENGINE_EVENT:
            engine_event = event
            metadata = event.engine_event_data.metadata
            template = _bench_metadata(metadata) or template
            if _JOB_NAME in metadata and event.step_key is None:
                job = str(metadata[_JOB_NAMESPACE].value), str(metadata[_JOB_NAME].value)
        if event.event_type is DagsterEventType.ASSET_MATERIALIZATION:
            materialized.append(_bench_metadata(event.step_materialization_data.materialization.metadata))
            materialized_us = time_us
    return RunLog(
        events=without_steps_after_the_first(events),
        failure=failure,
        step_process=materialized[0] if materialized else {},
        steps=tuple(steps.values()),
        materializations=len(materialized),
        work=sum(int(metadata.get("work", 1)) for metadata in materialized),
        materialized_us=materialized_us,
        template=template,
        kubernetes_job=job,
    )


def _follow_step(steps: dict[str, StepSpan], key: str, event_type: DagsterEventType, time_us: int) -> None:
    """Take one event of a step into its span. A step that is retried counts from its first attempt to its last end."""
    step = steps.get(key, StepSpan(key, None, None, None))
    if event_type is DagsterEventType.STEP_WORKER_STARTING and step.launched_us is None:
        step = replace(step, launched_us=time_us)
    elif event_type is DagsterEventType.STEP_START and step.started_us is None:
        step = replace(step, started_us=time_us)
    elif event_type in _STEP_ENDS:
        step = replace(step, ended_us=time_us)
    else:
        return
    steps[key] = step


def _run(record: RunRecord) -> Run:
    run = record.dagster_run
    return Run(
        run_id=run.run_id,
        status=run.status,
        job=run.job_name,
        tags=dict(run.tags),
        created_us=_datetime_us(record.create_timestamp),
        updated_us=_datetime_us(record.update_timestamp),
    )


def _datetime_us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _failure(event: dg.DagsterEvent) -> str:
    """The innermost cause in one line; Dagster wraps what the user's code raised."""
    data = event.event_specific_data
    error = getattr(data, "error", None)
    # What gRPC says of a code server that cannot be reached is for nobody.
    while error is not None and error.cause is not None and error.cls_name != "DagsterUserCodeUnreachableError":
        error = error.cause
    text = error.message if error is not None else event.message or ""
    refusal = _KUBERNETES_REFUSAL.search(text)
    if refusal:
        status = json.loads(refusal["status"])
        text = f"Kubernetes answers {status['code']}: {status['message']}"
    return one_line(text)


def _bench_metadata(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name.removeprefix("bench/"): value.value for name, value in metadata.items() if name.startswith("bench/")}
