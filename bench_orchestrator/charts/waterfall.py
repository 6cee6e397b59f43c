"""The chart of one launch: its stages as a waterfall, and below them its steps as a Gantt chart.

Both parts start at the same zero and share one scale. If the steps take so much longer that the stages would become
invisible, each part has its own scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench_orchestrator.charts import canvas, marks
from bench_orchestrator.model.instants import MICROSECONDS, describe_us
from bench_orchestrator.model.runs import StepSpan
from bench_orchestrator.waterfall.layout import Bar, Sample, Waterfall, excerpt, headline, remarks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAUNCHING = "#BFE3D8"
RUNNING = "#0F8A6B"
"""Colour of running steps, a hue that no stage uses."""

_STAGE_INCHES = 0.34
_STEP_INCHES = 0.17
_AXIS_INCHES = 0.5
_LEGEND_INCHES = 0.2
_SHARED_SCALE = 1.6
"""Maximum ratio of the first steps' end to the launch's end for a shared scale."""
_ROOM = 0.25
"""Space for the label after the last bar, as a fraction of the scale's length."""
_ROOM_FOR_A_WORD = 0.1
"""Minimum length of a bar with a word inside, as a fraction of the axis."""
_NAME_LETTERS = 24


def waterfall(shown: Waterfall, sample: Sample | None = None) -> Figure:
    """Draw the waterfall of a launch, given its sample if it is the one with the median lag."""
    groups = excerpt(shown.steps)
    heights = [_STAGE_INCHES * (len(shown.rows) + 1), *(_STEP_INCHES * len(group) for group in groups)]
    executors = [shown.executor] if shown.executor else []
    circumstances = canvas.describe_circumstances(shown.zero_us, shown.environment, executors)
    figure = canvas.sheet(
        headline(shown, sample),
        [*remarks(shown, sample), circumstances],
        sum(heights) + _AXIS_INCHES * len(heights) + _LEGEND_INCHES * len(groups),
    )
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    axes = [figure.add_subplot(grid[row]) for row in range(len(heights))]
    for ax, (start_us, end_us) in zip(axes, _scales(shown, groups), strict=True):
        canvas.style(ax)
        ax.grid(axis="x", color=canvas.GRID, linewidth=0.8)
        ax.set_xlim(start_us / MICROSECONDS, (end_us + _ROOM * (end_us - start_us)) / MICROSECONDS)
        canvas.place_ticks(ax.xaxis, 6)
        ax.set_xlabel(f"seconds since {shown.zero_words}", fontsize=canvas.TEXT_POINTS, color=canvas.INK)
    _draw_stages(axes[0], shown)
    for ax, group in zip(axes[1:], groups, strict=True):
        _draw_steps(ax, group, shown)
    if groups:
        marks.legend(
            axes[1],
            [canvas.patch(color=LAUNCHING, label="launch to start"), canvas.patch(color=RUNNING, label="start to end")],
        )
    if len(groups) > 1:
        left_out = len(shown.steps) - sum(map(len, groups))
        marks.legend(axes[2], [canvas.patch(alpha=0, label=f"{left_out:,} steps are left out")])
    return figure


def _scales(shown: Waterfall, groups: Sequence[Sequence[StepSpan]]) -> list[tuple[int, int]]:
    """Return the start and end of each part's axis, in microseconds; the last steps span as long as the first if
    possible."""
    start_us = min(0, *(bar.start_us for bar in shown.rows))
    launched_us = max(bar.end_us for bar in shown.rows)
    if launched_us == start_us:
        launched_us += MICROSECONDS  # an axis needs a length
    scales = [(start_us, launched_us)]
    for group in groups:
        edges_us = [shown.edges_us(step) for step in group]
        end_us = max(launched_us, *(ended_us for _, _, ended_us in edges_us))
        if group is groups[0]:
            if end_us <= _SHARED_SCALE * launched_us:
                scales = [(start_us, end_us)]
            scales.append((start_us, end_us))
        else:
            first_us = scales[1][1] - start_us
            scales.append((min(end_us - first_us, *(begin_us for begin_us, _, _ in edges_us)), end_us))
    return scales


