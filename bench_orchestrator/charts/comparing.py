"""Charts of an experiment: how its sides compare, and what they cost.

In every panel, the colour shows the verdict on a side against its baseline.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from bench_orchestrator.analysis import wording
from bench_orchestrator.analysis.evaluation import Evaluation, Side, evaluate, is_experiment
from bench_orchestrator.analysis.evaluation.verdicts import NOTHING_COMPARED, describe_change, describe_ratio
from bench_orchestrator.charts import canvas, marks
from bench_orchestrator.charts.drawing import CHARTS, Chart
from bench_orchestrator.charts.sides import gantt_charts
from bench_orchestrator.model.content import Content
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.plan import again
from bench_orchestrator.scenarios.experiment import LAG, STARTUP, TIME_TO_CODE, UNQUEUED_TIME_TO_CODE, WORK
from bench_orchestrator.statistics import Estimate, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VERDICT_COLOURS: Mapping[Verdict, str] = {
    Verdict.FASTER: "#00795A",
    Verdict.SLOWER: "#B03A00",
    Verdict.NO_DIFFERENCE: "#6C7A89",
    Verdict.UNDECIDED: "#A98400",
}
NOISE = "#E4E9EE"
_DOT: Mapping[str, Any] = {"marker": "o", "linestyle": "", "ms": 3.6, "mew": 0.7}
_GAP = 0.45
"""Gap between the groups of different baselines, in rows."""
_PANELS_IN_TWO_COLUMNS = 6
_HEADING_WIDTH = 60
"""Characters that fit above all panels of a row."""
_LAGS = tuple(measure.name for measure in (LAG, STARTUP, TIME_TO_CODE, UNQUEUED_TIME_TO_CODE))
"""Measures that resemble the headline and are not drawn among the costs."""
_ROWS_APART = 6
"""Maximum sides of a costs panel at normal row height; with more, rows are closer together."""


def comparison(sweep: Sweep) -> Figure:
    """Draw every launch of every side by the headline measure, and the difference of each side from its baseline."""
    evaluation = evaluate(sweep)
    measure = evaluation.experiment.headline
    groups = _groups(evaluation)
    positions = _positions(groups)
    title = evaluation.lead(measure) or NOTHING_COMPARED
    figure, (ax,) = canvas.frame(sweep, title, f"{evaluation.basis}.", _height(positions, 0.46) + 0.75)
    if not any(side.measures[measure.name] for side in evaluation.sides):
        canvas.say_nothing_measured(ax, wording.NOTHING_MEASURED)
        return figure
    for group in groups:
        _draw_noise(ax, evaluation, group, positions[group[0].name])
        for side in group:
            _draw_side(ax, evaluation, side, positions[side.name], heads=side is group[0])
    _name_rows(ax, positions)
    ax.set_xlabel(f"{measure.label}, {measure.unit}", fontsize=canvas.TEXT_POINTS, color=canvas.INK)
    ax.margins(x=0.06)
    canvas.place_ticks(ax.xaxis, 5)
    legend = [
        canvas.line(**_DOT, color=canvas.INK, label="launch"),
        canvas.line(**_DOT, color=canvas.INK, mfc="white", label="baseline again"),
        canvas.patch(color=NOISE, label="noise"),
    ]
    marks.legend(ax, legend)
    return figure


def costs(sweep: Sweep) -> Figure:
    """Draw the other quantities in which the sides differ, one panel each."""
    evaluation = evaluate(sweep)
    positions = _positions(_groups(evaluation))
    others = [cost for cost in evaluation.costs if cost.name not in _LAGS]
    panels = [cost for cost in others if cost.differs]
    alike = ", ".join(cost.label for cost in others if not cost.differs)
    note = f"{evaluation.basis}.{f' Alike on all sides, within 5 %: {alike}.' if alike else ''}"
    columns = 3 if len(panels) > _PANELS_IN_TWO_COLUMNS else min(2, len(panels)) or 1
    height = (_height(positions, 0.27 if len(positions) <= _ROWS_APART else 0.19) + 0.6) * max(
        1, ceil(len(panels) / columns)
    )
    title = evaluation.lead(WORK) or "What else differs between the sides"
    figure, axes = canvas.frame(sweep, title, note, height, len(panels) or 1, columns)
    if not panels:
        text = "No median differs by more than 5 %" if others else wording.NOTHING_MEASURED
        canvas.say_nothing_measured(axes[0], text)
    for number, (panel, ax) in enumerate(zip(panels, axes, strict=False)):
        digits = wording.digits_of([value.value for value in panel.values.values()])
        longest = max(max(value.value, value.high or 0) for value in panel.values.values())
        for name, position in positions.items():
            if (value := panel.values.get(name)) is not None:
                _draw_value(ax, value, position, _colour(panel.verdicts.get(name)), digits)
            else:
                ax.text(0, position, " not measured", va="center", fontsize=canvas.SMALL_POINTS, color=canvas.ALARM)
        _name_rows(ax, positions, named=number % columns == 0)
        label = f"{panel.label}{f', {panel.unit}' if panel.unit else ''}"
        heading = textwrap.fill(label, _HEADING_WIDTH // columns)
        ax.set_title(heading, loc="left", fontsize=canvas.TEXT_POINTS, color=canvas.INK, pad=3)
        marks.leave_room(ax, longest, 1.5)
        canvas.place_ticks(ax.xaxis, 3)
    return figure


def _groups(evaluation: Evaluation) -> list[list[Side]]:
    """Return the groups of sides without the A/A arms, which are drawn with their baselines."""
    return [[side for side in group if not side.is_again] for group in evaluation.groups]


def _positions(groups: Sequence[Sequence[Side]]) -> dict[str, float]:
    """Return the row of each side, from the top, with a gap between groups."""
    positions: dict[str, float] = {}
    for number, group in enumerate(groups):
        for side in group:
            positions[side.name] = len(positions) + _GAP * number
    return positions


def _height(positions: Mapping[str, float], row_inches: float) -> float:
    """Return the height in inches of these rows, at least that of two."""
    return row_inches * max(2, max(positions.values(), default=0) + 1)


def _draw_noise(ax: Axes, evaluation: Evaluation, group: Sequence[Side], top: float) -> None:
    """Draw the baseline's median behind a group's rows, and around it the noise of the A/A arm."""
    measure = evaluation.experiment.headline.name
    median = group[0].measures[measure]
    if median is None:
        return
    ends = (top - 0.5, top + len(group) - 0.5)
    ax.plot([median.value] * 2, ends, color=canvas.MUTED, lw=0.8, ls=":", zorder=1)
    noise = evaluation.comparisons.get((again(group[0].name), measure))
    if noise is not None and noise.difference.low is not None and noise.difference.high is not None:
        left, right = (median.value + end for end in (noise.difference.low, noise.difference.high))
        ax.fill_betweenx(ends, left, right, color=NOISE, lw=0, zorder=0)


def _draw_side(ax: Axes, evaluation: Evaluation, side: Side, position: float, *, heads: bool) -> None:
    """Draw a side's launches with their median and, if it heads a group, the launches of its A/A arm below."""
    name = evaluation.experiment.headline.name
    found = None if heads else evaluation.comparisons.get((side.name, name))
    colour = _colour(found.verdict if found else None)
    _label_side(ax, evaluation, side, position, colour, heads=heads)
    estimate = side.measures[name]
    if estimate is None:
        return
    values = list(side.samples[name].values())
    marks.draw_launches(ax, values, position + 0.16, **_DOT, color=colour)
    for arm in evaluation.sides:
        if heads and arm.name == again(side.name):
            values = list(arm.samples[name].values())
            marks.draw_launches(ax, values, position + 0.32, **_DOT, color=colour, mfc="white")
    marks.draw_interval(ax, estimate, position - 0.12)
    ax.plot(estimate.value, position - 0.12, "D", ms=4, color=colour)


