"""The console that the commands print to."""

from collections.abc import Iterable
from typing import Any, NoReturn

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from bench_orchestrator.model.text import legible

_WIDTH_IN_A_PIPE = 120


class LegibleConsole(Console):
    """A console on which a text from outside is shown as it is: it moves no cursor, and is neither markup nor emoji."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a string legible before its width counts."""
        return super().render_str(legible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Make all other texts legible; rich's own control codes stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=legible(segment.text))

    def on_broken_pipe(self) -> NoReturn:
        """Leave the exit code to the command; rich itself would end it with 1."""
        raise


def open_console(*, as_json: bool = False) -> Console:
    """Open standard output, or standard error where standard output holds JSON; wide enough for tables in a pipe."""
    console = LegibleConsole(stderr=as_json, highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDTH_IN_A_PIPE
    return console
