"""The Gantt chart of runs or steps: panels one below the other on one time axis, above each the numbers in progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from bench_orchestrator.analysis.wording import describe_outcome
from bench_orchestrator.charts import canvas, marks
from bench_orchestrator.charts.waterfall import RUNNING
from bench_orchestrator.model.instants import MICROSECONDS, describe_us
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.waterfall.gantt import (
    ID_LETTERS,
    PHASES,
    Curve,
    Gantt,
    Panel,
    Phase,
    Row,
    Unit,
    headline,
    lines,
    remarks,
    thin_out,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_ROWS = 300
"""Maximum rows of all panels: of more, a bar would be thinner than a pixel of the Dagster UI's dialog."""

_ROWS_INCHES = 4.8
_PANEL_INCHES = 0.9
"""Height for the rows of one panel, and for those of each further one."""
_THINNEST_INCHES, _THICKEST_INCHES = 0.03, 0.17
_NAME_INCHES = 0.125
"""Minimum distance of two names."""
_CURVE_INCHES = 0.36
_AXIS_INCHES = 0.5
_GAP_INCHES = 0.3
_LEGEND_LINE_INCHES = 0.17
_LEGEND_GAP_INCHES = 0.02
_NAME_LETTERS = 24
_TITLE_LETTERS = 60
_BAR = 0.8
"""Height of a bar, in rows."""
_POINTS_PER_INCH = 72
_SMALLEST_MARK_POINTS, _LARGEST_MARK_POINTS = 2.5, 5
_CURVE = "#B9B9B9"
_ROOM = 0.02
"""Space after the last bar, as a fraction of the axis."""

_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Colours of groups, from the palette of Okabe and Ito."""
_OTHERS = "#8C8C8C"
"""Colour of all further groups."""

_TINTS: Mapping[Phase, float] = {Phase.QUEUED: 0.22, Phase.STARTING: 0.5, Phase.RUNNING: 1.0}
"""How much of its colour a phase has; the rest is white."""

_OUTCOME_INK: Mapping[Outcome, str] = {Outcome.CANCELED: canvas.MUTED, Outcome.FAILED: canvas.ALARM}
"""Colour of the cross at the end of a row that did not end well."""

_OPEN: Mapping[str, Any] = {"marker": ">", "color": canvas.INK, "linestyle": "", "markeredgewidth": 0}


def gantt(shown: Gantt) -> Figure:
    """Draw the panels, each with a row per run or step, in its colour or that of its group.

    Of many rows, some are left out, evenly, and not every one has its name beside it.
    """
    most = _MOST_ROWS // len(shown.panels)
    panels = [thin_out(lines(panel.rows), most) for panel in shown.panels]
    room = _ROWS_INCHES + _PANEL_INCHES * (len(panels) - 1)
    row_inches = min(max(room / sum(map(len, panels)), _THINNEST_INCHES), _THICKEST_INCHES)
    colours = _colours(shown)
    handles = _handles(shown, colours)
    heights = [_LEGEND_GAP_INCHES]
    for panel, rows in zip(shown.panels, panels, strict=True):
        heights += [_CURVE_INCHES] * len(_curves(shown.unit, panel)) + [row_inches * len(rows)]
    figure = canvas.sheet(
        headline(shown),
        [
            *remarks(shown, most, by_line=True),
            canvas.describe_circumstances(shown.panels[0].zero_us, shown.environment, []),
        ],
        sum(heights)
        + _AXIS_INCHES
        + _GAP_INCHES * len(panels)
        + _LEGEND_LINE_INCHES * ceil(len(handles) / marks.LEGEND_COLUMNS),
    )
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    axes = [figure.add_subplot(grid[row]) for row in range(len(heights))]
    legend, *axes = axes
    legend.set_axis_off()
    marks.legend(legend, handles)
    for ax in axes:
        canvas.style(ax)
        ax.grid(axis="x", color=canvas.GRID, linewidth=0.8)
        ax.set_xlim(0, (shown.end_us or MICROSECONDS) * (1 + _ROOM) / MICROSECONDS)
        canvas.place_ticks(ax.xaxis, 6)
        ax.tick_params(labelbottom=ax is axes[-1])
    axes[-1].set_xlabel(f"seconds since {shown.zero_words}", fontsize=canvas.TEXT_POINTS, color=canvas.INK)
    remaining = iter(axes)
    for panel, rows in zip(shown.panels, panels, strict=True):
        for number, (what, curve) in enumerate(_curves(shown.unit, panel)):
            ax = next(remaining)
            if not number and len(panels) > 1:
                _write_title(ax, panel)
            _draw_curve(ax, what, curve, panel.makespan_us)
        _draw_rows(next(remaining), rows, shown.unit, colours, row_inches)
    return figure


def _curves(unit: Unit, panel: Panel) -> list[tuple[str, Curve]]:
    """Return the curves above a panel's rows, with what they count."""
    curves = [(f"{unit} in progress", panel.in_progress)]
    return [*curves, ("batches in flight", panel.in_flight)] if panel.in_flight else curves


