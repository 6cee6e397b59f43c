"""Is a backlog of finished runs observed in linear time and bounded memory, and not much slower than it is read?

    python -m benchmarks.observing [--runs 20000] [--postgres URL] [--output FOLDER] [--json]

Executes one real run of two assets, pads its log to 30 events, and records copies of it in a separate instance, in
files or in an empty PostgreSQL database. Then, each in a process of its own: reads all events with one SQL query for
each store (the file of each run, or the database), as texts and as Dagster's objects; observes all runs into a results
database; and reads them again. Exits with 1 if a figure exceeds its limit.
"""

import json
import resource
import sqlite3
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any, TypeVar

import click
import dagster as dg
import sqlalchemy as sa
import yaml
from dagster import EventLogEntry
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable, SqliteEventLogStorage
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable
from dagster._serdes import deserialize_value, serialize_value
from rich.console import Console

from bench_orchestrator.model.instants import MICROSECONDS, now_us, us_datetime
from bench_orchestrator.model.observed import Selection
from bench_orchestrator.report.text import table
from bench_orchestrator.results.store import Store
from bench_orchestrator.sources.finished import id_of
from bench_orchestrator.sources.observing import observe
from benchmarks.rows import write_rows
from benchmarks.warm_server.measuring import describe_machine

T = TypeVar("T")

EVENTS = 30
RUNS = 20_000

LIMITS: Mapping[str, tuple[str, float]] = {
    "ratio": ("observing, as a multiple of reading the events as Dagster's objects", 3.0),
    "growth": ("time of the last quarter of the runs, as a multiple of that of the first", 1.25),
    "memory": ("memory after all runs, as a multiple of that after the first quarter", 1.25),
}
"""What each figure is, and its maximum."""


@dg.asset
def first() -> None:
    """The first asset of the run."""


@dg.asset(deps=[first])
def second() -> None:
    """The asset after it."""


def make_job() -> dg.JobDefinition:
    """Return the job of the run."""
    return dg.Definitions(assets=[first, second], jobs=[dg.define_asset_job("pair")]).resolve_job_def("pair")


def make_backlog(instance: dg.DagsterInstance, runs: int) -> None:
    """Record one run, each of its steps in a process of its own, and copies of it with all their events."""
    # Steps import this module by its name, which it does not have where it is the program.
    job = dg.reconstructable(import_module("benchmarks.observing").make_job)
    with dg.execute_job(job, instance, raise_on_error=True) as done:
        run_id = done.run_id
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    with storage.run_connection(run_id) as connection:
        _pad(connection, run_id)
    copies = _copy_records(instance, run_id, runs - 1)
    if isinstance(storage, SqliteEventLogStorage):
        _copy_files(Path(storage.path_for_shard(run_id)), run_id, copies)
    else:
        _copy_rows(storage, run_id)


def _pad(connection: sa.Connection, run_id: str) -> None:
    """Repeat the last event of a run's log until there are EVENTS."""
    log = SqlEventLogStorageTable
    names = [column.name for column in log.columns if column.name != "id"]
    columns = [log.c[name] for name in names]
    rows = connection.execute(sa.select(*columns).where(log.c.run_id == run_id).order_by(log.c.id)).all()
    assert len(rows) <= EVENTS, f"the log has {len(rows)} events"
    last = dict(zip(names, rows[-1], strict=True))
    for _ in range(EVENTS - len(rows)):
        connection.execute(sa.insert(log).values(last))


def _copy_records(instance: dg.DagsterInstance, run_id: str, count: int) -> list[str]:
    """Record copies of a run that ended one a second until now; return their ids."""
    original, storage = instance.get_run_by_id(run_id), instance.run_storage
    assert original is not None
    assert isinstance(storage, SqlRunStorage)
    copies = [original._replace(run_id=str(uuid.uuid4())) for _ in range(count)]
    begun_us = now_us() - count * MICROSECONDS
    rows = [
        {
            "run_id": copy.run_id,
            "pipeline_name": copy.job_name,
            "status": copy.status.value,
            "run_body": serialize_value(copy),
            "update_timestamp": us_datetime(begun_us + number * MICROSECONDS).replace(tzinfo=None),
        }
        for number, copy in enumerate(copies)
    ]
    with storage.connect() as connection:
        connection.execute(sa.insert(RunsTable), rows)
    return [copy.run_id for copy in copies]


