"""How a storage tells that runs were queued, have ended, or have left room in a pool. Only the daemon imports this.

SQLite counts the changes of a database. PostgreSQL sends a notification for each event that Dagster stores. Like
`internals`, this module uses Dagster's private API, which contract tests pin.
"""

import logging
import os
import select
import socket
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from threading import Event
from typing import Any, Protocol

import dagster as dg
import sqlalchemy
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable, SqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage

_POLL_S = 0.04
"""How often SQLite's count is read, which opens nothing."""
_GATHER_S = 0.02
"""For how long notifications are gathered before their events are looked up, so that a flood of them costs little."""
_SETTLE_S = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0)
"""When to look again after an event: Dagster changes the run, or frees the slot, after it has stored the event."""
_PROBE_S = 5.0
"""How long a first notification may take."""
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPALIVE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""The socket options by which a silent connection is kept, or known to be lost, on Linux and macOS."""

_RUN_EVENTS = [
    dg.DagsterEventType.RUN_ENQUEUED,
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_CANCELED,
]
_STEP_EVENTS = [
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_SKIPPED,
    dg.DagsterEventType.STEP_UP_FOR_RETRY,
]


class StorageChanges(Protocol):
    """The changes of a storage, for one thread."""

    def wait(self, shutdown_event: Event, timeout_s: float, with_pools: bool) -> bool:
        """Wait for a change of the queue, or with pools, of their slots; return whether there may have been one."""
        ...


@contextmanager
def changes_of(instance: dg.DagsterInstance, logger: logging.Logger) -> Iterator[StorageChanges | None]:
    """Yield the changes of an instance's storage; None if it does not tell them.

    Args:
        logger: is told of lost connections.
    """
    runs, events = instance.run_storage, instance.event_log_storage
    with ExitStack() as stack:
        if isinstance(runs, SqliteRunStorage):
            path = sqlalchemy.make_url(runs._conn_string).database
            assert path is not None
            shard = events.path_for_shard("index") if isinstance(events, SqliteEventLogStorage) else None
            yield SqliteChanges(_Counter(stack, path), _Counter(stack, shard) if shard else None)
        elif isinstance(events, SqlEventLogStorage) and (channel := _channel_of(events)):
            notifications = PostgresChanges(events, channel, stack, logger)
            yield notifications if notifications.arrive() else None
        else:
            yield None


def _channel_of(storage: SqlEventLogStorage) -> str | None:
    """Return the channel to which this storage sends its notifications, if it does."""
    try:
        from dagster_postgres.event_log.event_log import CHANNEL_NAME, PostgresEventLogStorage
    except ImportError:
        return None
    return CHANNEL_NAME if isinstance(storage, PostgresEventLogStorage) else None


class _Counter:
    """SQLite's count of the changes that others have committed to a database."""

    def __init__(self, stack: ExitStack, path: str) -> None:
        self._connection = stack.enter_context(closing(sqlite3.connect(path, timeout=0, isolation_level=None)))
        self._known = self._count()

    def has_grown(self) -> bool:
        """Return whether the database has changed since this was last asked."""
        before, self._known = self._known, self._count()
        return before != self._known

    def _count(self) -> int:
        count: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return count


class SqliteChanges:
    """The changes of SQLite databases."""

    def __init__(self, runs: _Counter, pools: _Counter | None) -> None:
        self._runs = runs
        self._pools = pools

    def wait(self, shutdown_event: Event, timeout_s: float, with_pools: bool) -> bool:
        """Wait for any change of the database with the runs, or with the pools."""
        counters = [self._runs, self._pools] if with_pools and self._pools else [self._runs]
        deadline_s = time.monotonic() + timeout_s
        while True:
            if any(counter.has_grown() for counter in counters):
                return True
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or shutdown_event.is_set():
                return False
            time.sleep(min(left_s, _POLL_S))  # takes less CPU than to wait for the event


