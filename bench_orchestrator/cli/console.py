"""Where the commands print what people read."""

from rich.console import Console

_WIDTH_IN_A_PIPE = 120


def open_console(*, as_json: bool = False) -> Console:
    """Standard output, or standard error where that is kept for JSON; wide enough for tables when piped."""
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDTH_IN_A_PIPE
    return console
