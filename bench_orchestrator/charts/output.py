"""Figures -> files and bytes: the same figure gives the same bytes, so reports can be compared."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from bench_orchestrator.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE_DPI = 220
"""Of the PNG files: 1,100 pixels wide, sharp on a dense screen."""


@dataclass(frozen=True)
class ChartFiles:
    """Where the files of one chart are."""

    png: Path
    svg: Path


def save(figure: Figure, directory: Path, stem: str) -> ChartFiles:
    """Write `stem.png` and `stem.svg` into the directory, made if need be; each appears whole or not at all.

    Raises:
        OSError: a file cannot be written.
    """
    files = ChartFiles(png=directory / f"{stem}.png", svg=directory / f"{stem}.svg")
    directory.mkdir(parents=True, exist_ok=True)
    for path, content in ((files.png, _png(figure, FILE_DPI)), (files.svg, _svg(figure))):
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    return files


def inline_png(figure: Figure, width_px: int = 470) -> bytes:
    """A small PNG of that width for a `data:` image in the event log; by default as wide as its dialog."""
    with Image.open(io.BytesIO(_png(figure, width_px / figure.get_figwidth()))) as image:
        small = io.BytesIO()
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def _png(figure: Figure, dpi: float) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi, metadata={"Software": None})
    return content.getvalue()


def _svg(figure: Figure) -> bytes:
    import matplotlib

    content = io.BytesIO()
    # Element ids are random unless they are salted, and matplotlib takes the salt from its settings alone.
    with matplotlib.rc_context({"svg.hashsalt": "dagster-bench"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Title": figure.get_suptitle()})
    return content.getvalue()
