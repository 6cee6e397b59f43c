"""Drawing primitives shared by the charts: rows of locations, intervals, labels, legends."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench_orchestrator.analysis import wording
from bench_orchestrator.analysis.summary import Row
from bench_orchestrator.charts import canvas
from bench_orchestrator.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

NAME_LETTERS = 20
"""Characters of a name that fit on a line beside a chart."""

LEGEND_COLUMNS = 3
"""Maximum entries on a line of a legend."""

_MOST_LETTERS = 30
"""Characters of a name on one line that leave room for the chart."""

_NAME_LINES = 3

_MOST_SHAPES = 500
"""Maximum dots of one row that are stored as shapes in an SVG, at 100 bytes each."""


def lay_out_rows(ax: Axes, rows: Sequence[Row], unit: str, *, named: bool = True) -> None:
    """Lay out a horizontal band for each location, the first on top, with its name and size on the left."""
    lay_out_bands(ax, [(row.label, row.size) if named else ("", "") for row in rows], unit)


def lay_out_bands(ax: Axes, names: Sequence[tuple[str, str]], unit: str) -> None:
    """Lay out a horizontal band for each (name, note), the first on top, with the note in small type below."""
    ax.set_ylim(len(names) - 0.45, -0.55)
    ax.set_yticks(
        range(len(names)),
        [f"{canvas.shorten(name, _MOST_LETTERS)}\n" if below else wrap_name(name) for name, below in names],
        color=canvas.INK,
    )
    ax.set_xlabel(unit, fontsize=canvas.TEXT_POINTS, color=canvas.INK)
    ax.grid(axis="x", color=canvas.GRID, linewidth=0.8)
    for position, (_, below) in enumerate(names):
        ax.annotate(
            below,
            (0, position),
            xycoords=("axes fraction", "data"),
            xytext=(-4, -6),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=canvas.SMALL_POINTS - 0.6,
            color=canvas.MUTED,
        )


def wrap_name(name: str) -> str:
    """Wrap a long name onto two lines, split at its last comma if it has one; shorten a longer one."""
    name = canvas.shorten(name, _NAME_LINES * NAME_LETTERS)
    head, comma, tail = name.rpartition(", ")
    if len(name) <= NAME_LETTERS or not comma:
        return textwrap.fill(name, NAME_LETTERS, break_on_hyphens=False)
    return f"{head},\n{tail}"


def rows_height(rows: Sequence[Row]) -> float:
    """Return the height in inches of a chart's rows, axis and legend."""
    return canvas.ROW_INCHES * max(len(rows), 2) + 0.9


def leave_room(ax: Axes, longest: float, factor: float) -> None:
    """Extend the x axis from zero past the longest value, so that a label fits after it; past 1 if all are zero."""
    ax.set_xlim(0, (longest or 1.0) * factor)
    canvas.place_ticks(ax.xaxis, 6, integer=True)


def draw_interval(ax: Axes, estimate: Estimate, position: float) -> None:
    """Draw an interval as a line with caps, if there is one."""
    if estimate.low is None or estimate.high is None:
        return
    ax.plot([estimate.low, estimate.high], [position, position], "|-", color=canvas.INK, lw=1, ms=6)


def draw_launches(ax: Axes, x: float | Sequence[float], y: float | Sequence[float], **style: Any) -> None:
    """Draw a dot for each launch; above `_MOST_SHAPES` they are rasterized to limit the size of the SVG."""
    xs, ys = np.broadcast_arrays(x, y)
    ax.plot(xs, ys, **{"marker": "o", "linestyle": "", **style}, rasterized=xs.size > _MOST_SHAPES)


def label_piece(ax: Axes, x: float, position: float, text: str, colour: str) -> None:
    """Write a text inside a bar, in black or white, depending on the bar's colour."""
    ax.text(
        x,
        position,
        text,
        ha="center",
        va="center_baseline",
        fontsize=canvas.SMALL_POINTS,
        color="white" if canvas.is_dark(colour) else canvas.INK,
    )


def label_end(ax: Axes, x: float, position: float, text: str, row: Row | None = None) -> None:
    """Write the total after a bar and, given its row, how many trials are missing, in the alarm colour."""
    ax.annotate(
        text,
        (x, position),
        xytext=(6, 0),
        textcoords="offset points",
        va="center_baseline",
        fontsize=canvas.TEXT_POINTS,
        fontweight="bold",
        color=canvas.INK,
    )
    if row is not None and row.failures:
        ax.annotate(
            f"{sum(row.failures.values())} of {row.trials} missing",
            (x, position),
            xytext=(10 + 5.4 * len(text), 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=canvas.SMALL_POINTS - 0.6,
            color=canvas.ALARM,
        )


def label_nothing(ax: Axes, position: float, row: Row) -> None:
    """Write, in place of a bar, that nothing was measured, and why."""
    reason = wording.describe_outcomes(row.failures) or "no trials"
    ax.annotate(
        f"{wording.NOTHING_MEASURED.lower()}: {reason}",
        (0, position),
        xytext=(4, 0),
        textcoords="offset points",
        va="center_baseline",
        fontsize=canvas.TEXT_POINTS,
        color=canvas.ALARM,
    )


def legend(ax: Axes, handles: Sequence[Artist]) -> None:
    """Place the legend above the axes, where it covers nothing."""
    ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=LEGEND_COLUMNS,
        frameon=False,
        fontsize=canvas.TEXT_POINTS - 0.5,
        handlelength=1,
        handletextpad=0.5,
        columnspacing=1.2,
        borderaxespad=0.2,
    )
