"""Findings about this moment: daemons, queued runs and what holds them, leaked slots, runs that hang."""

from collections.abc import Iterator

from bench_orchestrator.analysis.doctor.finding import Finding, Surety
from bench_orchestrator.analysis.doctor.launches import group
from bench_orchestrator.analysis.run_queue import (
    END_DEAD_RUNS,
    FREE_SLOTS,
    SILENT_DAEMON_US,
    START_DAEMON,
    describe,
    holds,
    pool_waits,
)
from bench_orchestrator.analysis.wording import counted
from bench_orchestrator.model.deployment_reading import Daemon, DeploymentReading
from bench_orchestrator.model.instants import MICROSECONDS, describe_us
from bench_orchestrator.model.run_queue import Hold, QueuedRun, RunQueue, runs_ahead
from bench_orchestrator.model.runs import FINISHED, RunStatus
from bench_orchestrator.model.sampling import spread_evenly

_QUEUE_DAEMON = "QUEUED_RUN_COORDINATOR"
_LONG_WAIT_US = 60 * MICROSECONDS
"""The age of a queued run from which on its wait is urgent."""
_HANGS_US = 600 * MICROSECONDS
"""For how long a run may be starting or canceling before it hangs."""
_EXPLAINED = 50
"""Of how many queued runs is worked out what holds them."""
_MOST_LINES = 8


def find(reading: DeploymentReading) -> Iterator[Finding]:
    """Yield what is wrong at the instant of the reading."""
    yield from _daemons(reading)
    yield from _queued(reading)
    yield from _leaked_slots(reading)
    yield from _waiting_steps(reading)
    yield from _hanging(reading)


def explain_queue(reading: DeploymentReading) -> list[tuple[QueuedRun, list[Hold]]]:
    """Return what holds each queued run, oldest first; of many runs, of a part that is spread over all.

    Nothing is known to hold them if the webserver did not tell the limits.
    """
    queued = reading.queue.queued
    if not reading.queue.limits_known:
        return [(run, []) for run in queued[:_EXPLAINED]]
    chosen = {run.run_id for run in spread_evenly(queued)[:_EXPLAINED]}
    return [(run, holds(_queue_of(reading, run))) for run in queued if run.run_id in chosen]


def _daemons(reading: DeploymentReading) -> Iterator[Finding]:
    lines = [line for daemon in reading.daemons if daemon.required for line in _trouble(daemon, reading.at_us)]
    if lines:
        yield Finding(
            name="daemons",
            what="Daemons that this deployment needs do not run, or fail",
            sure=Surety.CERTAIN,
            remedy=f"{START_DAEMON} A daemon counts as healthy for half an hour after its last heartbeat, "
            "so the age of that tells.",
            evidence=tuple(lines),
            urgent=True,
        )


def _trouble(daemon: Daemon, now_us: int) -> Iterator[str]:
    if daemon.heartbeat_us is None:
        yield f"{daemon.name} has never run"
    elif now_us - daemon.heartbeat_us > SILENT_DAEMON_US:
        healthy = ", though it counts as healthy" if daemon.healthy else ""
        yield f"{daemon.name}: its last heartbeat is {describe_us(now_us - daemon.heartbeat_us, 0)} old{healthy}"
    yield from (f"{daemon.name} fails: {error}" for error in daemon.errors[:1])


def _queued(reading: DeploymentReading) -> Iterator[Finding]:
    explained = explain_queue(reading)
    if not explained:
        return
    oldest = explained[0][0]
    waits_us = max(0, reading.at_us - oldest.since_us)
    held = group(((hold, run) for run, found in explained for hold in found), lambda pair: (pair[0].kind, pair[0].what))
    if waits_us <= _LONG_WAIT_US and all(kind in ("turn", "order") for kind, _ in held):
        return
    by_count = sorted(held.values(), key=len, reverse=True)
    of = "" if len(explained) == len(reading.queue.queued) else f" of {len(explained)} looked at"
    number = f"{counted(len(reading.queue.queued), 'run')}{' or more' if reading.queue.more else ''}"
    yield Finding(
        name="queued_now",
        what=f"{number} queued, the oldest{' of those read' if reading.queue.more else ''} for "
        f"{describe_us(waits_us, 0)}: run {oldest.run_id}, job {oldest.job}",
        sure=Surety.CERTAIN,
        remedy="Each line says what holds how many of them, who holds it, and how to free or raise it."
        if held
        else "What holds them is not known, because the webserver did not tell the limits.",
        evidence=tuple(
            f"{len(pairs):,}{of}: {describe(pairs[0][0], reading.at_us)}" for pairs in by_count[:_MOST_LINES]
        ),
        urgent=waits_us > _LONG_WAIT_US,
    )


