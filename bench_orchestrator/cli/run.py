"""`bench run`: carry out a scenario through Dagster, with live progress, and report what it measured."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench_orchestrator import remote, settings
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.loading import LoadingView
from bench_orchestrator.cli.names import Names
from bench_orchestrator.cli.report import publish
from bench_orchestrator.deployment import (
    META_LOCATION,
    Deployment,
    DeploymentError,
    find_deployment,
    find_home,
    read_locations,
)
from bench_orchestrator.launching import Webserver, WebserverError
from bench_orchestrator.model import Outcome, Scenario, Sweep
from bench_orchestrator.scenarios import SCENARIOS
from bench_orchestrator.store import Store, StoreError

HARVEST_TIMEOUT_S = 300.0


@click.command(name="run")
@click.argument("scenario_name", metavar="SCENARIO", type=click.Choice(list(SCENARIOS)))
@click.option(
    "--locations", "names", type=Names(), help="Code locations, with commas between. Default: the scenario's."
)
@click.option("--quick", is_flag=True, help="An experiment at a size for laptops.")
@click.option("--only", multiple=True, metavar="VARIANT", help="Just this variant, and its baseline; repeatable.")
@click.option("--repeats", type=click.IntRange(min=1), help="Measured launches per location or variant.")
@click.option("--warmups", type=click.IntRange(min=0), help="Launches before those, left out.")
@click.option("--seed", type=click.IntRange(min=1), help="Repeats the order and the assets of an earlier sweep.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), help="Seconds a trial may take.")
@click.option("--pause", "pause_s", type=click.FloatRange(min=0), help="Seconds of rest after each trial.")
@click.option(
    "--jitter", "jitter_s", type=click.FloatRange(min=0), help="Random addition to the rest, seconds at most."
)
@click.option("--resume", metavar="SWEEP", help="Launch only what an interrupted sweep still owes, by its own plan.")
@click.option("--url", help="Webserver of a deployment to use. Default: the one that is up, else one of its own.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; all else to stderr.")
def command(
    scenario_name: str,
    names: tuple[str, ...] | None,
    quick: bool,
    only: tuple[str, ...],
    url: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Launch a scenario's trials through Dagster and report what they took.

    Ctrl-C cancels the sweep; the trials measured until then are kept and reported, and --resume launches the rest.

    \b
    Examples:
      bench run quick
      bench run all-locations --repeats 5 --seed 42
      bench run assets-scaling --locations a100,a1k --url https://dagster.example.com
      bench run split-definitions --quick
      bench run executors --resume executors-1f2e3d4c
    """
    scenario = SCENARIOS[scenario_name]
    config = {field: value for field, value in options.items() if value is not None}
    if scenario.variants:
        if names:
            raise click.UsageError(f"{scenario_name} is an experiment: it has variants (--only) and no --locations.")
        config |= {"quick": quick, "only": list(only)}
    else:
        if quick or only:
            raise click.UsageError(f"{scenario_name} is no experiment: it has --locations, no --quick and no --only.")
        names = names or _planned_locations(options["resume"]) or scenario.locations
        config |= {"locations": list(names)}
    console = open_console(as_json=as_json)
    home = find_home()
    with _deployment(home, names or (), url, console) as webserver:
        sweep = _carry_out(webserver, scenario, config, console)
    if url:
        Store.in_directory(settings.results_directory(home)).save(sweep)
    publish(sweep, settings.results_directory(home), console, as_json=as_json)
    sys.exit(0 if all(launch.outcome is Outcome.OK for launch in sweep.launches) else 1)


def _planned_locations(sweep_id: str | None) -> tuple[str, ...]:
    """The locations of the sweep to resume, which a deployment of its own has to serve; none where it is unknown."""
    if sweep_id is None:
        return ()
    try:
        plan = Store.in_directory(settings.results_directory(find_home())).load(sweep_id).plan
    except StoreError:
        return ()
    return tuple(location.name for location in plan.locations)


@contextmanager
def _deployment(home: Path, names: Sequence[str], url: str | None, console: Console) -> Iterator[Webserver]:
    """The deployment to launch in: the one at the URL, the one that is up, or one for the time being."""
    if url is None and (running := find_deployment(home)):
        url = running.url
    if url:
        console.print(f"Using the deployment at {url}", markup=False)
        try:
            webserver = Webserver(url, settings.webserver_authorization())
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        yield webserver
        return
    console.print("Starting a deployment ...", markup=False)
    view = LoadingView(console)
    with Deployment(
        home, read_locations(Path.cwd() / "workspace.yaml", names or [META_LOCATION]), on_event=view.say
    ) as own:
        with view:
            own.wait_until_loaded(on_progress=view.update)
        console.print(f"Dagster is up at {own.url}", markup=False)
        yield Webserver(own.url)
        console.print("Stopping the deployment ...", markup=False)


def _carry_out(webserver: Webserver, scenario: Scenario, config: dict[str, Any], console: Console) -> Sweep:
    """Start the sweep, show its progress, and return what was harvested of it; Ctrl-C cancels it on the way."""
    run_id = remote.start_sweep(webserver, scenario.name, config)
    console.print(f"Sweep run: {webserver.url}/runs/{run_id}", markup=False)
    shown: list[str] = []
    try:
        final = _show_progress(webserver, run_id, console, shown)
    except KeyboardInterrupt:
        console.print("Canceling the sweep; what was measured is kept (Ctrl-C again leaves at once) ...")
        with suppress(WebserverError):  # it may have ended meanwhile
            webserver.terminate(run_id)
        final = _show_progress(webserver, run_id, console, shown)
    if final.planned is None:
        raise DeploymentError(final.failure or f"The sweep ended before its first launch ({final.status}).")
    if final.status == "FAILURE":
        console.print(final.failure, style="red", markup=False)
    with console.status("Harvesting ..."):
        return remote.fetch_sweep(webserver, run_id, HARVEST_TIMEOUT_S)


def _show_progress(webserver: Webserver, run_id: str, console: Console, shown: list[str]) -> remote.Progress:
    """Follow the sweep to its end: one line per trial that is not among those shown yet, and on a terminal a bar."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        refresh_per_second=2,
    )
    task = bar.add_task("waiting", total=None)
    announced = False
    with bar if console.is_terminal else nullcontext():
        for progress in remote.follow(webserver, run_id):
            for line in progress.lines[len(shown) :]:
                console.print(line, markup=False)
                shown.append(line)
            if progress.status == "QUEUED" and not announced:
                other = remote.sweep_in_the_way(webserver, run_id)
                if other:
                    console.print(f"Waiting for the sweep of run {other} to end; two never run at the same time.")
                    announced = True
            bar.update(task, description=progress.status.lower(), total=progress.planned, completed=progress.done)
    return progress
