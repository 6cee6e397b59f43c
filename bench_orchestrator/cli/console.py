"""The console that the commands print to."""

from typing import NoReturn

from rich.console import Console

_WIDTH_IN_A_PIPE = 120


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Leave the exit code to the command; rich itself would end it with 1."""
        raise


def open_console(*, as_json: bool = False) -> Console:
    """Open standard output, or standard error where standard output holds JSON; wide enough for tables in a pipe."""
    console = _Console(stderr=as_json, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDTH_IN_A_PIPE
    return console
