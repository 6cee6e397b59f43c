"""Read runs and their logs from a Dagster instance, as plain data.

The event log is the source of truth; the results database is derived from it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, EventLogEntry, RunRecord, RunsFilter

from bench_orchestrator.model.errors import UnusableError, one_line
from bench_orchestrator.model.instants import MICROSECONDS, datetime_us, us_datetime
from bench_orchestrator.model.runs import LOG_MESSAGE, Request, Run, RunError, RunEvent, RunLog, RunStatus
from bench_orchestrator.model.stages import Origin
from bench_orchestrator.model.tags import BACKFILL_TAG, TICK_TAG, Tag
from bench_orchestrator.sources.storage import (
    delete_runs,
    entries_of_run,
    entries_of_runs,
    patient,
    run_ids_beginning_with,
    store_queued_copies,
)
from bench_orchestrator.timeline import run_log

_MOST_DIGITS = 18
"""Of a number that fits into a database's 64 bits."""

_LOG_TYPES = frozenset(map(DagsterEventType, run_log.LOG_TYPES))

_BEAT_US = 120 * MICROSECONDS
"""The maximum age of a live daemon's last heartbeat; it sends one every 30 s."""

_PLAIN_METADATA = (
    dg.TextMetadataValue,
    dg.UrlMetadataValue,
    dg.PathMetadataValue,
    dg.MarkdownMetadataValue,
    dg.JsonMetadataValue,
    dg.FloatMetadataValue,
    dg.IntMetadataValue,
    dg.BoolMetadataValue,
    dg.NullMetadataValue,
    dg.TimestampMetadataValue,
)
"""The types of metadata whose value is plain data."""


@contextmanager
def open_instance(home: Path) -> Iterator[DagsterInstance]:
    """Yield the Dagster instance of a home, and dispose of it after the block.

    Raises UnusableError if there is none, or if its configuration or storage cannot be used.
    """
    # Dagster would create an instance in any folder.
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
    """Return the ids of at most two runs with this prefix: enough to know whether it is unique."""
    return run_ids_beginning_with(instance, prefix, limit=2)


@patient
def get_run(instance: DagsterInstance, run_id: str) -> Run | None:
    """Return the run with this id; None if the instance does not have it."""
    record = instance.get_run_record_by_id(run_id)
    return _run(record) if record else None


@patient
def find_runs(
    instance: DagsterInstance,
    tags: Mapping[str, str | Sequence[str]],
    *,
    run_ids: Sequence[str] | None = None,
    statuses: Sequence[RunStatus] = (),
    updated_after_us: int | None = None,
    stored_after: str | None = None,
) -> list[Run]:
    """Return all runs with these tags, in the order in which they were stored.

    Args:
        tags: for each key its value, or several of which a run has one.
        run_ids: only these runs; None for all.
        updated_after_us: exclusive, like Dagster's filter.
        stored_after: the id of a run in the storage, after which to begin; without that run, nothing is found.
    """
    after = None if updated_after_us is None else us_datetime(updated_after_us)
    filters = RunsFilter(tags=tags, run_ids=run_ids, statuses=_known(statuses), updated_after=after)
    return [_run(record) for record in instance.get_run_records(filters, cursor=stored_after, ascending=True)]


def find_request(instance: DagsterInstance, run: Run) -> Request | None:
    """Return what asked for a run: as its tags tell it, or else the tick or the backfill that they name.

    None if nothing recorded the request, if the record is gone, or if the run repeats an earlier one.
    """
    return find_requests(instance, [run])[run.run_id]


@patient
def find_requests(instance: DagsterInstance, runs: Sequence[Run]) -> dict[str, Request | None]:
    """Return what asked for each of these runs, by run id: one query for all ticks, and one for each backfill."""
    told = {run.run_id: run.request for run in runs}
    untold = [run for run in runs if run.request is None and not run.reexecuted]
    tick_ids = {tick_id for run in untold if (tick_id := _tick_id(run)) is not None}
    storage = instance.schedule_storage
    found = storage.get_ticks_by_ids(sorted(tick_ids)) if storage is not None and tick_ids else ()
    begun_us: dict[int | None, int] = {tick.tick_id: to_us(tick.timestamp) for tick in found}
    get_backfill = cache(instance.get_backfill)
    for run in untold:
        if (tick_us := begun_us.get(_tick_id(run))) is not None:
            told[run.run_id] = Request(tick_us, Origin.SENSOR)
        elif BACKFILL_TAG in run.tags and (backfill := get_backfill(run.tags[BACKFILL_TAG])) is not None:
            told[run.run_id] = Request(to_us(backfill.backfill_timestamp), Origin.BACKFILL)
    return told


