"""How a text from outside is shown in Markdown: literally, in one line. `rendering` applies it to whatever is inserted.

Names of code locations, sides, sweeps and runs, errors, and the answers of other servers may hold anything.
"""

import re
from collections.abc import Iterable, Sequence

from bench_orchestrator.model.text import legible

_MARKUP = re.compile(r"[\\`*_\[\]<>|~&#]")
_MARKUP_OR_INTERVAL = re.compile(rf"(?<=\S )\[(?:no interval|[-+−–\d., ]*)\](?![\[(])|{_MARKUP.pattern}")


class Markdown(str):
    """Text that is Markdown already, in which everything from outside has been escaped."""

    __slots__ = ()


def escape(text: str) -> Markdown:
    """Escape external text as one line of Markdown that shows it literally, without markup, images or links."""
    return Markdown(_MARKUP.sub(r"\\\g<0>", legible(" ".join(text.split()))))


def prose(text: str) -> Markdown:
    """Escape a sentence likewise, except intervals, which stay easy to read: `28.0 s [27.1, 31.0]`."""
    return Markdown(_MARKUP_OR_INTERVAL.sub(_escape_markup, legible(re.sub(r"\s+", " ", text))))


def code(text: str) -> Markdown:
    """Show external text as code, in one line."""
    text = legible(" ".join(text.split())) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return Markdown(f"{fence} {text} {fence}" if len(fence) > 1 else f"`{text}`")


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> Markdown:
    """Render a table; cells that are not Markdown are escaped."""
    lines = [head, ["---"] * len(head), *body]
    return Markdown("\n".join(f"| {' | '.join(map(as_markdown, cells))} |" for cells in lines))


def bar(value: float, longest: float) -> Markdown:
    """Draw a value as a bar of 1 to 12 blocks, as a share of the longest."""
    return Markdown("█" * max(1, round(12 * value / (longest or 1.0))))


def as_markdown(text: str) -> Markdown:
    """Return Markdown unchanged, and escape any other text."""
    return text if isinstance(text, Markdown) else prose(text)


def _escape_markup(found: re.Match[str]) -> str:
    return found[0] if len(found[0]) > 1 else f"\\{found[0]}"
