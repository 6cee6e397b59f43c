"""Does `bench doctor` read a large deployment within its two minutes?

    python -m benchmarks.doctor [--locations 8] [--runs 200] [--json]

Starts a local deployment of small code locations, on SQLite, and launches one run in each. Gives each location copies
of its run, with 30 events each. Then reads all of it like `bench doctor`. Exits with 1 if that takes longer than two
minutes, or if a log was not read.
"""

import json
import shutil
import sqlite3
import sys
import tempfile
import time
import uuid
from contextlib import closing
from dataclasses import asdict
from datetime import UTC
from pathlib import Path

import click
import dagster as dg
from rich.console import Console

from bench_orchestrator.analysis.doctor.diagnosis import describe_sample, diagnose, headline
from bench_orchestrator.deployment import Deployment, read_locations
from bench_orchestrator.report.doctor import describe_cost
from bench_orchestrator.sources.deployment_reading import DeploymentReader
from bench_orchestrator.webserver import ASSET_JOB, Webserver

LIMIT_S = 120.0
EVENTS = 30
PROJECT = Path(__file__).parent.parent


@click.command()
@click.option("--locations", "count", type=click.IntRange(1, 20), default=8, show_default=True)
@click.option("--runs", type=click.IntRange(1, 1_000), default=200, show_default=True, help="Of each location.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON to stdout, all else to stderr.")
def main(count: int, runs: int, as_json: bool) -> None:
    """Measure how long it takes to read a deployment."""
    console = Console(stderr=as_json)
    names = [f"a{10 + number}" for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        served = read_locations(PROJECT / "workspace.yaml", names)
        with Deployment(home, served) as deployment, dg.DagsterInstance.from_config(str(home)) as instance:
            deployment.wait_until_loaded()
            webserver = Webserver(deployment.url)
            for name in names:
                console.print(f"Launching a run of {name}, and copying it {runs - 1} times ...")
                copy_run(instance, home, launch(instance, webserver, name), runs - 1)
            reading = DeploymentReader(webserver, runs, LIMIT_S).read()
    console.print(headline(diagnose(reading, UTC)))
    console.print(f"{describe_sample(diagnose(reading, UTC))}.\n{describe_cost(reading.cost)}.")
    if as_json:
        click.echo(json.dumps({"runs": len(reading.runs), "logs_read": reading.logs_read, **asdict(reading.cost)}))
    sys.exit(not (reading.logs_read == count * runs and reading.cost.took_s <= LIMIT_S))


def launch(instance: dg.DagsterInstance, webserver: Webserver, location: str) -> str:
    """Launch a run of a location's first asset, wait for its success, and return its id."""
    (repository,) = webserver.list_locations()[location].repositories
    asset = min(webserver.list_assets(location, repository))
    run_id = webserver.submit(location=location, repository=repository, job=ASSET_JOB, tags={}, asset_keys=[asset])
    while True:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        if run.is_finished:
            assert run.is_success
            return run_id
        time.sleep(0.5)


def copy_run(instance: dg.DagsterInstance, home: Path, run_id: str, count: int) -> None:
    """Record copies of a run under other ids. SQLite keeps the events of each run in a file of its own."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    events = home / "history" / "runs" / f"{run_id}.db"
    with closing(sqlite3.connect(events)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _pad(connection)
    for _ in range(count):
        copied = run._replace(run_id=str(uuid.uuid4()))
        instance.add_run(copied)
        file = events.with_name(f"{copied.run_id}.db")
        shutil.copy(events, file)
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("UPDATE event_logs SET run_id = ?", [copied.run_id])


def _pad(connection: sqlite3.Connection) -> None:
    """Repeat the event before a log's last until there are EVENTS."""
    rows = connection.execute("SELECT * FROM event_logs ORDER BY id")
    columns = [column[0] for column in rows.description]
    logged = [dict(zip(columns, row, strict=True)) for row in rows]
    named = ", ".join(columns)
    with connection:
        connection.execute("DELETE FROM event_logs")
        padded = [*logged[:-1], *[logged[-2]] * (EVENTS - len(logged)), logged[-1]]
        for number, row in enumerate(padded, start=1):
            values = [number if column == "id" else row[column] for column in columns]
            connection.execute(f"INSERT INTO event_logs ({named}) VALUES ({', '.join('?' * len(columns))})", values)


if __name__ == "__main__":
    main()
