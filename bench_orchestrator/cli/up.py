"""`bench up`: the local deployment in the foreground, with a live view while it loads."""

import json
import signal
import threading
from pathlib import Path

import click

from bench_orchestrator import settings
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.loading import LoadingView
from bench_orchestrator.cli.values import Names
from bench_orchestrator.deployment import Deployment, DeploymentStatus, LocationState, find_home, read_locations


@click.command(name="up")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the webserver.")
@click.option(
    "--locations",
    "names",
    type=Names(),
    default=(),
    help="Locations of workspace.yaml, or shapes such as a750, separated by commas. Default: all of workspace.yaml.",
)
@click.option(
    "--postgres",
    "postgres_url",
    metavar="URL",
    envvar=settings.POSTGRES_URL,
    show_envvar=True,
    help="PostgreSQL database for runs and events. Default: the storage of dagster.yaml, else files. "
    "A URL with a password belongs into the variable: other users can read command lines.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON to stdout when ready, all else to stderr.")
def command(port: int, names: tuple[str, ...], postgres_url: str | None, as_json: bool) -> None:
    """Start the local deployment and keep it running.

    Starts a code server for each location, the webserver and the daemon, in DAGSTER_HOME, or in the current directory
    if that is not set. Restarts a server that dies. Ctrl-C stops everything, runs in progress included; queued runs
    stay queued.

    \b
    Examples:
      bench up
      bench up --port 3333 --locations a250,a10p10k
      DAGSTER_BENCH_POSTGRES_URL=postgresql://... bench up
    """
    locations = read_locations(Path.cwd() / "workspace.yaml", names)
    view = LoadingView(open_console(as_json=as_json))
    deployment = Deployment(find_home(), locations, port, on_event=view.say, postgres_url=postgres_url)
    try:
        with deployment:
            with view:
                status = deployment.wait_until_loaded(on_progress=view.update)
            _announce(deployment, status, view, as_json)
            threading.Event().wait()
    except KeyboardInterrupt:  # Ctrl-C and SIGTERM
        for one_more in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one_more, signal.SIG_IGN)  # all has ended well; let the exit code say so
        view.say("Stopped.")


def _announce(deployment: Deployment, status: DeploymentStatus, view: LoadingView, as_json: bool) -> None:
    for location in status.locations:
        if location.state is LocationState.ERROR:
            view.say(f"{location.name} cannot be loaded: {location.message}")
    if as_json:
        states = {location.name: location.state for location in status.locations}
        click.echo(json.dumps({"url": deployment.url, "home": str(deployment.home), "locations": states}))
    view.say(f"Dagster is up at {deployment.url} (Ctrl-C stops it)")
