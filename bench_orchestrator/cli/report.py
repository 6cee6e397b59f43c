"""`bench report`: the table, the report and the raw rows of a harvested sweep."""

import json
from pathlib import Path

import click
from rich.console import Console

from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.results import open_results
from bench_orchestrator.cli.values import Output
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.report.files import write_sweep
from bench_orchestrator.report.summary import render_table, summarize
from bench_orchestrator.results.store import Store, UnknownSweepError


@click.command(name="report")
@click.argument("sweep_id", metavar="[SWEEP]", required=False)
@click.option("--output", type=Output(folder=True), help="Folder for the files.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout, all else to stderr.")
def command(sweep_id: str | None, output: Path | None, as_json: bool) -> None:
    """Print a sweep's table and write its report.

    Writes Markdown, HTML, charts as PNG and SVG, and the raw rows as CSV and Parquet. Default: the latest sweep;
    `bench sweeps` lists all.

    \b
    Examples:
      bench report
      bench report quick-1f2e3d4c --output docs/results/quick
    """
    store = open_results()
    try:
        if sweep_id is None:
            summaries = store.list_sweeps()
            if not summaries:
                raise click.UsageError("No sweep has been measured yet. Run one: bench run quick")
            sweep_id = summaries[0].sweep_id
        sweep = store.load(sweep_id)
    except UnknownSweepError as error:
        raise click.UsageError(str(error)) from error
    console = open_console(as_json=as_json)
    console.print(render_table(sweep))
    write_report(sweep, store, console, output, as_json=as_json)


def write_report(sweep: Sweep, store: Store, console: Console, output: Path | None = None, *, as_json: bool) -> None:
    """Write a sweep's report and print where it is, and its numbers as JSON if `as_json`."""
    files = write_sweep(sweep, store, output)
    console.print(f"Report: {files.html}")
    if as_json:
        click.echo(json.dumps(summarize(sweep) | {"report": str(files.markdown), "html": str(files.html)}))
