"""What Dagster does again in each process, and a template does once for those that it forks.

Like `internals`, it uses Dagster's private API, which contract tests pin.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from multiprocessing import synchronize
from types import SimpleNamespace
from typing import Any

import dagster as dg
import dagster._utils
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.execution import compute_logs
from dagster._core.instance import InstanceRef, factory
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from dagster._core.storage.sql import ALEMBIC_SCRIPTS_LOCATION
from sqlalchemy import create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from dagster_warm.safety import find_hazards


def hold_instance(instance_ref: InstanceRef) -> None:
    """Open the instance, and make each process forked from this one use it the first time that it opens the same one.

    Its storages are constructed and have checked their schema. An instance that keeps a connection or a thread is
    disposed of: those do not survive a fork.
    """
    import_module(instance_ref.compute_logs_data.module_name)  # each step imports it
    known = set(find_hazards())
    instance = dg.DagsterInstance.from_ref(instance_ref)
    instance.get_runs(limit=1)
    instance.event_log_storage.get_event_records  # noqa: B018 - constructs the storage
    instance.schedule_storage  # noqa: B018
    if not known.issuperset(find_hazards()):
        instance.dispose()
        return
    held = [instance]
    create = factory.create_instance_from_ref

    @wraps(create)
    def find(wanted: InstanceRef) -> dg.DagsterInstance:
        # Once: who opens an instance also disposes of it.
        return held.pop() if held and wanted == instance_ref else create(wanted)

    factory.create_instance_from_ref = find  # type: ignore[assignment]


def keep_engines() -> None:
    """Keep the engines of Dagster's SQLite storages, which make one for each query and compile each statement anew.

    An engine holds no connection, so a forked process may use it.
    """
    kept: dict[str, Engine] = {}

    @wraps(create_engine)
    def find(url: str, **options: Any) -> Engine:
        if options.get("poolclass") is not NullPool:
            return create_engine(url, **options)
        name = f"{url} {sorted(options.get('connect_args', {}).items())}"
        if name not in kept:
            kept[name] = create_engine(url, **options)
        return kept[name]

    for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        module.create_engine = find  # type: ignore[attr-defined]


def name_event_type() -> None:
    """Have Dagster learn the type of a `multiprocessing` event without making one.

    Each run worker and each step process makes one for that, and with it starts Python's resource tracker, an
    interpreter of its own.
    """
    # Dagster uses no other part of the module there.
    untouched = object.__new__(synchronize.Event)
    dagster._utils.multiprocessing = SimpleNamespace(Event=lambda: untouched)  # type: ignore[assignment,attr-defined]


def let_tail_watch() -> None:
    """Have the `tail` that mirrors captured output end with its process by itself.

    Dagster starts a Python interpreter per stream that watches for the end. Where `tail` cannot, nothing changes.
    """
    if not _tail_can_watch():
        return

    @contextmanager
    def execute_tail(path: str, stream: Any) -> Iterator[tuple[int, None]]:
        command = ["tail", f"--pid={os.getpid()}", "-F", "-c", "+0", path]
        has_descriptor = compute_logs._fileno(stream)  # type: ignore[no-untyped-call]
        tail = subprocess.Popen(command, stdout=stream if has_descriptor else None)
        try:
            yield tail.pid, None
        finally:
            time.sleep(float(os.getenv("DAGSTER_COMPUTE_LOG_TAIL_WAIT_AFTER_FINISH", "0")))
            tail.kill()  # it may have inherited that SIGTERM is ignored
            tail.wait()

    compute_logs.execute_posix_tail = execute_tail


def _tail_can_watch() -> bool:
    try:
        return not subprocess.run(["tail", "--pid=1", os.devnull], check=False, capture_output=True).returncode
    except OSError:
        return False


def keep_migrations() -> None:
    """Cache Dagster's migration scripts, which every storage otherwise reads again to check its schema."""
    read = ScriptDirectory.from_config
    kept: dict[str, ScriptDirectory] = {}

    def from_config(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location != ALEMBIC_SCRIPTS_LOCATION:
            return read(config)
        if location not in kept:
            kept[location] = read(config)
        return kept[location]

    ScriptDirectory.from_config = from_config  # type: ignore[method-assign]
