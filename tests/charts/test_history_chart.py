"""The chart of the history: every sweep, every level, every change; legible whatever happened."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from history_samples import GROWN, UPGRADED, USUAL, make_history
from matplotlib.figure import Figure
from pictures import check_legible, check_small, words

from bench_orchestrator.analysis.history import LocationHistory, Trend, trace
from bench_orchestrator.analysis.history_wording import headline
from bench_orchestrator.charts import canvas, lag_over_time
from bench_orchestrator.model.stages import Stage


def with_outlier(history: LocationHistory, startup_s: float) -> LocationHistory:
    slow = replace(history.points[5], startup_s=startup_s)
    return replace(history, points=(*history.points[:5], slow, *history.points[6:]))


HISTORIES: Mapping[str, Callable[[], Sequence[LocationHistory]]] = {
    "three": lambda: [
        make_history("a10", (USUAL, UPGRADED), seed=2),
        make_history("a250", (USUAL, GROWN), seed=3),
        make_history("a2k", ((120, {}, {}),), seed=4),
    ],
    "many changes": lambda: [
        make_history(
            "a250", [(25, {Stage.WORKER_LOAD: 0.5 + number % 2}, {"dagster": f"1.13.{number}"}) for number in range(9)]
        )
    ],
    "stage alone": lambda: [make_history("a250", (USUAL, (60, {Stage.EXECUTOR_START: 0.14}, {})), seed=2)],
    "outlier": lambda: [with_outlier(make_history(), 60.0)],
    "one point": lambda: [make_history(parts=((1, {}, {}),))],
    "no time": lambda: [make_history(parts=((3, dict.fromkeys(Stage, 0.0), {}),))],
    "twelve": lambda: [make_history(f"location_{number}", ((3, {}, {}),)) for number in range(12)],
    "long name": lambda: [make_history("$a$ " + "long_name_" * 20, (USUAL, GROWN))],
    "none": lambda: [],
}
"""Computed once a test asks: every worker of pytest imports this module."""

each = pytest.mark.parametrize("name", HISTORIES)


def drawn(name: str) -> tuple[list[Trend], Figure]:
    trends = [trace(history) for history in HISTORIES[name]()]
    return trends, lag_over_time(trends)


@each
def test_it_is_drawn_small_and_legible_with_the_finding_as_its_title(name: str) -> None:
    trends, figure = drawn(name)
    check_small(figure)
    if name != "long name":  # which the title and the footer break anywhere
        check_legible(figure)
        assert " ".join(figure.get_suptitle().replace(canvas.NO_BREAK_SPACE, " ").split()) == headline(trends)


def test_every_sweep_is_a_dot_or_at_the_edge() -> None:
    (trend,), figure = drawn("outlier")
    panel = figure.axes[1]
    dots, beyond = (
        [float(y) for line in panel.lines if line.get_marker() == marker for y in np.asarray(line.get_ydata())]
        for marker in ("o", "^")
    )
    assert dots == [point.startup_s for point in trend.history.points if point.startup_s < 60]
    assert beyond == [panel.get_ylim()[1]]


def test_levels_changes_and_versions_are_where_they_are() -> None:
    trends, figure = drawn("three")
    by_location = {trend.location: trend for trend in trends}
    panels = {ax.get_title(loc="left").partition(":")[0]: ax for ax in figure.axes[1:]}
    assert list(panels) == ["a10", "a250", "a2k"]
    for location, ax in panels.items():
        trend = by_location[location]
        levels = [line.get_ydata()[0] for line in ax.lines if line.get_color() == canvas.INK]  # type: ignore[index]
        assert levels == [level.startup_s.value for level in trend.levels]
        across = [line for line in ax.lines if line.get_color() in (canvas.ALARM, "#009E73")]
        assert [line.get_xdata()[0] for line in across] == canvas.as_dates(  # type: ignore[index]
            change.at_us for change in trend.changes
        )
    text = words(figure)
    for part in ("slower from here", "faster from here", "other version or size", "Dagster 1.13.29", "assets 2,000"):
        assert part in text
    assert "a250, 2026-07-15 00:30 UTC: startup time +3." in text


def test_what_is_not_drawn_is_counted() -> None:
    _, figure = drawn("twelve")
    assert "4 more locations are not drawn." in words(figure)


def test_without_a_sweep_it_says_so() -> None:
    _, figure = drawn("none")
    assert "No measured launches" in words(figure)