def _label_side(ax: Axes, evaluation: Evaluation, side: Side, position: float, colour: str, *, heads: bool) -> None:
    """Write, to the right of a side's launches, the difference, the verdict and the missing launches."""
    measure = evaluation.experiment.headline
    estimate = side.measures[measure.name]
    found = evaluation.comparisons.get((side.name, measure.name))
    if heads or estimate is None:
        effect, verdict = wording.describe_estimate(estimate, measure.unit, None), "baseline" if heads else ""
    elif found is None:
        effect, verdict = "no block in common", ""
    else:
        effect, verdict = describe_change(found.difference, measure.unit), found.verdict.value
        if found.ratio is not None and found.verdict is not Verdict.NO_DIFFERENCE:
            verdict += f", {describe_ratio(found.ratio)}"
    missing = f"{side.trials - side.n} of {side.trials} missing" if side.trials > side.n else ""
    small = canvas.SMALL_POINTS - 0.6
    lines = [
        (effect, canvas.TEXT_POINTS - 0.5, canvas.INK),
        (verdict, small, colour),
        (missing, small, canvas.ALARM),
    ]
    shown = [line for line in lines if line[0]]
    for number, (text, size, ink) in enumerate(shown):
        ax.annotate(
            text,
            (1, position),
            xycoords=("axes fraction", "data"),
            xytext=(6, 5 * (len(shown) - 1) - 10 * number),
            textcoords="offset points",
            va="center",
            fontsize=size,
            color=ink,
        )