def _colours(shown: Gantt) -> Mapping[str, str]:
    """Return the colour of each group, of which the largest have their own."""
    sizes = {group: sum(row.group == group for row in shown.rows) for group in shown.groups}
    coloured = sorted(sizes, key=lambda group: -sizes[group])[: len(_PALETTE)]
    own = iter(_PALETTE)
    return {group: next(own) if group in coloured else _OTHERS for group in shown.groups}


def _handles(shown: Gantt, colours: Mapping[str, str]) -> list[Artist]:
    """Return the entries of the legend: the phases, the groups, and how rows end that did not end well."""
    of_phases = _OTHERS if colours else RUNNING
    handles: list[Artist] = [
        canvas.patch(color=_tint(of_phases, phase), label=words) for phase, words in PHASES[shown.unit].items()
    ]
    handles += [
        canvas.patch(color=colour, label=canvas.shorten(group, _NAME_LETTERS))
        for group, colour in colours.items()
        if colour != _OTHERS
    ]
    if _OTHERS in colours.values():
        handles.append(canvas.patch(color=_OTHERS, label="others"))
    for outcome in dict.fromkeys(row.outcome for row in shown.rows if row.outcome is not None):
        handles.append(canvas.line(**_cross(outcome), label=describe_outcome(outcome)))
    if any(row.is_open for row in shown.rows):
        handles.append(canvas.line(**_OPEN, label="no end yet"))
    return handles


def _write_title(ax: Axes, panel: Panel) -> None:
    text = f"{canvas.shorten(panel.title, _TITLE_LETTERS)}: {describe_us(panel.makespan_us)}"
    ax.set_title(text, loc="left", fontsize=canvas.TEXT_POINTS, fontweight="bold", color=canvas.INK)


def _draw_curve(ax: Axes, what: str, curve: Curve, end_us: int) -> None:
    """Draw a number over time as an area, with its peak on the left."""
    instants = [us / MICROSECONDS for us in (*(us for us, _ in curve.changes), end_us)]
    numbers = [*(number for _, number in curve.changes), curve.changes[-1][1]]
    ax.fill_between(instants, numbers, step="post", color=_CURVE, linewidth=0)
    ax.set_ylim(0, max(curve.peak, 1) * 1.1)
    ax.set_yticks(
        [curve.peak / 2], [f"{what},\nup to {curve.peak:,}"], fontsize=canvas.SMALL_POINTS, color=canvas.MUTED
    )


def _draw_rows(
    ax: Axes, drawn_lines: Sequence[Sequence[Row]], unit: Unit, colours: Mapping[str, str], row_inches: float
) -> None:
    """Draw the bars of each line, the first on top; a cross where one did not end well, an arrow without an end."""
    ax.set_ylim(len(drawn_lines) - 0.4, -0.6)
    named = range(0, len(drawn_lines), ceil(_NAME_INCHES / row_inches))
    ax.set_yticks(
        named,
        [_label(drawn_lines[position][0], unit) for position in named],
        fontsize=canvas.SMALL_POINTS,
        color=canvas.INK,
    )
    rows = [(position, row) for position, line in enumerate(drawn_lines) for row in line]
    drawn = [(position, row.group, segment) for position, row in rows for segment in row.segments]
    canvas.fill_boxes(
        ax,
        [
            (segment.start_us / MICROSECONDS, segment.end_us / MICROSECONDS, position - _BAR / 2, position + _BAR / 2)
            for position, _, segment in drawn
        ],
        [_tint(colours.get(group, RUNNING), segment.phase) for _, group, segment in drawn],
    )
    size = min(row_inches * _POINTS_PER_INCH * _BAR, _LARGEST_MARK_POINTS)
    for position, row in rows:
        for style in ([_OPEN] if row.is_open else []) + ([_cross(row.outcome)] if row.outcome else []):
            ax.plot(
                row.end_us / MICROSECONDS, position, **style, markersize=max(size, _SMALLEST_MARK_POINTS), clip_on=False
            )


def _label(row: Row, unit: Unit) -> str:
    """Return a run's id as Dagster's UI shows it, or a step's batch or key."""
    return row.name[:ID_LETTERS] if unit is Unit.RUNS else canvas.shorten(row.batch or row.name, _NAME_LETTERS)


def _cross(outcome: Outcome) -> Mapping[str, Any]:
    colour = _OUTCOME_INK.get(outcome, canvas.INK)
    return {"marker": "x", "color": colour, "linestyle": "", "markeredgewidth": 1.2}


def _tint(colour: str, phase: Phase) -> str:
    """Return a colour with as much white as its phase has."""
    from matplotlib.colors import to_hex, to_rgb

    share = _TINTS[phase]
    red, green, blue = (share * part + 1 - share for part in to_rgb(colour))
    return to_hex((red, green, blue))
