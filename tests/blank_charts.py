"""Blank pictures in place of charts: drawing one takes a second, and `tests/charts` tests it."""

import io
from functools import cache

from PIL import Image

from bench_orchestrator.charts import output


@cache
def _blank() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (1_100, 600), "white").save(content, "PNG")
    return content.getvalue()


BLANK = {
    "_png": lambda _figure, _dpi: _blank(),
    "_svg": lambda _figure: b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
}
"""The functions of `charts.output` that draw, by name, and what takes their place."""


def leave_charts_blank() -> None:
    """Draw no more charts in this process and its forks."""
    for name, blank in BLANK.items():
        setattr(output, name, blank)
