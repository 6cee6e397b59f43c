"""Pictures of charts, read back as a viewer would."""

import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from bench_orchestrator.charts import inline_png


def words(figure: Figure) -> str:
    """Return all text on a figure."""
    texts = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
    return " ".join("\n".join(texts).replace("\N{NO-BREAK SPACE}", " ").split())


def check_small(figure: Figure) -> None:
    """Check that the picture in the catalog is small, as wide as the UI's dialog, and not blank."""
    content = inline_png(figure)
    assert len(content) < 60_000
    with Image.open(io.BytesIO(content)) as image:
        assert image.width == 470
        assert len(np.unique(np.asarray(image.convert("L")))) > 10


def check_legible(figure: Figure) -> None:
    """Check that no text is cut off by the edges, and that none is written over another."""
    figure.draw_without_rendering()
    shown = [ax for ax in figure.axes if ax.axison]
    texts = [*figure.texts, *(text for ax in figure.axes for text in ax.texts)]
    texts += [text for ax in shown for text in (*ax.get_yticklabels(), ax.title)]
    texts += [text for ax in figure.axes if (legend := ax.get_legend()) for text in legend.get_texts()]
    boxes = [_extent(text) for text in texts if text.get_text().strip()]
    for box in boxes:
        assert figure.bbox.x0 - 1 <= box.x0
        assert box.x1 <= figure.bbox.x1 + 1
        assert figure.bbox.y0 - 1 <= box.y0
        assert box.y1 <= figure.bbox.y1 + 1
    overlaps = [
        (one, other)
        for number, one in enumerate(boxes)
        for other in boxes[:number]
        if min(one.x1, other.x1) - max(one.x0, other.x0) > 1 and min(one.y1, other.y1) - max(one.y0, other.y0) > 3
    ]
    assert overlaps == []


def _extent(text: Text) -> Bbox:
    """Return the box of a text; for a name above an empty line that another text fills, only its upper half."""
    box = text.get_window_extent()
    lower = (box.y0 + box.y1) / 2 if text.get_text().endswith("\n") else box.y0
    return Bbox.from_extents(box.x0, lower, box.x1, box.y1)
