"""The results database: a DuckDB file that holds every sweep and launch that was harvested.

DuckDB lets one process write at a time and none read meanwhile, so connections are opened briefly, wait for each
other, and write a sweep in one transaction: a reader sees all of it or nothing.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
from pydantic import TypeAdapter

from bench_orchestrator import settings
from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.launch import Launch, Outcome, Sweep, Trial
from bench_orchestrator.model.plan import LaunchPath, SweepPlan
from bench_orchestrator.model.runs import Pod, StepSpan
from bench_orchestrator.model.stages import BootStage, Boundary, Stage
from bench_orchestrator.results.rows import LAUNCH_COLUMNS, launch_rows

_HELD = "Could not set lock on file"
"""What DuckDB says when another process has the file open."""

_PLAN = TypeAdapter(SweepPlan)
_STRUCTURE = json.dumps([dict(LAUNCH_COLUMNS)])


class StoreError(UnusableError):
    """The results database cannot be used; the message names the file and what to do."""


class UnknownSweepError(StoreError):
    """The results database has no such sweep."""


@dataclass(frozen=True)
class SweepSummary:
    """One line of the list of sweeps."""

    sweep_id: str
    scenario: str
    created_us: int
    status: str
    trials: int
    ok: int
    locations: list[str]


@dataclass(frozen=True)
class Store:
    """The results database at a path; nothing is opened until it is used."""

    path: Path
    lock_wait_s: float = field(default_factory=settings.lock_wait_s)
    """How long to wait for another process to let go of the file."""

    @classmethod
    def in_directory(cls, directory: Path) -> "Store":
        """The results database of a results folder."""
        return cls(directory / "bench.duckdb")

    def save(self, sweep: Sweep) -> None:
        """Write a sweep and its trials, replacing what was known of them, in one transaction.

        Raises:
            StoreError: another process holds the file for longer than the wait, or it is no results database.
        """
        rows = json.dumps([row for trial in sweep.trials for row in launch_rows(trial)])
        with self.connect(read_only=False) as connection:
            connection.execute("BEGIN")
            connection.execute(
                _sql("upsert_sweep"),
                {
                    "sweep_id": sweep.plan.sweep_id,
                    "scenario": sweep.plan.scenario,
                    "created_us": sweep.plan.created_us,
                    "status": sweep.status,
                    "environment": json.dumps(dict(sweep.plan.environment)),
                    "plan": _PLAN.dump_json(sweep.plan).decode(),
                },
            )
            connection.execute(_sql("upsert_launches"), {"rows": rows, "structure": _STRUCTURE})
            connection.execute("COMMIT")

    def load(self, sweep_id: str) -> Sweep:
        """A sweep with its trials in order.

        Raises:
            UnknownSweepError: there is none of that id.
            StoreError: the file cannot be read.
        """
        with self.connect(read_only=True) as connection:
            found = connection.execute("SELECT status, plan FROM sweeps WHERE sweep_id = ?", [sweep_id]).fetchone()
            if found is None:
                raise UnknownSweepError(f"There is no sweep {sweep_id!r} in {self.path}. `bench sweeps` lists them.")
            records = connection.execute("SELECT * FROM launches WHERE sweep_id = ? ORDER BY trial", [sweep_id])
            names = [column[0] for column in records.description or ()]
            trials = tuple(_trial(dict(zip(names, row, strict=True))) for row in records.fetchall())
        return Sweep(_PLAN.validate_json(found[1]), found[0], trials)

    def list_sweeps(self) -> list[SweepSummary]:
        """Every sweep, latest first; none where nothing has been harvested yet."""
        if not self.path.exists():
            return []
        with self.connect(read_only=True) as connection:
            rows: Sequence[tuple[Any, ...]] = connection.execute(_sql("list_sweeps")).fetchall()
        return [SweepSummary(*row) for row in rows]

    def find_runs(self, prefix: str) -> dict[str, str]:
        """The runs whose id begins so, each with its sweep; none where nothing has been harvested yet."""
        if not self.path.exists():
            return {}
        with self.connect(read_only=True) as connection:
            return dict(connection.execute(_sql("find_runs"), [prefix]).fetchall())

    @contextmanager
    def connect(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that waits for other processes to let go of the file, with the schema in place.

        Raises:
            StoreError: nothing has been harvested yet (reading), or the file is held or damaged.
        """
        if read_only and not self.path.exists():
            raise StoreError(f"There are no results at {self.path} yet. Run a sweep: bench run quick")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._open(read_only)
        try:
            if not read_only:
                connection.execute(_sql("schema"))
            self._check_columns(connection)
            yield connection
        except duckdb.Error as error:
            raise StoreError(f"{self.path} cannot be used as a results database: {error}") from error
        finally:
            connection.close()

    def _check_columns(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Refuse a file of another version of the bench: it is derived, and is better made anew than mended."""
        columns = {name for (name,) in connection.execute(_sql("launch_columns")).fetchall()}
        if columns and columns != LAUNCH_COLUMNS.keys():
            raise StoreError(
                f"{self.path} was written by another version of the bench. Move it away and run the job `harvest` "
                "without configuration: it reads every sweep again from the event log."
            )

    def _open(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + self.lock_wait_s
        delay_s = 0.05
        while True:
            try:
                return duckdb.connect(self.path, read_only=read_only)
            except duckdb.Error as error:
                if _HELD not in str(error):
                    raise StoreError(f"{self.path} cannot be opened: {error}") from error
                if time.monotonic() + delay_s > deadline:
                    raise StoreError(
                        f"Another process has held {self.path} for {self.lock_wait_s:g} s; close it and try again. "
                        f"DuckDB says: {error}"
                    ) from error
            time.sleep(delay_s)
            delay_s = min(2 * delay_s, 1.0)


def _trial(record: dict[str, Any]) -> Trial:
    return Trial(
        **{name: record[name] for name in LAUNCH_COLUMNS if name in Trial.__dataclass_fields__}
        | {
            "number": record["trial"],
            "launches": (_launch(record),),
            "path": LaunchPath(record["path"]),
            "usage": json.loads(record["usage"]),
        }
    )


def _launch(record: dict[str, Any]) -> Launch:
    return Launch(
        **{name: record[name] for name in LAUNCH_COLUMNS if name in Launch.__dataclass_fields__}
        | {
            "outcome": Outcome(record["outcome"]),
            "at_us": {boundary: record[f"{boundary}_at_us"] for boundary in Boundary},
            "stages_us": {stage: record[f"{stage}_us"] for stage in Stage},
            "warnings": tuple(json.loads(record["warnings"])),
            "step_process": json.loads(record["step_process"]),
            "steps": tuple(StepSpan(**step) for step in json.loads(record["steps"])),
            "template": json.loads(record["template"]),
            "boot_us": {BootStage(stage): us for stage, us in json.loads(record["boot"]).items()},
            "pod": Pod(**json.loads(record["pod"])) if record["pod"] else None,
        }
    )


def _sql(name: str) -> str:
    return (files("bench_orchestrator.results") / "sql" / f"{name}.sql").read_text()
