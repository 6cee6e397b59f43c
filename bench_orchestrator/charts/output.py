"""Output of figures as files and bytes. Equal figures give equal bytes, so reports can be compared."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from bench_orchestrator.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE_DPI = 220
"""Resolution of the PNG files: 1,100 pixels wide, sharp on a high-density screen."""

_LONGEST_PX = 30_000
"""Maximum height: matplotlib draws up to 65,535 pixels, and a chart of a thousand locations takes 40 MB."""


@dataclass(frozen=True)
class ChartFiles:
    """The files of one chart."""

    png: Path
    svg: Path


def save(figure: Figure, directory: Path, stem: str) -> ChartFiles:
    """Write `stem.png` and `stem.svg` atomically into the directory; create it if it does not exist.

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
    """Return a small PNG for a `data:` image in the event log, by default as wide as the Dagster UI's dialog."""
    with Image.open(io.BytesIO(_png(figure, width_px / figure.get_figwidth()))) as image:
        small = io.BytesIO()
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def _png(figure: Figure, dpi: float) -> bytes:
    content = io.BytesIO()
    dpi = min(dpi, _LONGEST_PX / figure.get_figheight())
    with _literal_texts(figure):
        figure.savefig(content, format="png", dpi=dpi, metadata={"Software": None})
    return content.getvalue()


def _svg(figure: Figure) -> bytes:
    content = io.BytesIO()
    with _literal_texts(figure):
        figure.savefig(content, format="svg", metadata={"Date": None, "Title": figure.get_suptitle()})
    return content.getvalue()


@contextmanager
def _literal_texts(figure: Figure) -> Iterator[None]:
    """Draw every text as it is: names may contain `$`, which would begin a formula, and letters that no font has.

    Names that leave the axes no room are drawn over them.
    """
    import matplotlib
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    # Texts that are made while drawing follow the settings. So do the ids in an SVG, which are random without a salt.
    with (
        matplotlib.rc_context({"text.parse_math": False, "svg.hashsalt": "dagster-bench"}),
        warnings.catch_warnings(),
    ):
        for harmless in ("Glyph .* missing from", "constrained_layout not applied"):
            warnings.filterwarnings("ignore", harmless, UserWarning)
        yield
