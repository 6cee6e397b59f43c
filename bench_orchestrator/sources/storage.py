"""Access to Dagster's storage: retries while it is unavailable, and many runs per query where possible.

SQLite keeps each run's events in a separate file. Other storages have one table of all events, but Dagster has no
public query for several runs, nor for runs by the beginning of their id, and it stores and deletes one run at a time;
`tests/sources/test_storage.py` pins the private API used here.
"""

import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import wraps
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from dagster import DagsterEventLogInvalidForRun, DagsterEventType, DagsterInstance, DagsterRunStatus, EventLogEntry
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable, SqliteEventLogStorage
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._serdes import serialize_value
from dagster_shared.serdes import deserialize_values
from dagster_shared.serdes.errors import DeserializationError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from bench_orchestrator.model.errors import UnusableError, one_line
from bench_orchestrator.model.urls import shown_url

PATIENCE_S = 60.0
"""Seconds of retries while a storage is unavailable; a restart of PostgreSQL takes a few."""

_RETRY_S = 1.0
_GAVE_UP = "DagsterPostgresException"
"""The exception of dagster-postgres after several failed connection attempts. It is matched by name, because importing
the library would cost each process of the meta location 0.1 s, even with SQLite."""
_BUSY_S = 20.0
"""Seconds to wait while another process writes to a file."""
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""The codes of a file that is no database, or has no table of events."""
_PAGE = 1_000
_RUNS_AT_ONCE = 25
"""Maximum number of runs whose events are in memory together."""

UNREADABLE = (ValueError, DeserializationError)
"""What Dagster raises for a record that it cannot deserialize."""

_Read = TypeVar("_Read", bound=Callable[..., Any])


class StorageError(UnusableError):
    """Dagster's storage cannot be read; the message names the database."""


def patient(read: _Read) -> _Read:
    """Decorate a function that reads from an instance: retry for a minute while the database is unavailable.

    After that, the function raises StorageError.
    """

    @wraps(read)
    def patiently(instance: DagsterInstance, *args: Any, **kwargs: Any) -> Any:
        again = Retrying(
            retry=retry_if_exception(_is_away),
            stop=stop_after_delay(PATIENCE_S),
            wait=wait_fixed(_RETRY_S),
            reraise=True,
        )
        try:
            return again(read, instance, *args, **kwargs)
        except Exception as error:
            if not _is_away(error):
                raise
            cause = error.__cause__ if _gave_up(error) else error
            reason = one_line(str(getattr(cause, "orig", None) or cause or error))
            raise StorageError(f"{describe_storage(instance)} cannot be used: {reason}") from error

    return cast(_Read, patiently)


def _is_away(error: BaseException) -> bool:
    """Return whether an error means that the database is unavailable or closed the connection."""
    return _gave_up(error) or isinstance(
        error, (sa.exc.OperationalError, sa.exc.InterfaceError, sqlite3.OperationalError)
    )


def _gave_up(error: BaseException) -> bool:
    return type(error).__name__ == _GAVE_UP


def describe_storage(instance: DagsterInstance) -> str:
    """Return a description of an instance's event storage, without the credentials."""
    storage = instance.event_log_storage
    if url := getattr(storage, "postgres_url", None):
        return f"The PostgreSQL database {shown_url(url)}"
    return f"The {type(storage).__name__} of {instance.root_directory}"


def entries_of_run(
    instance: DagsterInstance, run_id: str, types: frozenset[DagsterEventType]
) -> Iterator[EventLogEntry]:
    """Yield the events of these types in one run's log, in order."""
    cursor: str | None = None
    while True:
        page = instance.get_records_for_run(run_id, cursor=cursor, of_type=set(types), limit=_PAGE)
        for record in page.records:
            yield record.event_log_entry
        cursor = page.cursor
        if not page.has_more:
            return


def entries_of_runs(
    instance: DagsterInstance, run_ids: Sequence[str], types: frozenset[DagsterEventType]
) -> Iterator[tuple[str, Iterator[EventLogEntry]]]:
    """Yield (run id, events) for several runs, with one query for many runs where possible.

    Consume a run's events before advancing to the next run. Runs without events may be left out. A damaged event ends
    its run's events with DagsterEventLogInvalidForRun.
    """
    storage, unique = instance.event_log_storage, list(dict.fromkeys(run_ids))
    if isinstance(storage, SqliteEventLogStorage):
        for run_id in unique:
            yield run_id, _entries_of_file(Path(storage.path_for_shard(run_id)), run_id, types)
        return
    if not isinstance(storage, SqlEventLogStorage):
        for run_id in unique:
            yield run_id, entries_of_run(instance, run_id, types)
        return
    table = SqlEventLogStorageTable.c
    for first in range(0, len(unique), _RUNS_AT_ONCE):
        query = (
            sa.select(table.run_id, table.event)
            .where(table.run_id.in_(unique[first : first + _RUNS_AT_ONCE]))
            .where(table.dagster_event_type.in_([kind.value for kind in types]))
            .order_by(table.run_id, table.id)
        )
        with storage.index_connection() as connection:
            for run_id, group in groupby(connection.execute(query), key=lambda row: str(row.run_id)):
                yield run_id, _read_entries(run_id, (row.event for row in group))


