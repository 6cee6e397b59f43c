"""Read the run queue of a Dagster instance, as plain data: limits, pools, runs, the daemon's heartbeat.

Nothing is written: a pool that the daemon has yet to give its default limit is read as if it had it.
`tests/sources/test_sources_run_queue.py` pins the private API used here.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter
from dagster._serdes import ConfigurableClass

from bench_orchestrator.model.errors import one_line
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.run_queue import (
    LOCATION_AWAY_MESSAGE,
    PRIORITY_TAG,
    Granularity,
    Holder,
    PendingStep,
    Pool,
    QueuedRun,
    RunLimits,
    RunQueue,
    pool_of,
    read_tag_limits,
    runs_ahead,
)
from bench_orchestrator.model.runs import IN_PROGRESS, RunStatus
from bench_orchestrator.sources.instance import get_run, last_sign_us, run_event, to_us
from bench_orchestrator.sources.storage import patient
from dagster_warm.queue import PromptRunCoordinator

_DAEMON = "QUEUED_RUN_COORDINATOR"
_LIMITS = frozenset({"max_concurrent_runs", "tag_concurrency_limits"})
_PAGE = 100


def read_limits(instance: DagsterInstance) -> RunLimits | None:
    """Return the limits of the run queue; None if the instance has none."""
    concurrency = instance.get_concurrency_config()
    queue = concurrency.run_queue_config
    if queue is None:
        return None
    granularity = None
    if queue.should_block_op_concurrency_limited_runs:
        set_to = concurrency.pool_config.pool_granularity
        granularity = Granularity(set_to.value) if set_to else Granularity.OP
    own = instance.run_coordinator.inst_data if isinstance(instance.run_coordinator, ConfigurableClass) else None
    elsewhere = own is not None and not _LIMITS.isdisjoint(own.config_dict)
    return RunLimits(
        max_concurrent_runs=queue.max_concurrent_runs,
        tag_limits=read_tag_limits(queue.tag_concurrency_limits),
        section="run_queue or run_coordinator" if elsewhere else "concurrency.runs",
        granularity=granularity,
        slot_buffer=queue.op_concurrency_slot_buffer,
    )


def dequeue_interval_s(instance: DagsterInstance) -> float | None:
    """Return how often the daemon looks at the queue, in seconds; 0 if at each change, None without a queue."""
    coordinator = instance.run_coordinator
    if isinstance(coordinator, PromptRunCoordinator):
        return 0.0
    return getattr(coordinator, "dequeue_interval_seconds", None)


@patient
def read_queue(instance: DagsterInstance, run_id: str, now_us: int) -> RunQueue | None:
    """Return the queue as it is for a run; None if the run is not queued."""
    record = instance.get_run_record_by_id(run_id)
    if record is None or record.dagster_run.status is not DagsterRunStatus.QUEUED:
        return None
    limits = read_limits(instance)
    if limits is None:
        return RunQueue(_queued_run(record, ()), None, now_us)
    tags = {PRIORITY_TAG, *(limit.key for limit in limits.tag_limits)}
    run = _queued_run(record, tags)
    ahead = runs_ahead(run, (_queued_run(one, tags) for one in _queued_records(instance)))
    active = RunsFilter(statuses=[DagsterRunStatus(status) for status in IN_PROGRESS])
    pools = {name for one in (run, *ahead) for name in one.pools}
    queue = instance.get_concurrency_config().run_queue_config
    interval_s = dequeue_interval_s(instance)
    heartbeat = instance.get_daemon_heartbeats().get(_DAEMON)
    errors = heartbeat.errors if heartbeat else None
    retry_s = queue.user_code_failure_retry_delay if queue and queue.max_user_code_failure_retries else 0
    paused_us = round((retry_s + 2 * (interval_s or 0)) * MICROSECONDS)
    return RunQueue(
        run=run,
        limits=limits,
        now_us=now_us,
        ahead=ahead,
        in_progress=tuple(_queued_run(one, tags) for one in instance.get_run_records(active)),
        pools=read_pools(instance, pools) if limits.granularity else {},
        heartbeat_us=to_us(heartbeat.timestamp) if heartbeat else None,
        has_heartbeats=not instance.daemon_skip_heartbeats_without_errors,
        daemon_error=one_line(errors[0].message, 300) if errors else "",
        unreachable=_unreachable(instance, run, ahead, now_us - paused_us) if retry_s else "",
        retry_s=retry_s,
        interval_s=interval_s,
    )


@patient
def read_pools(instance: DagsterInstance, names: Collection[str] | None = None) -> dict[str, Pool]:
    """Return the pools with limits by name: of these names, or all."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return {}
    default = instance.global_op_concurrency_default_limit
    limited = storage.get_concurrency_keys()
    chosen = limited if names is None else set(names) if default is not None else limited.intersection(names)
    infos = [storage.get_concurrency_info(name) for name in sorted(chosen)]
    holders = _holders(instance, {slot.run_id for info in infos for slot in info.claimed_slots})
    return {info.concurrency_key: _pool(info, default, holders) for info in infos}