def _draw_value(ax: Axes, value: Estimate, position: float, colour: str, digits: int) -> None:
    """Draw a median with its interval, followed by its value."""
    if value.low is not None and value.high is not None:
        ax.plot([value.low, value.high], [position, position], "|-", color=colour, lw=1, ms=5)
    ax.plot(value.value, position, "D", ms=3.6, color=colour, clip_on=False)
    marks.label_end(ax, max(value.value, value.high or 0), position, f"{value.value:.{digits}f}")


def _name_rows(ax: Axes, positions: Mapping[str, float], *, named: bool = True) -> None:
    """Label the rows of a chart on the left, the first on top."""
    ax.set_ylim(max(positions.values()) + 0.5, -0.5)
    names = [marks.wrap_name(name) if named else "" for name in positions]
    ax.set_yticks(list(positions.values()), names, fontsize=canvas.TEXT_POINTS - 0.5, linespacing=0.95)
    ax.grid(axis="x", color=canvas.GRID, linewidth=0.8)


def _colour(verdict: Verdict | None) -> str:
    return canvas.INK if verdict is None else VERDICT_COLOURS[verdict]


COMPARISON_CHARTS: tuple[Chart, ...] = (
    Chart(
        "comparison",
        "Each dot is one launch; diamonds are medians, whiskers their intervals. The dotted line is the baseline's "
        "median. The band around it is the noise: the difference between the baseline's two launches in every block "
        "(the second as hollow dots). On the right, the difference from the baseline within blocks, with its interval.",
        comparison,
        Content.SIDES,
    ),
    Chart(
        "costs",
        "Medians with their intervals, coloured by the verdict against the baseline: green is less, red is more, grey "
        "is no difference beyond the noise, yellow is undecided, black is not compared.",
        costs,
        Content.SIDES,
    ),
)
"""The charts of experiments, in the order of a report."""


def charts_for(sweep: Sweep) -> list[Chart]:
    """Return the charts that apply to a sweep, in the order of a report."""
    charts = (*COMPARISON_CHARTS, *gantt_charts(sweep), *CHARTS) if is_experiment(sweep) else CHARTS
    return [chart for chart in charts if chart.content.is_in(sweep)]