def _entries_of_file(path: Path, run_id: str, types: frozenset[DagsterEventType]) -> Iterator[EventLogEntry]:
    """Yield the events of a run that has a file of its own.

    Dagster compares the file's schema with its migrations first, which takes longer than to read the events, and it
    makes the file of a run that has been deleted.
    """
    if not path.exists():
        return
    kinds = [kind.value for kind in types]
    query = (
        f"SELECT event FROM event_logs WHERE run_id = ? AND dagster_event_type IN ({', '.join('?' * len(kinds))}) "
        "ORDER BY id"
    )
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=_BUSY_S)) as connection:
            yield from _read_entries(run_id, (text for (text,) in connection.execute(query, [run_id, *kinds])))
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in _DAMAGED:
            raise
        raise DagsterEventLogInvalidForRun(run_id=run_id) from error  # type: ignore[no-untyped-call]


def run_ids_beginning_with(instance: DagsterInstance, prefix: str, limit: int) -> list[str]:
    """Return the ids of at most `limit` runs with this prefix, however many runs there are, in bounded memory."""
    storage = instance.run_storage
    if isinstance(storage, SqlRunStorage):
        # Unlike LIKE, exact in every database, and no character of the prefix is a wildcard.
        matches = sa.func.substr(RunsTable.c.run_id, 1, len(prefix)) == prefix
        with storage.connect() as connection:
            return list(connection.scalars(sa.select(RunsTable.c.run_id).where(matches).limit(limit)))
    found: list[str] = []
    cursor: str | None = None
    while len(found) < limit:
        page = instance.get_run_ids(cursor=cursor, limit=_PAGE)
        found += [run_id for run_id in page if run_id.startswith(prefix)]
        if len(page) < _PAGE:
            break
        cursor = page[-1]
    return found[:limit]


def store_queued_copies(instance: DagsterInstance, run_id: str, count: int, tags: Mapping[str, str]) -> None:
    """Store queued copies of a run, without events, in seconds for thousands.

    Args:
        tags: in addition to the run's own, or in their place.
    """
    original, storage = instance.get_run_by_id(run_id), _sql_runs(instance)
    assert original is not None
    run = original._replace(status=DagsterRunStatus.QUEUED, tags={**original.tags, **tags})
    for first in range(0, count, _PAGE):
        copies = [run._replace(run_id=str(uuid.uuid4())) for _ in range(first, min(first + _PAGE, count))]
        with storage.connect() as connection:
            connection.execute(
                sa.insert(RunsTable),
                [
                    {
                        "run_id": copy.run_id,
                        "snapshot_id": copy.job_snapshot_id,
                        "pipeline_name": copy.job_name,
                        "status": copy.status.value,
                        "run_body": serialize_value(copy),
                    }
                    for copy in copies
                ],
            )
            of_runs = [
                {"run_id": copy.run_id, "key": key, "value": value}
                for copy in copies
                for key, value in copy.tags_for_storage().items()
            ]
            connection.execute(sa.insert(RunTagsTable), of_runs)


def delete_runs(instance: DagsterInstance, run_ids: Sequence[str]) -> None:
    """Delete runs that have no events, in seconds for thousands."""
    for first in range(0, len(run_ids), _PAGE):
        page = run_ids[first : first + _PAGE]
        with _sql_runs(instance).connect() as connection:
            connection.execute(sa.delete(RunTagsTable).where(RunTagsTable.c.run_id.in_(page)))
            connection.execute(sa.delete(RunsTable).where(RunsTable.c.run_id.in_(page)))


def _sql_runs(instance: DagsterInstance) -> SqlRunStorage:
    """Return the run storage of a deployment that a sweep has started: it is a database."""
    assert isinstance(instance.run_storage, SqlRunStorage)
    return instance.run_storage


def _read_entries(run_id: str, texts: Iterable[str]) -> Iterator[EventLogEntry]:
    """Read stored events, many at a time. Raises what Dagster's own queries raise if one is damaged."""
    left = iter(texts)
    try:
        while page := list(islice(left, _PAGE)):
            yield from deserialize_values(page, EventLogEntry)
    except UNREADABLE as error:
        raise DagsterEventLogInvalidForRun(run_id=run_id) from error  # type: ignore[no-untyped-call]
