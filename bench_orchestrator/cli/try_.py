"""`bench try`: what launches of the user's own code take, behind Dagster's code server and behind the warm one."""

import json
import sys
from pathlib import Path

import click

from bench_orchestrator.analysis.trying import conclude
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.failures import warning_of_failures
from bench_orchestrator.cli.loading import LoadingView
from bench_orchestrator.cli.own_code import TIMEOUT_S, NamedCode, code_options, load_once, temporary_home
from bench_orchestrator.cli.values import Output, Seconds
from bench_orchestrator.model.bounds import MOST_LAUNCHES
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.report.trying import render_answer, summarize_answer, write_page
from bench_orchestrator.scenarios.trying import LAUNCHES
from bench_orchestrator.sweeps.trying import Attempt, carry_out
from dagster_warm.findings import FAULT


@click.command(name="try")
@code_options
@click.option(
    "--launches",
    type=click.IntRange(1, MOST_LAUNCHES),
    help=f"Measured launches on each side.  [{LAUNCHES}; fewer if the code takes long to load]",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(min_open=True),
    default=TIMEOUT_S,
    show_default=True,
    help="Seconds that loading the code, or a launch, may take.",
)
@click.option("--html", "page", type=Output(), help="File for the answer as a page, with charts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout, all else to stderr.")
def command(
    named: NamedCode,
    launches: int | None,
    timeout_s: float,
    page: Path | None,
    as_json: bool,
) -> None:
    """Measure launches of your own code, stock and warm.

    Adds an asset that does nothing to your definitions and launches it, in a deployment that ends with the command:
    behind Dagster's code server and behind the warm one, in turn. Nothing of your code is executed but its import.
    Without options it takes the dg project, the [tool.dagster] project or the workspace.yaml of the current folder,
    with its .env.

    \b
    Exit codes:
      0  measured
      1  a launch failed
      3  the code cannot be loaded, or something else cannot be used

    \b
    Examples:
      bench try
      bench try -m my_project.definitions --html try.html
      bench try -w workspace.yaml --location sales --json
    """
    console = open_console(as_json=as_json)
    checkout = named.find(Path.cwd())
    code = checkout.code
    with temporary_home() as home:
        checked = load_once(checkout, home, timeout_s, console)
        attempt = Attempt(checkout, home, not checked.is_cold, launches, timeout_s)
        sweep = carry_out(attempt, LoadingView(console))
    answer = conclude(sweep, [one.name for one in checked.findings if one.severity == FAULT])
    with warning_of_failures("the page cannot be written"):
        if page is not None:
            write_page(answer, sweep, code.name, checked, page)
            console.print(f"Page: {page}")
    console.print(render_answer(answer, sweep, code.name, checked))
    if as_json:
        click.echo(json.dumps(summarize_answer(answer, sweep, code.name, checked)))
    sys.exit(0 if all(trial.outcome is Outcome.OK for trial in sweep.trials) else 1)
