"""Self-contained HTML pages from Markdown: inline style, embedded images, legible on a phone."""

import base64
from collections.abc import Iterable, Iterator
from html import escape
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from bench_orchestrator.report.rendering import render


def render_page(markdown: str, directory: Path) -> str:
    """Render the page of a report whose SVG images are in the directory.

    Raises:
        OSError: an image cannot be read.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    for image in _images(tokens):
        content = (directory / str(image.attrs["src"])).read_bytes()
        image.attrs["src"] = f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
    title = next(inline.content for heading, inline in pairwise(tokens) if heading.tag == "h1")
    return render("page.html.j2", title=escape(title), body=parser.renderer.render(tokens, parser.options, {}))


def _images(tokens: Iterable[Token]) -> Iterator[Token]:
    for token in tokens:
        if token.type == "image":
            yield token
        else:
            yield from _images(token.children or ())
