"""Carries out a sweep for a command: finds a deployment, shows progress and fetches the harvested rows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench_orchestrator import settings
from bench_orchestrator.cli.connecting import connect
from bench_orchestrator.cli.loading import LoadingView
from bench_orchestrator.cli.results import open_results
from bench_orchestrator.cli.values import Seconds
from bench_orchestrator.deployment import (
    Deployment,
    DeploymentError,
    find_deployment,
    find_home,
    read_locations,
)
from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.plan import Scenario
from bench_orchestrator.model.tags import META_LOCATION
from bench_orchestrator.sweeps import client
from bench_orchestrator.webserver import Webserver

HARVEST_TIMEOUT_S = 300.0

_MOST_STARTS = 3
"""How often a sweep is started whose run fails because its code server is being restarted: nothing was launched."""

timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(min_open=True),
    help="Seconds until a trial is timed out.  [300]",
)
url_option = click.option(
    "--url", help="Webserver of the deployment to use. Default: the one that is up here, else a temporary one."
)


def measure(
    scenario: Scenario, config: Mapping[str, Any], locations: Sequence[str], url: str | None, console: Console
) -> Sweep:
    """Carry out a sweep, show its progress, and return it as harvested; `keep` saves it.

    Args:
        config: configuration of the sweep's job.
        locations: code locations that a temporary deployment has to serve, besides the meta location.
        url: webserver of the deployment to launch in; None for the one that is up, or else a temporary one.

    Raises:
        UnusableError: no deployment can carry it out.
    """
    home = find_home()
    with _deployment(home, locations, url, console) as webserver:
        sweep = _carry_out(webserver, scenario, config, console)
    if url is None:
        # The harvest's rows are exact to the microsecond. A deployment with another results folder has them elsewhere.
        with suppress(UnusableError, OSError):
            harvested = open_results().load(sweep.plan.sweep_id)
            if harvested.plan.resumes == sweep.plan.resumes:  # else the rows are those of the sweep that it continues
                return harvested
    return sweep


@contextmanager
def _deployment(home: Path, names: Sequence[str], url: str | None, console: Console) -> Iterator[Webserver]:
    """The deployment to launch in: the one at the URL, the one that is up, or a temporary one."""
    if url is None and (running := find_deployment(home)):
        url = running.url
    if url is not None:
        webserver = connect(url)
        console.print(f"Using the deployment at {webserver.url}")
        yield webserver
        return
    console.print("Starting a deployment ...")
    view = LoadingView(console)
    served = read_locations(Path.cwd() / "workspace.yaml", names or [META_LOCATION])
    with Deployment(home, served, on_event=view.say, postgres_url=settings.postgres_url()) as own:
        with view:
            own.wait_until_loaded(on_progress=view.update)
        console.print(f"Dagster is up at {own.url}")
        yield Webserver(own.url)
        console.print("Stopping the deployment ...")


def _carry_out(webserver: Webserver, scenario: Scenario, config: Mapping[str, Any], console: Console) -> Sweep:
    """Start the sweep, show its progress, and return it as harvested. Ctrl-C cancels the sweep."""
    for attempt in range(1, _MOST_STARTS + 1):
        run_id = client.start_sweep(webserver, scenario.name, config, console.print)
        console.print(f"Sweep run: {webserver.run_url(run_id)}")
        final = _follow(webserver, run_id, console)
        if not final.was_unlaunchable or attempt == _MOST_STARTS:
            break
        console.print(f"The code server of {META_LOCATION} was away when the run was launched. Starting again ...")
    if final.planned is None:
        raise DeploymentError(final.failure or f"The sweep ended before its first launch ({final.status}).")
    if final.status == "FAILURE":
        console.print(final.failure, style="red")
    with console.status("Harvesting ..."):
        return client.fetch_sweep(webserver, run_id, HARVEST_TIMEOUT_S, console.print)


def _follow(webserver: Webserver, run_id: str, console: Console) -> client.Progress:
    """Show the sweep's progress to its end, and return the last. Ctrl-C cancels the sweep."""
    shown: list[str] = []
    try:
        return _show_progress(webserver, run_id, console, shown)
    except KeyboardInterrupt:
        console.print("Canceling the sweep; what was measured is kept (Ctrl-C again exits at once) ...")
        client.cancel_sweep(webserver, run_id)
        return _show_progress(webserver, run_id, console, shown)


def _show_progress(webserver: Webserver, run_id: str, console: Console, shown: list[str]) -> client.Progress:
    """Follow the sweep to its end: print one line per trial that is not in `shown` yet, and a bar on a terminal."""
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
        for progress in client.follow(webserver, run_id):
            for line in progress.lines[len(shown) :]:
                shown.append(line)  # first: Ctrl-C may come between the two
                console.print(line)
            if progress.status == "QUEUED" and not announced:
                other = client.sweep_in_the_way(webserver, run_id)
                if other:
                    console.print(f"Waiting for the sweep of run {other} to end; sweeps run one at a time.")
                    announced = True
            bar.update(task, description=progress.status.lower(), total=progress.planned, completed=progress.done)
    return progress
