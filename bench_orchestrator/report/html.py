"""Self-contained HTML pages from Markdown: inline style, embedded images, legible on a phone."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from bench_orchestrator.report.rendering import render


def render_page(markdown: str, pictures: Mapping[str, Path]) -> str:
    """Render the page of a report with its pictures; it shows no other image, and links to nothing.

    Args:
        pictures: the SVG files that the report has drawn, by the names that its Markdown has for them.

    Raises:
        OSError: a picture cannot be read.
    """
    from markupsafe import Markup  # deferred like Jinja2

    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["autolink", "link", "reference"])
    tokens = parser.parse(markdown)
    for image in _images(tokens):
        if (picture := pictures.get(str(image.attrs["src"]))) is not None:
            image.attrs["src"] = f"data:image/svg+xml;base64,{base64.b64encode(picture.read_bytes()).decode()}"
        else:
            image.type, image.tag = "text", ""
    title = next(inline.children or () for heading, inline in pairwise(tokens) if heading.tag == "h1")
    return render(
        "page.html.j2",
        title="".join(part.content for part in title),
        body=Markup(parser.renderer.render(tokens, parser.options, {})),
    )


def _images(tokens: Iterable[Token]) -> Iterator[Token]:
    for token in tokens:
        if token.type == "image":
            yield token
        else:
            yield from _images(token.children or ())