@patient
def add_last_signs(instance: DagsterInstance, holders: Iterable[Holder]) -> tuple[Holder, ...]:
    """Return the holders, those in progress with the instant at which they last wrote to their log."""
    return tuple(_with_last_sign(instance, holder) for holder in holders)


def _with_last_sign(instance: DagsterInstance, holder: Holder) -> Holder:
    run = get_run(instance, holder.run_id) if holder.status in IN_PROGRESS else None
    return replace(holder, last_sign_us=last_sign_us(instance, run)) if run else holder


def _queued_records(instance: DagsterInstance) -> Iterator[RunRecord]:
    """Yield the queued runs, oldest first, a page at a time."""
    cursor: str | None = None
    while True:
        page = instance.get_run_records(
            RunsFilter(statuses=[DagsterRunStatus.QUEUED]), cursor=cursor, limit=_PAGE, ascending=True
        )
        yield from page
        if len(page) < _PAGE:
            return
        cursor = page[-1].dagster_run.run_id


def _queued_run(record: RunRecord, tags: Collection[str]) -> QueuedRun:
    """Return a run as the queue counts it, with those of its tags that count."""
    run = record.dagster_run
    origin, needs = run.remote_job_origin, run.run_op_concurrency
    waits = run.status is DagsterRunStatus.QUEUED
    since = record.create_timestamp if waits else record.update_timestamp
    return QueuedRun(
        run_id=run.run_id,
        job=run.job_name,
        status=RunStatus(run.status.value),
        tags={key: value for key, value in run.tags.items() if key in tags},
        since_us=to_us(record.start_time or since.timestamp()),
        location=origin.location_name if origin else "",
        pools=frozenset((needs.all_pools or ()) if needs else ()),
        first_pools=dict(needs.root_key_counts) if needs else {},
        begins_freely=needs is None or needs.has_unconstrained_root_nodes,
    )


def _pool(info: Any, default: int | None, holders: Mapping[str, Holder]) -> Pool:
    has_default = bool(info.using_default_limit)
    pending = [
        PendingStep(
            step.run_id,
            step.step_key,
            to_us(step.enqueued_timestamp.timestamp()),
            to_us(step.assigned_timestamp.timestamp()) if step.assigned_timestamp else None,
            step.priority or 0,
        )
        for step in info.pending_steps
    ]
    return pool_of(
        info.concurrency_key,
        default if has_default and default is not None else info.slot_count,
        [(slot.run_id, slot.step_key) for slot in info.claimed_slots],
        pending,
        holders,
        is_default=has_default,
    )


def _holders(instance: DagsterInstance, run_ids: Collection[str]) -> dict[str, Holder]:
    """Return those of the runs that the instance has."""
    if not run_ids:
        return {}
    runs = instance.get_runs(RunsFilter(run_ids=sorted(run_ids)))
    return {run.run_id: Holder(run.run_id, run.job_name, RunStatus(run.status.value)) for run in runs}


def _unreachable(instance: DagsterInstance, run: QueuedRun, ahead: Iterable[QueuedRun], since_us: int) -> str:
    """Return why the run's code location could not be reached, if the daemon has tried since then.

    The daemon tries with the first run of the location, and leaves the others in the queue.
    """
    first = next((one for one in ahead if one.location == run.location), run)
    for run_id in dict.fromkeys((run.run_id, first.run_id)):
        latest = instance.get_records_for_run(run_id, of_type=DagsterEventType.ENGINE_EVENT, limit=1, ascending=False)
        for event in (run_event(record.event_log_entry) for record in latest.records):
            if event.message.startswith(LOCATION_AWAY_MESSAGE) and event.time_us >= since_us:
                return one_line(event.error.message if event.error else event.message, 300)
    return ""
