"""`bench sweeps`: the sweeps in the results database."""

import json
from dataclasses import asdict
from datetime import UTC, datetime

import click
from rich.table import Table

from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.results import open_results
from bench_orchestrator.model.instants import MICROSECONDS


@click.command(name="sweeps")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(as_json: bool) -> None:
    """List the measured sweeps.

    The latest comes first.

    \b
    Example:
      bench sweeps --json
    """
    summaries = open_results().list_sweeps()
    if as_json:
        click.echo(json.dumps([asdict(summary) for summary in summaries]))
        return
    table = Table("sweep", "started (UTC)", "status", "ok", "locations", box=None, header_style="dim")
    for summary in summaries:
        started = datetime.fromtimestamp(summary.created_us / MICROSECONDS, UTC)
        table.add_row(
            summary.sweep_id,
            f"{started:%Y-%m-%d %H:%M}",
            summary.status,
            f"{summary.ok}/{summary.trials}",
            ", ".join(summary.locations),
        )
    console = open_console()
    console.print(table if summaries else "No sweep has been measured yet. Run one: bench run quick")
