"""Runs that are recorded as finished at any time, without a log, as any process may have written them."""

import uuid
from collections.abc import Mapping

import dagster as dg
import sqlalchemy as sa
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable

from bench_orchestrator.model.instants import us_datetime
from bench_orchestrator.model.runs import RunStatus

NOON_US = 1_700_049_600_000_000
"""An instant long ago."""


def add_run(
    instance: dg.DagsterInstance,
    updated_us: int = NOON_US,
    *,
    status: RunStatus = RunStatus.SUCCESS,
    location: str = "sales",
    tags: Mapping[str, str] | None = None,
) -> str:
    """Record a run of a location that last changed at an instant; return its id."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")
    run = dg.DagsterRun(
        "nightly",
        str(uuid.uuid4()),
        tags={str(key): value for key, value in (tags or {}).items()},
        status=dg.DagsterRunStatus(status),
        remote_job_origin=RemoteJobOrigin(repository, "nightly") if location else None,
    )
    instance.run_storage.add_run(run)
    change_run(instance, run.run_id, updated_us, status)
    return run.run_id


def change_run(
    instance: dg.DagsterInstance, run_id: str, updated_us: int, status: RunStatus = RunStatus.SUCCESS
) -> None:
    """Change a run's status, as a process whose clock says so does."""
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    values = {"update_timestamp": us_datetime(updated_us).replace(tzinfo=None), "status": status.value}
    with storage.connect() as connection:
        connection.execute(sa.update(RunsTable).where(RunsTable.c.run_id == run_id).values(**values))
