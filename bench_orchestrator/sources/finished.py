"""Finished runs of an instance in the order in which they last changed: some at a time, however many there are.

Dagster's index of runs by status and update time gives that order for one status, so each page costs what it holds.
Dagster's public query reads the whole record of every run, which a look at runs that are known already does not need;
`tests/sources/test_finished.py` pins the private API used here.
"""

from collections.abc import Iterator
from datetime import UTC
from heapq import merge

import sqlalchemy as sa
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable

from bench_orchestrator.model.instants import datetime_us, us_datetime
from bench_orchestrator.model.observed import FinishedRun
from bench_orchestrator.model.runs import FINISHED, RunStatus
from bench_orchestrator.sources.storage import patient

_PAGE = 1_000


def finished_since(instance: DagsterInstance, since_us: int) -> Iterator[FinishedRun]:
    """Yield the finished runs that last changed after an instant, in that order, and page by page.

    A run that changes meanwhile may be yielded again, with its later change.
    """
    return merge(*(_of_status(instance, status, since_us) for status in FINISHED))


def _of_status(instance: DagsterInstance, status: RunStatus, since_us: int) -> Iterator[FinishedRun]:
    """Yield the runs of one status. The next page begins with the last instant of this one, which others may share."""
    size, yielded = _PAGE, frozenset[FinishedRun]()
    while True:
        page = _read_page(instance, status, since_us, size)
        yield from sorted(run for run in page if run not in yielded)
        if len(page) < size:
            return
        last_us = max(run.updated_us for run in page)
        # A page of one instant alone leads no further: only a larger one does.
        size = 2 * size if last_us == since_us + 1 else _PAGE
        since_us, yielded = last_us - 1, frozenset(run for run in page if run.updated_us == last_us)


@patient
def _read_page(instance: DagsterInstance, status: RunStatus, since_us: int, limit: int) -> list[FinishedRun]:
    storage, since = instance.run_storage, us_datetime(since_us)
    if not isinstance(storage, SqlRunStorage):
        records = instance.get_run_records(
            RunsFilter(statuses=[DagsterRunStatus(status)], updated_after=since),
            limit=limit,
            order_by="update_timestamp",
            ascending=True,
        )
        return [
            FinishedRun(datetime_us(record.update_timestamp), record.storage_id, record.dagster_run.run_id)
            for record in records
        ]
    updated = RunsTable.c.update_timestamp
    query = (
        sa.select(updated, RunsTable.c.id, RunsTable.c.run_id)
        .where(RunsTable.c.status == status.value)
        .where(updated > since.replace(tzinfo=None))
        .order_by(updated)
        .limit(limit)
    )
    with storage.connect() as connection:
        return [
            FinishedRun(datetime_us(row.update_timestamp.replace(tzinfo=UTC)), row.id, row.run_id)
            for row in connection.execute(query)
        ]


@patient
def find_gaps(instance: DagsterInstance, after_id: int | None) -> tuple[int | None, int]:
    """Return the latest storage id, and how many ids between an earlier one and it have no run: those were deleted.

    Without an earlier id, there are none. An insert that PostgreSQL refused counts, too. None and 0 if the runs are in
    no database.
    """
    storage, id_ = instance.run_storage, RunsTable.c.id
    if not isinstance(storage, SqlRunStorage):
        return None, 0
    with storage.connect() as connection:
        if after_id is None:
            return connection.scalar(sa.select(sa.func.max(id_))), 0
        latest, left = connection.execute(sa.select(sa.func.max(id_), sa.func.count(id_)).where(id_ > after_id)).one()
    return (after_id, 0) if latest is None else (latest, latest - after_id - left)


@patient
def id_of(instance: DagsterInstance) -> str:
    """Return what tells the runs of this instance from those of another; empty if they are in no database."""
    storage = instance.run_storage
    return storage.get_run_storage_id() if isinstance(storage, SqlRunStorage) else ""