def _tick_id(run: Run) -> int | None:
    told = run.tags.get(TICK_TAG, "")
    return int(told) if told.isascii() and told.isdecimal() and len(told) <= _MOST_DIGITS else None


def find_trial_runs(
    instance: DagsterInstance, sweep_id: str, trial: int | None = None, *, statuses: Sequence[RunStatus] = ()
) -> list[Run]:
    """Return the runs launched for a sweep, or for one of its trials, oldest first; not what users re-executed."""
    tags: dict[str, str] = {Tag.KIND: "trial", Tag.SWEEP: sweep_id}
    if trial is not None:
        tags[Tag.TRIAL] = str(trial)
    return [run for run in find_runs(instance, tags, statuses=statuses) if not run.reexecuted]


FILLER = "filler"
"""The kind of the runs that only fill a trial's queue."""


@patient
def fill_queue(
    instance: DagsterInstance, sweep_id: str, trial: int, count: int, *, role: str, tags: Mapping[str, str]
) -> None:
    """Store runs that only fill a trial's queue: copies of its first run, with these tags, too."""
    first = find_trial_runs(instance, sweep_id, trial)[0]
    store_queued_copies(instance, first.run_id, count, {Tag.KIND: FILLER, Tag.ROLE: role, **tags})


@patient
def clear_queue(instance: DagsterInstance, sweep_id: str, trial: int) -> None:
    """Delete the runs that fill a trial's queue, unless they have started."""
    queued = RunsFilter(tags=_filling(sweep_id, trial), statuses=[DagsterRunStatus.QUEUED])
    delete_runs(instance, instance.get_run_ids(queued))


def find_started_fillers(instance: DagsterInstance, sweep_id: str, trial: int) -> list[Run]:
    """Return the runs that were only to fill a trial's queue, and have left it; oldest first."""
    others = [status for status in RunStatus if status is not RunStatus.QUEUED]
    return find_runs(instance, _filling(sweep_id, trial), statuses=others)


def _filling(sweep_id: str, trial: int) -> dict[str, str]:
    return {Tag.KIND: FILLER, Tag.SWEEP: sweep_id, Tag.TRIAL: str(trial)}


@patient
def count_trial_runs(
    instance: DagsterInstance, sweep_id: str, trial: int, *, role: str = "", statuses: Sequence[RunStatus] = ()
) -> int:
    """Return how many runs a trial has, or its runs of one role: a single query that reads no run."""
    tags: dict[str, str] = {Tag.KIND: "trial", Tag.SWEEP: sweep_id, Tag.TRIAL: str(trial)}
    if role:
        tags[Tag.ROLE] = role
    return instance.get_runs_count(RunsFilter(tags=tags, statuses=_known(statuses)))


@patient
def is_sensor_at_work(instance: DagsterInstance, name: str, now_us: int) -> bool:
    """Return whether a daemon evaluates the sensor of that name: it is alive, and the sensor is not switched off."""
    beat = instance.get_daemon_heartbeats().get("SENSOR")
    if beat is None or now_us - to_us(beat.timestamp) > _BEAT_US:
        return False
    # A sensor that the daemon has not seen yet has no state.
    states = [state for state in instance.all_instigator_state() if state.instigator_name == name]
    return not states or any(state.is_running for state in states)


@patient
def last_sign_us(instance: DagsterInstance, run: Run) -> int:
    """Return when a run last wrote to its log, or else when it was created, in microseconds."""
    with suppress(dg.DagsterEventLogInvalidForRun):  # damaged
        latest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
        return max([run.created_us, *(to_us(record.event_log_entry.timestamp) for record in latest)])
    return run.created_us