def _copy_files(original: Path, run_id: str, copies: list[str]) -> None:
    with closing(sqlite3.connect(original)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = original.read_bytes()
    for copy in copies:
        file = original.with_name(f"{copy}.db")
        file.write_bytes(content)
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("UPDATE event_logs SET run_id = ?, event = replace(event, ?, ?)", [copy, run_id, copy])


def _copy_rows(storage: SqlEventLogStorage, run_id: str) -> None:
    log = SqlEventLogStorageTable
    names = [column.name for column in log.columns if column.name not in ("id", "run_id", "event")]
    query = (
        sa.select(
            RunsTable.c.run_id,
            sa.func.replace(log.c.event, run_id, RunsTable.c.run_id),
            *(log.c[name] for name in names),
        )
        .join_from(RunsTable, log, (log.c.run_id == run_id) & (RunsTable.c.run_id != run_id))
        .order_by(RunsTable.c.id, log.c.id)
    )
    with storage.index_connection() as connection:
        connection.execute(sa.insert(log).from_select(["run_id", "event", *names], query))
        connection.execute(sa.text("ANALYZE"))


def read_texts(home: Path) -> float:
    """Read all events, as one SQL query gives them; return the seconds."""
    return _read_all(home, lambda _: None)


def read_objects(home: Path) -> float:
    """Read all events as Dagster's objects; return the seconds."""
    return _read_all(home, lambda text: deserialize_value(text, EventLogEntry))


def _read_all(home: Path, take: Callable[[str], object]) -> float:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        begun_s, events = time.perf_counter(), 0
        for text in _texts(instance):
            take(text)
            events += 1
        took_s = time.perf_counter() - begun_s
        assert events == EVENTS * instance.get_runs_count()
    return took_s


def _texts(instance: dg.DagsterInstance) -> Iterator[str]:
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    if isinstance(storage, SqliteEventLogStorage):
        for run_id in instance.get_run_ids():
            with closing(sqlite3.connect(storage.path_for_shard(run_id))) as connection:
                yield from (text for (text,) in connection.execute("SELECT event FROM event_logs ORDER BY id"))
        return
    with storage.index_connection() as connection:
        query = sa.select(SqlEventLogStorageTable.c.event).order_by(SqlEventLogStorageTable.c.id)
        yield from connection.execution_options(isolation_level="READ COMMITTED", yield_per=1_000).scalars(query)


def observe_all(home: Path) -> list[dict[str, float]]:
    """Observe all runs; return after each transaction how many there are, the seconds, and the peak memory in MiB."""
    store, samples = Store.in_directory(home / "results"), []
    with dg.DagsterInstance.from_config(str(home)) as instance:
        begun_s, runs, instance_id = time.perf_counter(), 0, id_of(instance)
        for observation in observe(instance, store.observation_progress(instance_id), Selection()):
            store.save_observed(instance_id, observation)
            runs += len(observation.observed)
            peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
            samples.append({"runs": runs, "took_s": time.perf_counter() - begun_s, "peak_mib": peak_mib})
        assert store.count_observed() == instance.get_runs_count()
    return samples


def measure(home: Path) -> dict[str, Any]:
    """Read and observe a backlog, each in a process of its own; return the figures."""

    def apart(function: Callable[[Path], T]) -> T:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(function, home).result()

    texts_s, objects_s = [apart(read_texts)], [apart(read_objects)]
    samples = apart(observe_all)
    texts_s.append(apart(read_texts))
    objects_s.append(apart(read_objects))
    quarter = len(samples) // 4
    first_s = samples[quarter - 1]["took_s"]
    last_s = samples[-1]["took_s"] - samples[-1 - quarter]["took_s"]
    return {
        "runs": samples[-1]["runs"],
        "events": EVENTS * samples[-1]["runs"],
        "texts_s": mean(texts_s),
        "objects_s": mean(objects_s),
        "observing_s": samples[-1]["took_s"],
        "ratio_to_texts": samples[-1]["took_s"] / mean(texts_s),
        "ratio": samples[-1]["took_s"] / mean(objects_s),
        "growth": last_s / first_s,
        "peak_mib": samples[-1]["peak_mib"],
        "memory": samples[-1]["peak_mib"] / samples[quarter - 1]["peak_mib"],
    }


def describe(machine: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """Return the figures as Markdown."""
    times = [
        (what, f"{figures[name]:.1f} s", f"{1000 * figures[name] / figures['runs']:.2f} ms")
        for what, name in (
            ("reading the events as texts", "texts_s"),
            ("reading the events as Dagster's objects", "objects_s"),
            ("observing the runs", "observing_s"),
        )
    ]
    claims = [(what, f"{figures[name]:.2f}", f"at most {most:g}") for name, (what, most) in LIMITS.items()]
    head = (f"{figures['runs']:,} runs, {figures['events']:,} events", "took", "each run")
    return (
        f"{table(head, times)}\n\n"
        f"{table(('claim', 'measured', 'limit'), claims)}\n\n"
        f"Observing took {figures['ratio_to_texts']:.1f} × as long as reading the texts alone. "
        f"On {figures['storage']}; {figures['peak_mib']:.0f} MiB at most; {machine['cpu_count']} CPUs "
        f"({machine['cpu_model']}), Python {machine['python']}, Dagster {machine['dagster']}."
    )


@click.command()
@click.option("--runs", type=click.IntRange(2_000), default=RUNS, show_default=True)
@click.option("--postgres", "postgres_url", help="An empty database for the runs and their events. Default: files.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write the figures to.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON to stdout, all else to stderr.")
def main(runs: int, postgres_url: str | None, output: Path | None, as_json: bool) -> None:
    """Measure how long it takes to observe a backlog of runs, and how long to read its events."""
    console = Console(stderr=as_json, highlight=False)
    settings: dict[str, Any] = {"telemetry": {"enabled": False}}
    if postgres_url:
        settings["storage"] = {"postgres": {"postgres_url": postgres_url}}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
        console.print(f"Recording {runs:,} runs of {EVENTS} events ...")
        with dg.DagsterInstance.from_config(folder) as instance:
            make_backlog(instance, runs)
        figures = {"storage": "PostgreSQL" if postgres_url else "SQLite", **measure(home)}
    machine = describe_machine()
    console.print(describe(machine, figures), markup=False)
    if output:
        write_rows(output, machine, [figures], describe(machine, figures))
    if as_json:
        click.echo(json.dumps(figures))
    sys.exit(any(figures[name] > most for name, (_, most) in LIMITS.items()))


if __name__ == "__main__":
    main()
