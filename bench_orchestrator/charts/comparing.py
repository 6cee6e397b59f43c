"""The charts of an experiment: how its sides compare, and what they cost.

A colour says the verdict on a side against its baseline, the same in every panel.
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
from bench_orchestrator.model.content import Content
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.plan import again
from bench_orchestrator.scenarios.experiments import LAG, WORK
from bench_orchestrator.scenarios.experiments.experiment import TIME_TO_CODE
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
"""Rows between groups of sides with baselines of their own."""
_PANELS_IN_TWO_COLUMNS = 6
_HEADING_WIDTH = 60
"""Characters above all panels of a row."""
_ROWS_APART = 6
"""Sides that a panel of costs has room for; more of them come closer together."""


def comparison(sweep: Sweep) -> Figure:
    """Every launch of every side by the experiment's headline, and by how much the side differs from its baseline."""
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
    """What else differs between the sides: one panel for each quantity in which they do."""
    evaluation = evaluate(sweep)
    positions = _positions(_groups(evaluation))
    others = [cost for cost in evaluation.costs if cost.name not in (LAG.name, TIME_TO_CODE.name)]
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
        marks.leave_room(ax, longest or 1.0, 1.5)
        canvas.place_ticks(ax.xaxis, 3)
    return figure


def _groups(evaluation: Evaluation) -> list[list[Side]]:
    """The groups of sides without the A/A arms, which are drawn beside their baselines."""
    return [[side for side in group if not side.is_again] for group in evaluation.groups]


def _positions(groups: Sequence[Sequence[Side]]) -> dict[str, float]:
    """Of each side, from above, with a gap between groups."""
    positions: dict[str, float] = {}
    for number, group in enumerate(groups):
        for side in group:
            positions[side.name] = len(positions) + _GAP * number
    return positions


def _height(positions: Mapping[str, float], row_inches: float) -> float:
    """Inches for so many rows, and no less than for two."""
    return row_inches * max(2, max(positions.values(), default=0) + 1)


def _draw_noise(ax: Axes, evaluation: Evaluation, group: Sequence[Side], top: float) -> None:
    """Behind a group's rows, its baseline's median, and around it what the same launched again differs by."""
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
    """A side's launches with their median and, if it heads a group, its A/A arm's launches below."""
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
    """On the right of a side's launches: by how much it differs, whether that counts, and what is missing."""
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
    """A median with its interval, and the number behind it."""
    if value.low is not None and value.high is not None:
        ax.plot([value.low, value.high], [position, position], "|-", color=colour, lw=1, ms=5)
    ax.plot(value.value, position, "D", ms=3.6, color=colour, clip_on=False)
    marks.label_end(ax, max(value.value, value.high or 0), position, f"{value.value:.{digits}f}")


def _name_rows(ax: Axes, positions: Mapping[str, float], *, named: bool = True) -> None:
    """The rows of a chart: names on the left, the first on top."""
    ax.set_ylim(max(positions.values()) + 0.5, -0.5)
    names = [marks.wrap_name(name) if named else "" for name in positions]
    ax.set_yticks(list(positions.values()), names, fontsize=canvas.TEXT_POINTS - 0.5, linespacing=0.95)
    ax.grid(axis="x", color=canvas.GRID, linewidth=0.8)


def _colour(verdict: Verdict | None) -> str:
    return canvas.INK if verdict is None else VERDICT_COLOURS[verdict]


COMPARISON_CHARTS: tuple[Chart, ...] = (
    Chart(
        "comparison",
        "Every dot is one launch; diamonds are medians, whiskers their intervals. The dotted line is the median of the "
        "baseline, and the band around it is what the baseline, launched twice in every block (hollow dots), differs "
        "from itself by: the noise. On the right, the difference to the baseline within blocks, with its interval.",
        comparison,
        Content.SIDES,
    ),
    Chart(
        "costs",
        "Medians with their intervals, in the colour of the verdict against the baseline: green is less, red is more, "
        "grey is no difference beyond the noise, yellow is undecided, black was not compared.",
        costs,
        Content.SIDES,
    ),
)
"""Those of experiments, in the order in which a report shows them."""


def charts_for(sweep: Sweep) -> list[Chart]:
    """The charts that show something of a sweep, in the order in which a report shows them."""
    charts = (*COMPARISON_CHARTS, *CHARTS) if is_experiment(sweep) else CHARTS
    return [chart for chart in charts if chart.content.is_in(sweep)]