@patient
def is_in_doubt(instance: DagsterInstance, run: Run) -> bool:
    """Return whether a run was marked as failed only because its worker could not be reached, so it may continue."""
    if run.status is not RunStatus.FAILURE:
        return False
    with suppress(dg.DagsterEventLogInvalidForRun):  # damaged
        records = instance.get_records_for_run(
            run.run_id, of_type=DagsterEventType.RUN_FAILURE, limit=1, ascending=False
        ).records
        return any(run_log.is_in_doubt(record.event_log_entry.message) for record in records)
    return False


def end_as_failed(instance: DagsterInstance, run_id: str, reason: str) -> None:
    """Mark a run as failed whose process has died."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_run_failed(run, reason)


@patient
def read_run_log(instance: DagsterInstance, run_id: str) -> RunLog:
    """Return the log of one run."""
    return run_log.fold(map(run_event, entries_of_run(instance, run_id, _LOG_TYPES)))


@patient
def read_run_logs(
    instance: DagsterInstance, run_ids: Sequence[str], types: Iterable[str] = run_log.LOG_TYPES
) -> dict[str, RunLog]:
    """Return the logs of many runs by run id; the log of a run without events, or with a damaged one, is empty.

    Args:
        types: the types of events that are read; without the others, a log lacks what they say.
    """
    logs = dict.fromkeys(run_ids, RunLog())
    for run_id, entries in entries_of_runs(instance, run_ids, frozenset(map(DagsterEventType, types))):
        with suppress(dg.DagsterEventLogInvalidForRun):
            logs[run_id] = run_log.fold(map(run_event, entries))
    return logs


def run_event(entry: EventLogEntry) -> RunEvent:
    """Convert one entry of the event log to plain data."""
    event, time_us = entry.dagster_event, to_us(entry.timestamp)
    if event is None:
        return RunEvent(LOG_MESSAGE, time_us, entry.step_key, entry.message)
    metadata: Mapping[str, dg.MetadataValue[Any]] = {}
    description: str | None = ""
    match event.event_type:
        case DagsterEventType.ENGINE_EVENT | DagsterEventType.STEP_WORKER_STARTING:
            metadata = event.engine_event_data.metadata
        case DagsterEventType.ASSET_MATERIALIZATION:
            materialization = event.step_materialization_data.materialization
            metadata, description = materialization.metadata, materialization.description
        case DagsterEventType.ASSET_OBSERVATION:
            observation = event.asset_observation_data.asset_observation
            metadata, description = observation.metadata, observation.description
        case DagsterEventType.STEP_FAILURE:
            raised = event.step_failure_data.user_failure_data
            description = raised.description if raised else ""
    return RunEvent(
        event.event_type_value,
        time_us,
        entry.step_key,
        entry.message,
        {name: value.value for name, value in metadata.items() if isinstance(value, _PLAIN_METADATA)},
        _error(getattr(event.event_specific_data, "error", None)),
        description or "",
    )


def to_us(timestamp_s: float) -> int:
    """Convert Dagster's float seconds to integer microseconds."""
    return round(timestamp_s * MICROSECONDS)


def _error(error: Any) -> RunError | None:
    """Convert a SerializableErrorInfo, which is not a public type."""
    return None if error is None else RunError(error.message, error.cls_name or "", _error(error.cause))


def _run(record: RunRecord) -> Run:
    run, origin = record.dagster_run, record.dagster_run.remote_job_origin
    return Run(
        run_id=run.run_id,
        status=RunStatus(run.status.value),
        job=run.job_name,
        tags=dict(run.tags),
        created_us=datetime_us(record.create_timestamp),
        updated_us=datetime_us(record.update_timestamp),
        started_us=None if record.start_time is None else to_us(record.start_time),
        location=origin.location_name if origin else "",
    )


def _known(statuses: Sequence[RunStatus]) -> list[DagsterRunStatus]:
    """Return those statuses that this release of Dagster has; no run can have another."""
    return [status for status in DagsterRunStatus if status.value in statuses]
