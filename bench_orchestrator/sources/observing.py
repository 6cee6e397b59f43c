"""Observe finished runs of an instance: each run once, in the order in which they last changed.

The position in that order is a time. Clocks differ between processes, and a change may be written late. Each look
therefore begins `OVERLAP_US` before that position and skips the runs that were seen already.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from dagster import DagsterInstance

from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.observed import FinishedRun, Observation, Observed, Progress, Selection
from bench_orchestrator.model.runs import Run
from bench_orchestrator.model.tags import PARTITION_TAG
from bench_orchestrator.model.text import legible
from bench_orchestrator.sources.finished import find_gaps, finished_since
from bench_orchestrator.sources.instance import find_requests, find_runs, read_run_logs
from bench_orchestrator.sources.storage import UNREADABLE
from bench_orchestrator.timeline.launches import launch_of_run
from bench_orchestrator.timeline.run_log import START_TYPES

OVERLAP_US = 2 * 3_600 * MICROSECONDS
"""How late a change may come: an hour for clocks and waits, and the hour that clocks are put back once a year, where a
PostgreSQL server's time zone is not UTC: Dagster's times are in that zone."""

AT_ONCE = 500
"""Runs that are read and saved together, which bounds memory and what a kill costs."""


def is_any_to_observe(instance: DagsterInstance, progress: Progress, selection: Selection) -> bool:
    """Return whether a selected run has finished that is not observed; True if there are many others."""
    unknown = list(islice(_look(instance, progress), AT_ONCE))
    runs, _ = _find(instance, [one.run_id for one in unknown])
    return len(unknown) == AT_ONCE or any(map(selection.takes, runs.values()))


def observe(instance: DagsterInstance, progress: Progress, selection: Selection) -> Iterator[Observation]:
    """Yield the finished runs that are not observed yet, some at a time; the consumer saves them, and may stop.

    After an observation is saved, observing goes on from there, also in another process.
    """
    until_us, newest_id = _place_us(progress), progress.newest_id
    unknown = _look(instance, progress)
    while looked_at := tuple(islice(unknown, AT_ONCE)):
        runs, unreadable = _find(instance, [one.run_id for one in looked_at])
        observed = _read(instance, [run for run in runs.values() if run.finished and selection.takes(run)])
        # Of those that are deleted meanwhile, the later ones leave gaps.
        gone = {one.storage_id for one in looked_at if one.run_id not in runs and one.run_id not in unreadable}
        counted = {storage_id for storage_id in gone if newest_id is None or storage_id <= newest_id}
        newest_id, deleted = find_gaps(instance, newest_id)
        # A clock that is ahead does not carry the place with it.
        until_us = max(until_us, min(looked_at[-1].updated_us, now_us()))
        yield Observation(
            looked_at,
            observed,
            until_us,
            newest_id,
            len(counted) + deleted,
            unreadable,
            forget_us=_beginning_us(until_us),
        )


def _look(instance: DagsterInstance, progress: Progress) -> Iterator[FinishedRun]:
    """Yield the finished runs that were not looked at in their present state."""
    for run in finished_since(instance, _beginning_us(_place_us(progress))):
        if (legible(run.run_id), run.updated_us) not in progress.recent:
            yield run


def _place_us(progress: Progress) -> int:
    """Return the place to go on from: not in the future, where a clock may have been that has been set right since."""
    return min(progress.until_us, now_us())


def _beginning_us(place_us: int) -> int:
    return max(0, place_us - OVERLAP_US)


def _find(instance: DagsterInstance, run_ids: Sequence[str]) -> tuple[dict[str, Run], tuple[str, ...]]:
    """Return the runs by id, and the ids of those whose records Dagster cannot read: they hold up no other."""
    if not run_ids:
        return {}, ()
    try:
        return {run.run_id: run for run in find_runs(instance, {}, run_ids=run_ids)}, ()
    except UNREADABLE:
        if len(run_ids) == 1:
            return {}, tuple(run_ids)
        middle = len(run_ids) // 2
        (some, bad), (others, also_bad) = (_find(instance, half) for half in (run_ids[:middle], run_ids[middle:]))
        return some | others, bad + also_bad


def _read(instance: DagsterInstance, runs: list[Run]) -> tuple[Observed, ...]:
    logs = read_run_logs(instance, [run.run_id for run in runs], START_TYPES)
    requests = find_requests(instance, runs)
    return tuple(
        Observed(
            location=run.location,
            job=run.job,
            partition_key=run.tags.get(PARTITION_TAG),
            updated_us=run.updated_us,
            launch=launch_of_run(run, logs[run.run_id], requests[run.run_id]),
        )
        for run in runs
    )