class PostgresChanges:
    """The events that dagster-postgres tells of, with a connection that listens."""

    def __init__(self, storage: SqlEventLogStorage, channel: str, stack: ExitStack, logger: logging.Logger) -> None:
        self._storage = storage
        self._channel = channel
        self._probe = f"dagster_warm_{uuid.uuid4().hex}"
        self._logger = logger
        self._open = stack.enter_context(ExitStack())
        self._looks_s: list[float] = []
        """When to look again, on the monotonic clock, latest first."""
        self._connect()

    def _connect(self) -> None:
        self._open.close()
        self._connection = self._open.enter_context(self._storage.index_connection())
        driver: Any = self._connection.dialect.dbapi
        self._errors = sqlalchemy.exc.DBAPIError, driver.Error
        self._connection.execute(sqlalchemy.text(f"LISTEN {self._channel}; LISTEN {self._probe}"))
        _keep_alive(self._driver.fileno())

    @property
    def _driver(self) -> Any:
        """psycopg2's connection."""
        return self._connection.connection.driver_connection

    def arrive(self) -> bool:
        """Return whether notifications arrive; through some connection poolers they do not."""
        with self._storage.index_connection() as other:
            other.execute(sqlalchemy.text(f"NOTIFY {self._probe}"))
        deadline_s = time.monotonic() + _PROBE_S
        while self._hears(deadline_s - time.monotonic()):
            if self._probe in (channel for channel, _ in self._receive()):
                return True
        self._connection.execute(sqlalchemy.text("UNLISTEN *"))  # a pooler keeps the session for others
        return False

    def wait(self, shutdown_event: Event, timeout_s: float, with_pools: bool) -> bool:
        """Wait for an event that changes the queue, or the time to look again after one."""
        try:
            return self._wait(shutdown_event, timeout_s, with_pools)
        except self._errors as error:
            self._logger.warning("The connection that tells the run queue's changes is opened again: %s", error)
            self._connection.invalidate()
            self._connect()
            return True

    def _wait(self, shutdown_event: Event, timeout_s: float, with_pools: bool) -> bool:
        until_look_s = self._looks_s[-1] - time.monotonic() if self._looks_s else timeout_s
        if self._hears(min(timeout_s, until_look_s)):
            shutdown_event.wait(_GATHER_S)
            if self._receives_any(_RUN_EVENTS + _STEP_EVENTS if with_pools else _RUN_EVENTS):
                now_s = time.monotonic()
                self._looks_s = [now_s + pause_s for pause_s in reversed(_SETTLE_S)]
                return True
        if self._looks_s and self._looks_s[-1] <= time.monotonic():
            self._looks_s.pop()
            return True
        return False

    def _hears(self, timeout_s: float) -> bool:
        """Wait for data; return whether there is any. The driver may hold some that came with an answer."""
        if self._driver.notifies:
            return True
        poll = select.poll()
        poll.register(self._driver, select.POLLIN)
        return bool(poll.poll(1_000 * max(timeout_s, 0)))

    def _receive(self) -> list[tuple[str, str]]:
        """Return the channels and payloads of all notifications that have arrived."""
        self._driver.poll()
        received = [(one.channel, one.payload) for one in self._driver.notifies]
        del self._driver.notifies[:]
        return received

    def _receives_any(self, kinds: list[dg.DagsterEventType]) -> bool:
        """Return whether any of the notifications is about an event of these types."""
        payloads = [payload for channel, payload in self._receive() if channel == self._channel]
        ids = [int(event_id) for payload in payloads if (event_id := payload.rpartition("_")[2]).isdigit()]
        if not ids:
            return False
        events = SqlEventLogStorageTable.c
        of_interest = events.dagster_event_type.in_([kind.value for kind in kinds])
        query = sqlalchemy.select(events.id).where(events.id.between(min(ids), max(ids)), of_interest).limit(1)
        return self._connection.execute(query).first() is not None


def _keep_alive(descriptor: int) -> None:
    """Have the kernel try a silent TCP connection, whose loss would otherwise remain unnoticed."""
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        if connection.family == socket.AF_UNIX:
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
