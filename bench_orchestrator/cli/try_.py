"""`bench try`: what launches of the user's own code take, behind Dagster's code server and behind the warm one."""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench_orchestrator.analysis.trying import conclude
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.failures import warning_of_failures
from bench_orchestrator.cli.loading import LoadingView
from bench_orchestrator.cli.values import Output, Seconds
from bench_orchestrator.deployment import DeploymentError, find_code
from bench_orchestrator.deployment.processes import interrupted_by_sigterm, let_children_be_interrupted
from bench_orchestrator.model.bounds import MOST_LAUNCHES
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.report.trying import render_answer, summarize_answer, write_page
from bench_orchestrator.scenarios.trying import LAUNCHES
from bench_orchestrator.sweeps.deployments import write_settings
from bench_orchestrator.sweeps.trying import Attempt, carry_out
from bench_orchestrator.sweeps.warm_check import check_code
from dagster_warm.findings import FAULT

_TIMEOUT_S = 300.0


@click.command(name="try")
@click.option("-m", "--module-name", "module", help="Module of the definitions.")
@click.option("-f", "--python-file", "file", type=Path, help="File of the definitions.")
@click.option("-w", "--workspace", type=Path, help="Workspace file that names them.")
@click.option("-a", "--attribute", help="With -m or -f: what in it is loaded. Default: what Dagster finds.")
@click.option(
    "-d",
    "--working-directory",
    type=Path,
    help="With -m or -f: where it is imported from. Default: the current folder.",
)
@click.option("--location", help="The code location that is meant, if a workspace or project has several.")
@click.option(
    "--launches",
    type=click.IntRange(1, MOST_LAUNCHES),
    help=f"Measured launches on each side.  [{LAUNCHES}; fewer if the code takes long to load]",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(min_open=True),
    default=_TIMEOUT_S,
    show_default=True,
    help="Seconds that loading the code, or a launch, may take.",
)
@click.option("--html", "page", type=Output(), help="File for the answer as a page, with charts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout, all else to stderr.")
def command(
    module: str | None,
    file: Path | None,
    workspace: Path | None,
    attribute: str | None,
    working_directory: Path | None,
    location: str | None,
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
    if sum(option is not None for option in (module, file, workspace)) > 1:
        raise click.UsageError("Name the code once: -m, -f or -w.")
    if module is None and file is None and (attribute or working_directory):
        raise click.UsageError("-a and -d belong to -m or -f.")
    if (module or file) and location:
        raise click.UsageError("--location belongs to a workspace or a project, not to -m or -f.")
    folder = Path.cwd()
    code = find_code(
        folder,
        module=module,
        file=file,
        workspace=workspace,
        attribute=attribute,
        working_directory=working_directory,
        location=location,
    )
    console = open_console(as_json=as_json)
    view = LoadingView(console)
    let_children_be_interrupted()
    with interrupted_by_sigterm(), TemporaryDirectory(prefix="bench-try-") as made:
        home = Path(made)
        write_settings(home)
        console.print(f"Loading {code.name}, of which nothing is executed but its import ...")
        began_s = time.monotonic()
        checked = check_code(code, folder, home, timeout_s)
        if checked.error:
            raise DeploymentError(f"{code.name} cannot be loaded: {checked.error}")
        console.print(f"It is loaded, after {time.monotonic() - began_s:.1f} s.")
        attempt = Attempt(code, folder, home, not checked.is_cold, launches, timeout_s)
        sweep = carry_out(attempt, view)
    answer = conclude(sweep, [one.name for one in checked.findings if one.severity == FAULT])
    with warning_of_failures("the page cannot be written"):
        if page is not None:
            write_page(answer, sweep, code.name, checked, page)
            console.print(f"Page: {page}")
    console.print(render_answer(answer, sweep, code.name, checked))
    if as_json:
        click.echo(json.dumps(summarize_answer(answer, sweep, code.name, checked)))
    sys.exit(0 if all(trial.outcome is Outcome.OK for trial in sweep.trials) else 1)
