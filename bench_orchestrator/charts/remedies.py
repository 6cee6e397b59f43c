"""The chart of all remedies: the saving of each per launch, with its interval, and its cost in a few words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench_orchestrator.analysis.advice import Advice, headline
from bench_orchestrator.analysis.remedies import RankedRemedy
from bench_orchestrator.analysis.wording import describe_estimate, quote
from bench_orchestrator.charts import canvas
from bench_orchestrator.charts.comparing import VERDICT_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_INCHES = 0.66
_MARGIN = 0.1
"""Space between the last row and the axis, in rows."""
_AXIS_INCHES = 0.48
_COSTS_POINTS = 6.2


def remedies_chart(advice: Advice) -> Figure:
    """Draw the remedies, best first, in one panel per quantity, as seconds of different quantities differ in scale."""
    quantities = dict.fromkeys(ranked.quantity for ranked in advice.measured)
    panels = [[ranked for ranked in advice.measured if ranked.quantity == quantity] for quantity in quantities]
    rows = [len(panel) + _MARGIN for panel in panels] or [2.0]
    figure = canvas.sheet(headline(advice), _footer(advice), sum(rows) * _ROW_INCHES + len(rows) * _AXIS_INCHES)
    grid = figure.add_gridspec(len(rows), 1, height_ratios=rows)
    axes = [figure.add_subplot(grid[row]) for row in range(len(rows))]
    for ax in axes:
        canvas.style(ax)
    if not panels:
        canvas.say_nothing_measured(axes[0], "bench run split-definitions\nbench run executors")
    for ax, panel in zip(axes, panels, strict=False):
        _draw_panel(ax, advice, panel)
    return figure


def _draw_panel(ax: Axes, advice: Advice, panel: Sequence[RankedRemedy]) -> None:
    ax.set_ylim(len(panel) - 0.5 + _MARGIN, -0.5)
    ax.set_yticks([])
    ax.set_xlabel(f"seconds saved, {panel[0].quantity}", fontsize=canvas.TEXT_POINTS, color=canvas.INK)
    ends = [0.0]
    for position, ranked in enumerate(panel):
        assert ranked.saved_s is not None
        assert ranked.verdict is not None
        saved, colour = ranked.saved_s, VERDICT_COLOURS[ranked.verdict]
        ends += [end for end in (saved.value, saved.low, saved.high) if end is not None]
        ax.barh(position, saved.value, 0.26, color=colour, alpha=0.85)
        if saved.low is not None and saved.high is not None:
            ax.plot([saved.low, saved.high], [position] * 2, "|-", color=canvas.INK, lw=1, ms=5)
        _write(ax, position, advice, ranked)
    room = max(ends) - min(ends) or 1.0
    ax.set_xlim(min(ends) - 0.02 * room, max(ends) + 0.02 * room)
    ax.axvline(0, color=canvas.MUTED, lw=0.8)
    canvas.place_ticks(ax.xaxis, 6)
    ax.grid(axis="x", color=canvas.GRID, linewidth=0.8)


def _write(ax: Axes, position: float, advice: Advice, ranked: RankedRemedy) -> None:
    """Write the remedy and its saving above the bar, and its baseline and cost below."""
    costs = ranked.remedy.costs.partition(". ")[0].rstrip(".")
    where = "" if ranked.at_assets == advice.assets else f" at {ranked.at_assets:,} assets"
    below = textwrap.fill(f"Against {quote(ranked.against)}{where}. {costs}.", 98)
    texts = (
        (0.0, 19, "left", ranked.remedy.name, canvas.TEXT_POINTS, "bold", canvas.INK),
        (1.0, 19, "right", describe_estimate(ranked.saved_s), canvas.TEXT_POINTS, "bold", canvas.INK),
        (0.0, -7, "left", below, _COSTS_POINTS, "normal", canvas.MUTED),
    )
    for x, offset, align, text, size, weight, colour in texts:
        written = ax.annotate(
            text,
            (x, position),
            xycoords=("axes fraction", "data"),
            xytext=(0, offset),
            textcoords="offset points",
            ha=align,
            va="top",
            fontsize=size,
            fontweight=weight,
            color=colour,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4},
        )
        written.set_in_layout(False)  # otherwise the axes shrink to fit a slightly wider text


def _footer(advice: Advice) -> list[str]:
    """Return the legend, the remedies without figures, and the model that extrapolated the others."""
    missing = [ranked.remedy.name.lower() for ranked in advice.remedies if ranked.saved_s is None]
    lines = [
        "Lines are intervals. Green saves time, red costs time, grey makes no difference beyond the noise, yellow is "
        "undecided."
    ]
    if missing:
        lines.append(f"Not measured here: {'; '.join(missing)}.")
    if advice.model is not None:
        plan = advice.model.plan
        lines.append(f"Extrapolated to {advice.size} from {advice.model.basis}.")
        lines.append(canvas.describe_circumstances(plan.created_us, plan.environment, ()))
    return lines