def _queue_of(reading: DeploymentReading, run: QueuedRun) -> RunQueue:
    """Return the queue as it is for a run."""
    queue = reading.queue
    daemon = next((daemon for daemon in reading.daemons if daemon.name == _QUEUE_DAEMON), None)
    broken = next((one.error for one in reading.locations if one.name == run.location and one.state == "error"), "")
    return RunQueue(
        run=run,
        limits=queue.limits,
        now_us=reading.at_us,
        ahead=runs_ahead(run, queue.queued),
        in_progress=queue.in_progress,
        pools=queue.pools,
        heartbeat_us=daemon.heartbeat_us if daemon else None,
        has_heartbeats=daemon is not None,
        daemon_error=daemon.errors[0] if daemon and daemon.errors else "",
        unreachable=broken,
        interval_s=reading.settings.interval_s,
    )


def _leaked_slots(reading: DeploymentReading) -> Iterator[Finding]:
    leaked = [
        (pool, claim)
        for pool in reading.queue.pools.values()
        for claim in pool.claims
        if claim.status is None or claim.status in FINISHED
    ]
    if leaked:
        freed = reading.settings.free_slots_after_s
        after = f" It is set here, to {freed} s: see whether the daemon runs." if freed is not None else ""
        yield Finding(
            name="leaked_slots",
            what=f"{counted(len(leaked), 'slot')} of pools held by ended runs, and not freed",
            sure=Surety.CERTAIN,
            remedy=f"{FREE_SLOTS}{after}",
            apply=""
            if after
            else "run_monitoring:  # in dagster.yaml\n  enabled: true\n  free_slots_after_run_end_seconds: 60",
            evidence=tuple(
                f"pool {pool.name}: step {claim.step} of run {claim.run_id}, "
                + (f"which is {claim.status}" if claim.status else "which the instance does not have any more")
                for pool, claim in leaked[:_MOST_LINES]
            ),
            urgent=True,
        )


def _waiting_steps(reading: DeploymentReading) -> Iterator[Finding]:
    pools = reading.queue.pools.values()
    running = {run.run_id for run in reading.queue.in_progress}
    waiting = sorted({run_id for pool in pools for run_id, _ in pool.waiting} & running)
    lines = [
        f"run {run_id}: {describe(hold, reading.at_us)}" for run_id in waiting for hold in pool_waits(pools, run_id)
    ]
    if lines:
        yield Finding(
            name="waiting_steps",
            what=f"Steps of {counted(len(waiting), 'run')} in progress wait for slots of pools",
            sure=Surety.CERTAIN,
            remedy="Each line says who holds the slots, and how to raise the limit.",
            evidence=tuple(lines[:_MOST_LINES]),
        )


def _hanging(reading: DeploymentReading) -> Iterator[Finding]:
    changed_us = {one.run.run_id: one.run.updated_us for one in reading.runs}
    since_us = [
        (run, run.since_us if run.status is RunStatus.STARTING else changed_us.get(run.run_id, reading.at_us))
        for run in reading.queue.in_progress
        if run.status is not RunStatus.STARTED
    ]
    hanging = [(run, us) for run, us in since_us if reading.at_us - us > _HANGS_US]
    if hanging:
        yield Finding(
            name="hanging_runs",
            what=f"{counted(len(hanging), 'run')} starting or canceling for more than ten minutes",
            sure=Surety.LIKELY,
            remedy=END_DEAD_RUNS,
            evidence=tuple(
                f"run {run.run_id}, job {run.job} of {run.location}: {run.status} for "
                f"{describe_us(reading.at_us - us, 0)}"
                for run, us in hanging[:_MOST_LINES]
            ),
            urgent=True,
        )
