"""Markdown -> one HTML page that needs nothing else: style inlined, images embedded, readable on a phone."""

import base64
from collections.abc import Iterable, Iterator
from html import escape
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }}
h1 {{ font-size: 1.5rem; line-height: 1.25; }}
h2 {{ font-size: 1.2rem; margin-top: 2.5rem; }}
table {{ display: block; overflow-x: auto; border-collapse: collapse; font-size: 0.875rem; }}
th, td {{ padding: 0.3rem 0.8rem 0.3rem 0; border-bottom: 1px solid #8884; text-align: left; }}
th, td {{ vertical-align: top; font-variant-numeric: tabular-nums; }}
img {{ display: block; width: 100%; max-width: 44rem; margin-top: 2.5rem; background: white; border-radius: 6px; }}
em {{ color: GrayText; }}
pre {{ overflow-x: auto; padding: 0.8rem; background: #8882; border-radius: 6px; }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def render_page(markdown: str, directory: Path) -> str:
    """The page of a report whose SVG images are in the directory.

    Raises:
        OSError: an image cannot be read.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    for image in _images(tokens):
        content = (directory / str(image.attrs["src"])).read_bytes()
        image.attrs["src"] = f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
    title = next(inline.content for heading, inline in pairwise(tokens) if heading.tag == "h1")
    return _PAGE.format(title=escape(title), body=parser.renderer.render(tokens, parser.options, {}))


def _images(tokens: Iterable[Token]) -> Iterator[Token]:
    for token in tokens:
        if token.type == "image":
            yield token
        else:
            yield from _images(token.children or ())
