"""The results database: a DuckDB file with every harvested sweep, and a row for each launch and each observed run.

A sweep is written in one transaction, so readers see all of it or nothing; observed runs are, with the progress. All
texts are made legible: ids and names with invisible characters are found under their escapes.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb
from pydantic import TypeAdapter

from bench_orchestrator import settings
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.observed import Observation, Progress
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.text import legible, legible_data
from bench_orchestrator.results.database import CONNECTION_CONFIG, StoreError, open_database
from bench_orchestrator.results.rows import COLUMNS, OBSERVED_COLUMNS, Row, launch_rows, observed_row, read_trial
from bench_orchestrator.results.schema import describe_contents, read_sql

_PLAN = TypeAdapter(SweepPlan)

_BATCH = 500
"""Rows per write or read, to bound memory."""

_STRUCTURE = json.dumps([{column.name: column.sql_type for column in COLUMNS} | {"launch": "BIGINT"}])
_OBSERVED_STRUCTURE = json.dumps([{column.name: column.sql_type for column in OBSERVED_COLUMNS}])


class UnknownSweepError(StoreError):
    """The results database has no such sweep."""


@dataclass(frozen=True)
class SweepSummary:
    """An entry of the list of sweeps."""

    sweep_id: str
    scenario: str
    created_us: int
    status: str
    trials: int
    ok: int
    locations: list[str]


@dataclass(frozen=True)
class Store:
    """The results database at a path; the file is opened only on use."""

    path: Path
    lock_wait_s: float = field(default_factory=settings.lock_wait_s)
    """Maximum seconds to wait for another process to close the file."""
    config: Mapping[str, Any] = field(default_factory=lambda: CONNECTION_CONFIG)
    """DuckDB's settings."""

    @classmethod
    def in_directory(cls, directory: Path) -> "Store":
        """Return the results database of a results folder."""
        return cls(directory / "bench.duckdb")

    def save(self, sweep: Sweep) -> None:
        """Write a sweep and its trials in one transaction, replacing their earlier rows.

        Raises:
            StoreError: another process keeps the file open for too long, or the file is not a results database.
        """
        with self._connect(read_only=False) as connection:
            connection.execute("BEGIN")
            connection.execute(
                read_sql("upsert_sweep"),
                {
                    "sweep_id": legible(sweep.plan.sweep_id),
                    "scenario": legible(sweep.plan.scenario),
                    "created_us": sweep.plan.created_us,
                    "status": legible(sweep.status),
                    "environment": json.dumps(legible_data(sweep.plan.environment)),
                    "plan": json.dumps(legible_data(_PLAN.dump_python(sweep.plan))),
                },
            )
            rows = _positioned(sweep)
            while batch := list(islice(rows, _BATCH)):
                connection.execute(read_sql("upsert_launches"), {"rows": json.dumps(batch), "structure": _STRUCTURE})
            describe_contents(connection, [legible(sweep.plan.sweep_id)])
            connection.execute("COMMIT")

    def save_observed(self, instance_id: str, observation: Observation) -> None:
        """Write observed runs and the progress in one transaction, replacing earlier rows of these runs.

        Args:
            instance_id: identifies the Dagster instance; several may have their results in one file.

        Raises:
            StoreError: as `save`.
        """
        whose = {"instance": legible(instance_id)}
        looked_at = observation.looked_at
        with self._connect(read_only=False) as connection:
            connection.execute("BEGIN")
            rows = iter(observation.observed)
            while batch := [observed_row(one) for one in islice(rows, _BATCH)]:
                written = {"rows": json.dumps(batch), "structure": _OBSERVED_STRUCTURE}
                connection.execute(read_sql("upsert_observed"), written)
            recent = {
                "run_ids": [legible(run.run_id) for run in looked_at],
                "updated_us": [run.updated_us for run in looked_at],
            }
            connection.execute(read_sql("remember_recent"), whose | recent)
            connection.execute(read_sql("forget_recent"), whose | {"forget_us": observation.forget_us})
            moved = {name: getattr(observation, name) for name in ("until_us", "newest_id", "deleted")}
            connection.execute(read_sql("move_progress"), whose | moved)
            connection.execute("COMMIT")

    def observation_progress(self, instance_id: str) -> Progress:
        """Return how far the runs of a Dagster instance have been observed.

        Raises:
            StoreError: the file cannot be read.
        """
        if not self.path.exists():
            return Progress()
        whose = {"instance": legible(instance_id)}
        with self._connect(read_only=True) as connection:
            found = connection.execute(read_sql("observation_progress"), whose).fetchone()
            recent = connection.execute(read_sql("observed_recently"), whose).fetchall()
        if found is None:
            return Progress()
        until_us, newest_id, deleted = found
        return Progress(until_us, newest_id, deleted, frozenset(recent))

    def load(self, sweep_id: str) -> Sweep:
        """Return a sweep with its trials in order.

        Raises:
            UnknownSweepError: there is no sweep with this id.
            StoreError: the file cannot be read.
        """
        with self._connect(read_only=True) as connection:
            return self._load(connection, sweep_id)

    def load_selected(self, query: str, **parameters: Any) -> list[Sweep]:
        """Return the sweeps whose ids a query of `sql/` selects, in its order; empty if nothing has been harvested yet.

        The file is opened once: that costs about ten times as much CPU as to load a small sweep.

        Raises:
            StoreError: the file cannot be read.
        """
        if not self.path.exists():
            return []
        with self._connect(read_only=True) as connection:
            found = connection.execute(read_sql(query), parameters).fetchall()
            return [self._load(connection, sweep_id) for (sweep_id,) in found]

    def list_sweeps(self, sweep_ids: Iterable[str] | None = None) -> list[SweepSummary]:
        """Return all sweeps, or those with these ids, latest first; empty if nothing has been harvested yet."""
        ids = None if sweep_ids is None else list(sweep_ids)
        return [SweepSummary(*row) for row in self.select("list_sweeps", sweep_ids=ids)]

    def find_runs(self, prefixes: Iterable[str]) -> dict[str, str]:
        """Return the runs whose ids begin with a prefix, each with its sweep; empty before the first harvest."""
        return dict(self.select("find_runs", prefixes=list(prefixes)))

    def count_launches(self) -> int:
        """Return the number of rows of `launch_measurements`."""
        rows = self.select("count_launches")
        return int(rows[0][0]) if rows else 0

    def count_observed(self) -> int:
        """Return the number of rows of `observed_launches`."""
        rows = self.select("count_observed")
        return int(rows[0][0]) if rows else 0

    def select(self, query: str, **parameters: Any) -> Sequence[tuple[Any, ...]]:
        """Return the rows that a query of `sql/` selects; empty if nothing has been harvested yet.

        Raises:
            StoreError: the file cannot be read.
        """
        if not self.path.exists():
            return []
        with self._connect(read_only=True) as connection:
            return connection.execute(read_sql(query), legible_data(parameters)).fetchall()

    @contextmanager
    def open(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection for custom queries, closed after the block.

        Raises:
            StoreError: nothing has been harvested yet (reading), or the file is held or damaged.
        """
        with open_database(
            self.path, read_only=read_only, lock_wait_s=self.lock_wait_s, config=self.config
        ) as connection:
            yield connection

    @contextmanager
    def _connect(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection for the store's own queries; a failing query means that the file has a wrong format."""
        with self.open(read_only=read_only) as connection:
            try:
                yield connection
            except duckdb.Error as error:
                raise StoreError(f"{self.path} cannot be used as a results database: {error}") from error

    def _load(self, connection: duckdb.DuckDBPyConnection, sweep_id: str) -> Sweep:
        sweep_id = legible(sweep_id)
        found = connection.execute("SELECT status, plan FROM sweeps WHERE sweep_id = ?", [sweep_id]).fetchone()
        if found is None:
            raise UnknownSweepError(f"There is no sweep {sweep_id!r} in {self.path}. `bench sweeps` lists them.")
        records = connection.execute(read_sql("load_launches"), {"sweep_id": sweep_id})
        names = [column[0] for column in records.description or ()]
        rows = (dict(zip(names, row, strict=True)) for row in _batches(records))
        trials = tuple(read_trial(list(launches)) for _, launches in groupby(rows, itemgetter("trial")))
        return Sweep(_PLAN.validate_json(found[1]), found[0], trials)


def _positioned(sweep: Sweep) -> Iterator[Row]:
    """Yield the rows of a sweep's launches, each with its position in its trial."""
    for trial in sweep.trials:
        for position, row in enumerate(launch_rows(trial), start=1):
            yield row | {"launch": position}


def _batches(records: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while batch := records.fetchmany(_BATCH):
        yield from batch
