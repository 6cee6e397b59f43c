"""The chart of all locations over time: one panel each, with its sweeps, its levels, and when they changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from bench_orchestrator.analysis.history import LevelChange, Trend, marked_versions
from bench_orchestrator.analysis.history_wording import describe_change, headline
from bench_orchestrator.analysis.wording import NOTHING_MEASURED, describe_estimate, digits_of
from bench_orchestrator.charts import canvas, marks

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_PANELS = 8
_MOST_CHANGES = 8
"""Maximum changes that the footer lists, the latest."""
_MOST_VERSIONS = 3
"""Maximum versions that a panel names, the latest."""
_LABEL_LETTERS = 30
_PANEL_INCHES = 1.25
_AXIS_INCHES = 0.55
_LEGEND_LINE_INCHES = 0.17
_LEGEND_GAP_INCHES = 0.02
_MARGIN = 0.02
"""Space before the first and after the last sweep, as a fraction of the time between them."""
_LEAST_MARGIN_DAYS = 0.01

_FASTER = "#009E73"
_BAND = "#BBD7EE"
_DOTS: dict[str, Any] = {"ms": 2.6, "mew": 0, "alpha": 0.55, "color": canvas.QUEUE}
_BEYOND: dict[str, Any] = {**_DOTS, "marker": "^", "ms": 3.6, "linestyle": "", "clip_on": False}
_LEVEL: dict[str, Any] = {"color": canvas.INK, "lw": 1.4, "solid_capstyle": "butt"}
_VERSION: dict[str, Any] = {"marker": "v", "ms": 4.5, "mew": 0, "color": canvas.MUTED, "linestyle": ""}

_USUAL_SHARE = 0.98
"""The fraction of the sweeps that the axis has room for; slower ones are triangles at its edge."""
_ROOM = 1.35
_GAP = 0.17
"""Minimum distance of two labels, as a fraction of the axis."""


def lag_over_time(trends: Sequence[Trend]) -> Figure:
    """Draw the startup time of each location over time, those with a change first."""
    shown = sorted(trends, key=lambda trend: not trend.changes)[:_MOST_PANELS]
    handles = _handles(shown)
    heights = [_LEGEND_GAP_INCHES, *[_PANEL_INCHES] * max(len(shown), 1)]
    figure = canvas.sheet(
        headline(trends),
        list(_footer(trends, shown)),
        sum(heights) + _AXIS_INCHES + _LEGEND_LINE_INCHES * ceil(len(handles) / marks.LEGEND_COLUMNS),
    )
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    legend, *axes = [figure.add_subplot(grid[row]) for row in range(len(heights))]
    legend.set_axis_off()
    for ax in axes:
        canvas.style(ax)
    if not shown:
        canvas.say_nothing_measured(axes[0], NOTHING_MEASURED)
        return figure
    marks.legend(legend, handles)
    dates = canvas.as_dates(point.at_us for trend in shown for point in trend.history.points)
    room = max(_MARGIN * (max(dates) - min(dates)), _LEAST_MARGIN_DAYS)
    for ax, trend in zip(axes, shown, strict=True):
        ax.set_xlim(min(dates) - room, max(dates) + room)
        canvas.place_dates(ax.xaxis)
        ax.tick_params(labelbottom=ax is axes[-1])
        ax.xaxis.get_offset_text().set_visible(ax is axes[-1])
        _draw_panel(ax, trend)
        _name_marks(ax, trend)
    return figure


def _draw_panel(ax: Axes, trend: Trend) -> None:
    """Draw a dot for each sweep, a line with its interval for each level, and a line across for each change."""
    startups_s = np.array([point.startup_s for point in trend.history.points])
    ends_s = [end for level in trend.levels for end in (level.startup_s.value, level.startup_s.high or 0.0)]
    top_s = _ROOM * max(float(np.quantile(startups_s, _USUAL_SHARE)), *ends_s) or 1.0
    dates = np.array(canvas.as_dates(point.at_us for point in trend.history.points))
    within = startups_s <= top_s
    marks.draw_launches(ax, dates[within].tolist(), startups_s[within].tolist(), **_DOTS)
    for date in dates[~within]:
        ax.plot(date, top_s, **_BEYOND)
    for level in trend.levels:
        ends = canvas.as_dates((level.points[0].at_us, level.points[-1].at_us))
        ax.plot(ends, [level.startup_s.value] * 2, **_LEVEL)
        if level.startup_s.low is not None and level.startup_s.high is not None:
            ax.fill_between(ends, level.startup_s.low, level.startup_s.high, color=_BAND, lw=0, zorder=1)
    for change in trend.changes:
        ax.axvline(canvas.as_dates([change.at_us])[0], **_change_style(change))
    for at_us, _ in marked_versions(trend.history):
        ax.plot(canvas.as_dates([at_us]), 0.0, **_VERSION, clip_on=False, zorder=3)
    ax.set_ylim(0, top_s)
    ax.set_ylabel("seconds", fontsize=canvas.TEXT_POINTS, color=canvas.INK)
    canvas.place_ticks(ax.yaxis, 3)
    ax.grid(axis="y", color=canvas.GRID, linewidth=0.8)
    present = describe_estimate(trend.levels[-1].startup_s, digits=None)
    ax.set_title(
        f"{canvas.shorten(trend.location, marks.NAME_LETTERS)}: startup time {present}",
        loc="left",
        fontsize=canvas.TEXT_POINTS,
        fontweight="bold",
        color=canvas.INK,
    )


def _name_marks(ax: Axes, trend: Trend) -> None:
    """Write what changes beside the marks if there is room: changes above, versions below, latest first."""
    changes = [(change.at_us, _amount(change), _colour(change)) for change in trend.changes]
    versions = [(at_us, words, canvas.MUTED) for at_us, words in marked_versions(trend.history)[-_MOST_VERSIONS:]]
    left, right = ax.get_xlim()
    for labels, height, side, gap in ((changes, 0.98, "top", _GAP), (versions, 0.06, "bottom", 3 * _GAP)):
        taken = right + gap * (right - left)
        for at_us, words, colour in reversed(labels):
            (date,) = canvas.as_dates([at_us])
            if taken - date < gap * (right - left):
                continue
            taken = date
            on_the_left = date > (left + right) / 2
            ax.annotate(
                canvas.shorten(words, _LABEL_LETTERS),
                (date, height),
                xycoords=("data", "axes fraction"),
                xytext=(-4 if on_the_left else 4, 0),
                textcoords="offset points",
                ha="right" if on_the_left else "left",
                va=side,
                fontsize=canvas.SMALL_POINTS,
                color=colour,
            )


def _handles(shown: Sequence[Trend]) -> list[Artist]:
    changes = [change for trend in shown for change in trend.changes]
    handles: list[Artist] = [
        canvas.line(marker="o", linestyle="", **_DOTS, label="a sweep's median"),
        canvas.line(**_LEVEL, label="level, with interval"),
    ]
    if any(change.slower for change in changes if change.stage is None):
        handles.append(canvas.line(color=canvas.ALARM, lw=1.2, label="slower from here"))
    if any(not change.slower for change in changes if change.stage is None):
        handles.append(canvas.line(color=_FASTER, lw=1.2, label="faster from here"))
    if any(change.stage for change in changes):
        handles.append(canvas.line(color=canvas.MUTED, lw=1, linestyle=":", label="one stage alone"))
    if any(marked_versions(trend.history) for trend in shown):
        handles.append(canvas.line(**_VERSION, label="other version or size"))
    return handles


def _footer(trends: Sequence[Trend], shown: Sequence[Trend]) -> Iterator[str]:
    """Yield the latest changes, what is left out, and the circumstances of the latest sweep."""
    yield (
        "Startup time is the launch lag without the random queue wait. Sweeps beyond the axis are triangles at its "
        "edge."
    )
    changes = sorted((change for trend in trends for change in trend.changes), key=lambda change: -change.at_us)
    yield from (f"{describe_change(change)}." for change in changes[:_MOST_CHANGES])
    if len(changes) > _MOST_CHANGES:
        yield f"{len(changes) - _MOST_CHANGES} earlier changes are in the table."
    if len(trends) > len(shown):
        yield f"{len(trends) - len(shown)} more locations are not drawn."
    if trends:
        latest = max((trend.history.points[-1] for trend in trends), key=lambda point: point.at_us)
        yield canvas.describe_circumstances(latest.at_us, latest.circumstances, ())


def _change_style(change: LevelChange) -> dict[str, Any]:
    return {
        "color": _colour(change),
        "lw": 1.2 if change.stage is None else 1.0,
        "ls": "-" if change.stage is None else ":",
    }


def _amount(change: LevelChange) -> str:
    seconds = change.difference_s.value
    return f"{seconds:+.{digits_of([seconds])}f} s".replace("-", "\N{MINUS SIGN}")


def _colour(change: LevelChange) -> str:
    if change.stage is not None:
        return canvas.MUTED
    return canvas.ALARM if change.slower else _FASTER
