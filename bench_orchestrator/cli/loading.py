"""The view of a deployment that is loading."""

from contextlib import AbstractContextManager
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench_orchestrator.deployment import DeploymentStatus

_STYLES = {
    "waiting": "dim",
    "loading": "yellow",
    "starting": "yellow",
    "loaded": "green",
    "up": "green",
    "error": "red",
}

_NOT_YET = ("waiting", "starting")


class LoadingView(AbstractContextManager["LoadingView"]):
    """Shows progress as a live table on a terminal, and as one line per change elsewhere."""

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
        """Print a line, above the table if there is one."""
        self._console.print(line)

    def update(self, status: DeploymentStatus) -> None:
        """Show the state of every server."""
        if self._live:
            self._live.update(_table(status))
            return
        for name, state, seconds in _rows(status):
            if self._seen.get(name) != state and state not in _NOT_YET:
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