def _draw_stages(ax: Axes, shown: Waterfall) -> None:
    """Draw the lag in its two parts, and a band for each stage with its process and its duration."""
    names = [(shown.label(bar.stage), shown.process(bar.stage)) for bar in shown.rows]
    if shown.queue_us is not None and shown.init_us is not None:
        names.insert(0, ("launch lag", f"queue {describe_us(shown.queue_us)} + init {describe_us(shown.init_us)}"))
        _draw_lag(ax, shown.bars[-1].end_us, shown.queue_us, shown.init_us)
    marks.lay_out_bands(ax, names, ax.get_xlabel())
    for position, bar in enumerate(shown.rows, start=len(names) - len(shown.rows)):
        finished = bar is not shown.unfinished
        _draw_bar(ax, position, bar.start_us, bar.end_us, canvas.COLOURS[bar.stage], finished=finished)
        label = describe_us(bar.duration_us) if finished else _describe_unfinished(bar, shown)
        marks.label_end(ax, bar.end_us / MICROSECONDS, position, label)


def _describe_unfinished(bar: Bar, shown: Waterfall) -> str:
    """Return how the stage that a run did not finish ended, or for how long the run has been in it."""
    seconds = describe_us(bar.duration_us)
    if shown.now_us is not None:
        return f"{seconds} so far"
    return f"{shown.outcome} after {seconds}" if bar.duration_us else shown.outcome


def _draw_lag(ax: Axes, end_us: int, queue_us: int, init_us: int) -> None:
    """Draw queue and init time as the first band, labelled if there is room."""
    left, right = ax.get_xlim()
    for word, from_us, to_us, colour in (
        ("queue", end_us - init_us - queue_us, end_us - init_us, canvas.QUEUE),
        ("init", end_us - init_us, end_us, canvas.INIT),
    ):
        _draw_bar(ax, 0, from_us, to_us, colour)
        if (to_us - from_us) / MICROSECONDS > _ROOM_FOR_A_WORD * (right - left):
            marks.label_piece(ax, (from_us + to_us) / 2 / MICROSECONDS, 0, word, colour)
    marks.label_end(ax, end_us / MICROSECONDS, 0, describe_us(queue_us + init_us))


def _draw_steps(ax: Axes, steps: Sequence[StepSpan], shown: Waterfall) -> None:
    """Draw a thin row for each step: light from launch to start, solid from start to end, hatched if unfinished."""
    ax.set_ylim(len(steps) - 0.4, -0.6)
    names = [canvas.shorten(step.key, _NAME_LETTERS) for step in steps]
    ax.set_yticks(range(len(steps)), names, fontsize=canvas.SMALL_POINTS, color=canvas.INK)
    for position, step in enumerate(steps):
        launched_us, started_us, ended_us = shown.edges_us(step)
        words = []
        if step.launched_us is not None:
            _draw_bar(ax, position, launched_us, started_us, LAUNCHING, finished=step.started_us is not None)
            words.append(describe_us(started_us - launched_us))
        if step.started_us is not None:
            _draw_bar(ax, position, started_us, ended_us, RUNNING, finished=step.ended_us is not None)
            words.append(describe_us(ended_us - started_us))
        ax.annotate(
            " + ".join(words),
            (ended_us / MICROSECONDS, position),
            xytext=(4, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=canvas.SMALL_POINTS,
            color=canvas.INK,
        )


def _draw_bar(ax: Axes, position: int, start_us: int, end_us: int, colour: str, *, finished: bool = True) -> None:
    """Draw a bar, hatched if unfinished; its outline keeps the shortest bar visible."""
    ax.barh(
        position,
        (end_us - start_us) / MICROSECONDS,
        0.6,
        left=start_us / MICROSECONDS,
        color=colour if finished else "white",
        edgecolor=colour,
        linewidth=0.8,
        hatch=None if finished else "////",
    )
