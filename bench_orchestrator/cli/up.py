"""`bench up`: the local deployment in the foreground, with a live view of what is loading."""

import json
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.names import Names
from bench_orchestrator.deployment import (
    Deployment,
    DeploymentStatus,
    LocationState,
    find_home,
    read_locations,
)

_STYLES = {
    "waiting": "dim",
    "loading": "yellow",
    "starting": "yellow",
    "loaded": "green",
    "up": "green",
    "error": "red",
}


@click.command(name="up")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Of the webserver.")
@click.option(
    "--locations",
    "names",
    type=Names(),
    default=(),
    help="Locations of workspace.yaml, or shapes such as a750, with commas between. Default: all of workspace.yaml.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON when ready; all else to stderr.")
def command(port: int, names: tuple[str, ...], as_json: bool) -> None:
    """Start the local deployment and keep it running.

    Starts a code server for each location, the webserver and the daemon, in DAGSTER_HOME or, without it, in
    the current directory. What dies is started again. Ctrl-C stops everything, runs in flight included; runs
    that are still in the queue stay there.

    \b
    Examples:
      bench up
      bench up --port 3333 --locations a250,a10p10k
    """
    locations = read_locations(Path.cwd() / "workspace.yaml", names)
    view = _View(open_console(as_json=as_json))
    deployment = Deployment(find_home(), locations, port, on_event=view.say)
    try:
        with deployment:
            with view:
                status = deployment.wait_until_loaded(on_progress=view.update)
            _announce(deployment, status, view, as_json)
            threading.Event().wait()
    except KeyboardInterrupt:  # Ctrl-C and SIGTERM
        view.say("Stopped.")


def _announce(deployment: Deployment, status: DeploymentStatus, view: "_View", as_json: bool) -> None:
    for location in status.locations:
        if location.state is LocationState.ERROR:
            view.say(f"{location.name} cannot be loaded: {location.message}")
    if as_json:
        states = {location.name: location.state for location in status.locations}
        click.echo(json.dumps({"url": deployment.url, "home": str(deployment.home), "locations": states}))
    view.say(f"Dagster is up at {deployment.url} (Ctrl-C stops it)")


class _View(AbstractContextManager["_View"]):
    """Progress as a live table on a terminal, and as one line per change elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console) if console.is_terminal else None
        self._seen: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, line: str) -> None:
        """Print a line, above the table while there is one."""
        self._console.print(line, markup=False)

    def update(self, status: DeploymentStatus) -> None:
        """Show how far everything is."""
        if self._live:
            self._live.update(_table(status))
            return
        for name, state, seconds in _rows(status):
            if self._seen.get(name) != state:
                self._seen[name] = state
                self.say(f"{name}: {state}{f' after {seconds} s' if seconds else ''}")


def _rows(status: DeploymentStatus) -> list[tuple[str, str, str]]:
    rows = [
        (location.name, str(location.state), f"{location.load_s:.1f}" if location.load_s else "")
        for location in status.locations
    ]
    for name, is_up in (("webserver", status.webserver_up), ("daemon", status.daemon_up)):
        rows.append((name, "up" if is_up else "starting", ""))
    return rows


def _table(status: DeploymentStatus) -> Table:
    table = Table("", "state", "load, s", box=None, header_style="dim")
    table.columns[2].justify = "right"
    for name, state, seconds in _rows(status):
        table.add_row(name, Text(state, style=_STYLES.get(state, "")), seconds)
    return table
