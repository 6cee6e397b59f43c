"""Opens the DuckDB file: waits for other processes and migrates older files.

DuckDB allows either one writing process or several reading ones, so connections are short and wait for each other.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
from tenacity import Retrying, retry_if_exception_message, stop_after_delay, wait_exponential

from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.results.schema import VERSION, migrate, read_version

CONNECTION_CONFIG: Mapping[str, Any] = {
    "threads": 2,
    "memory_limit": "512MB",
    # For new files: the format that every supported DuckDB version can read.
    "storage_compatibility_version": "v1.2.0",
}
"""DuckDB's default settings, chosen so that a harvest uses few resources."""

_HELD = "Could not set lock on file"
"""DuckDB's message when another process has the file open."""


class StoreError(UnusableError):
    """The results database cannot be used; the message names the file and tells what to do."""


@contextmanager
def open_database(
    path: Path, *, read_only: bool, lock_wait_s: float, config: Mapping[str, Any] = CONNECTION_CONFIG
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection to a results database, closed after the block; an older file is migrated first.

    Args:
        read_only: whether other readers may open the file at the same time; if False, a missing file is created.
        lock_wait_s: maximum seconds to wait for another process to close the file.
        config: DuckDB's settings.

    Raises:
        StoreError: nothing has been harvested yet (read-only), or the file is locked, damaged, or of a later version.
    """
    if read_only and not path.exists():
        raise StoreError(f"There are no results at {path} yet. Run a sweep: bench run quick")
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = _connect(path, read_only=read_only, lock_wait_s=lock_wait_s, config=config)
    try:
        version = _read_version(connection, path)
        if version < VERSION:
            if read_only and version == 0:
                raise StoreError(f"{path} cannot be used as a results database: it has no launches.")
            if read_only:
                connection.close()
                _bring_up_to_date(path, lock_wait_s, config)
                connection = _connect(path, read_only=True, lock_wait_s=lock_wait_s, config=config)
            else:
                _migrate(connection, path)
        yield connection
    finally:
        connection.close()


def _read_version(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    """Return the version of the file's tables; 0 if there are none.

    Raises:
        StoreError: the version is later than this release's.
    """
    try:
        version = read_version(connection)
    except duckdb.Error as error:
        raise StoreError(f"{path} cannot be used as a results database: {error}") from error
    if version > VERSION:
        raise StoreError(
            f"{path} was written by a later release of the bench: its version is {version}, and this release knows "
            f"versions up to {VERSION}. Upgrade dagster-bench, or use another results folder."
        )
    return version


def _bring_up_to_date(path: Path, lock_wait_s: float, config: Mapping[str, Any]) -> None:
    """Migrate a file before it is read."""
    try:
        with open_database(path, read_only=False, lock_wait_s=lock_wait_s, config=config):
            return
    except StoreError as error:
        raise StoreError(
            f"{path} was written by an earlier release of the bench and has to be migrated before it is read, which "
            f"needs write access. {error}"
        ) from error


def _migrate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    try:
        migrate(connection)
    except duckdb.Error as error:
        raise StoreError(f"{path} cannot be used as a results database: {error}") from error


def _connect(
    path: Path, *, read_only: bool, lock_wait_s: float, config: Mapping[str, Any]
) -> duckdb.DuckDBPyConnection:
    """Connect once no other process has the file open; raise any other error at once."""
    again = Retrying(
        retry=retry_if_exception_message(match=f"(?s).*{_HELD}"),
        stop=stop_after_delay(lock_wait_s),
        wait=wait_exponential(0.05, max=1.0),
        reraise=True,
    )
    try:
        return again(duckdb.connect, path, read_only=read_only, config=dict(config))
    except duckdb.Error as error:
        if _HELD not in str(error):
            raise StoreError(f"{path} cannot be opened: {error}") from error
        raise StoreError(
            f"Another process has held {path} for {lock_wait_s:g} s; close it and try again. DuckDB says: {error}"
        ) from error
