"""A Gantt chart is drawn, then read back: its bars, its counts, its names, and what stays legible of many rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gantt_samples import (
    by_batch,
    by_stage,
    make_launch,
    queue_of_runs,
    run_of_batches,
    three_forms,
    troubled_queue,
)
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from pictures import check_legible, check_small, words

from bench_orchestrator.charts import gantt, save
from bench_orchestrator.charts.gantt import _MOST_ROWS, _OTHERS, _PALETTE
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.runs import StepSpan
from bench_orchestrator.waterfall.gantt import ChartedRun, Gantt, headline, remarks
from bench_orchestrator.waterfall.gantt_layout import gantt_of

CHARTS = {
    "steps": gantt_of([run_of_batches(13, 4, by_batch)]),
    "60 runs": gantt_of(queue_of_runs(60, 4)),
    "200 runs": gantt_of(queue_of_runs(200, 10)),
    "3,000 runs": gantt_of(queue_of_runs(3_000, 10)),
    "three forms": three_forms(),
    "six runs": gantt_of([run_of_batches(2, 2, by_stage)] * 6, steps=True),
    "troubled": gantt_of(troubled_queue()),
    "one run": gantt_of(queue_of_runs(1, 1)),
    "no time at all": gantt_of([ChartedRun(make_launch(1, 0, 0, 0, 0))]),
}
each = pytest.mark.parametrize("shown", CHARTS.values(), ids=CHARTS.keys())


@each
def test_it_says_its_finding_on_one_time_axis_and_stays_legible_and_small(shown: Gantt) -> None:
    figure = gantt(shown)
    text = words(figure)
    assert " ".join(figure.get_suptitle().split()) == headline(shown)
    for remark in remarks(shown, _MOST_ROWS // len(shown.panels)):
        assert remark in text
    assert "2026-07-14 09:3" in text
    assert f"seconds since {shown.zero_words}" in text
    for panel in shown.panels:
        assert f"in progress, up to {panel.in_progress.peak:,}" in text
    (limits,) = {ax.get_xlim() for ax in figure.axes[1:]}
    assert limits[0] == 0
    assert limits[1] > shown.end_us / MICROSECONDS
    check_small(figure)
    check_legible(figure)


def test_each_row_has_its_phases_end_to_end() -> None:
    shown = gantt_of(queue_of_runs(9, 2))
    expected = [
        (segment.start_us / MICROSECONDS, segment.end_us / MICROSECONDS, position)
        for position, row in enumerate(shown.rows)
        for segment in row.segments
    ]
    assert boxes(gantt(shown)) == pytest.approx(np.array(expected))


def test_steps_have_the_colour_of_their_op() -> None:
    figure = gantt(CHARTS["steps"])
    assert colours_of(figure)[1::2] == [
        _PALETTE[["extract", "transform", "load"].index(row.group)] for row in CHARTS["steps"].rows
    ]
    assert {"extract", "transform", "load", "launch to start", "start to end"} <= set(legend_of(figure))


def test_of_many_ops_the_largest_have_colours_and_the_others_share_one() -> None:
    keys = [f"op_{op}[{batch}]" for op in range(9) for batch in range(2 + op)]
    steps = [StepSpan(key, None, 1_000 * place, 1_000 * place + 900) for place, key in enumerate(keys)]
    figure = gantt(gantt_of([ChartedRun(make_launch(1, 0, 1, 2, 99_000, steps=steps))]))
    assert legend_of(figure)[2:] == [*(f"op_{op}" for op in range(3, 9)), "others"]
    solid = colours_of(figure)
    assert solid[: 2 + 3 + 4] == [_OTHERS] * 9
    assert len(set(solid)) == len(_PALETTE) + 1


def test_a_curve_is_as_high_as_its_number() -> None:
    shown = CHARTS["steps"]
    _, in_progress, in_flight, _ = gantt(shown).axes
    for ax, curve in ((in_progress, shown.panels[0].in_progress), (in_flight, shown.panels[0].in_flight)):
        assert curve is not None
        (area,) = ax.collections
        (path,) = area.get_paths()
        assert path.vertices[:, 1].max() == curve.peak == 4  # type: ignore[index, union-attr]


def test_what_did_not_end_well_or_has_no_end_is_marked_at_its_end() -> None:
    figure = gantt(CHARTS["troubled"])
    marked = [(line.get_marker(), *map(float, line.get_xydata()[0])) for line in figure.axes[-1].lines]  # type: ignore[index, arg-type]
    assert marked == [("x", 5.0, 1.0), ("x", 4.0, 2.0), (">", 12.0, 3.0), (">", 12.0, 4.0)]
    assert {"failed", "canceled", "no end yet"} <= set(legend_of(figure))
    assert not {"failed", "canceled", "no end yet"} & set(legend_of(gantt(CHARTS["60 runs"])))


def test_of_many_rows_some_have_names_and_of_very_many_some_have_bars() -> None:
    for name, rows in (("steps", 39), ("60 runs", 60), ("200 runs", 200), ("3,000 runs", _MOST_ROWS)):
        ax = gantt(CHARTS[name]).axes[-1]
        assert ax.get_ylim()[0] == rows - 0.4
        assert rows / 6 <= len(ax.get_yticks()) <= rows
    assert f"{3_000 - _MOST_ROWS:,} of 3,000" in words(gantt(CHARTS["3,000 runs"]))


def test_each_panel_has_its_title_and_its_makespan() -> None:
    shown = CHARTS["three forms"]
    titles = [title for ax in gantt(shown).axes if (title := ax.get_title(loc="left"))]
    assert titles == ["static: 14.6 s", "dynamic map: 14.6 s", "dynamic map with rising priority: 17.4 s"]


def test_names_are_drawn_as_they_are_and_the_files_are_the_same_each_time(tmp_path: Path) -> None:
    strange = ("$a$ and $\\frac{$", "_x[%s]", "\N{CJK UNIFIED IDEOGRAPH-4E2D}", "a" * 3_000, "a\nb")
    steps = [StepSpan(key, 0, 1_000, 2_000 * place) for place, key in enumerate(strange)]
    run = replace(run_of_batches(1, 1, by_stage), launch=make_launch(1, 0, 1, 2, 3, steps=steps), subject="$x$ _y")
    first, second = (save(gantt(gantt_of([run])), tmp_path / name, "gantt") for name in "ab")
    assert first.png.read_bytes() == second.png.read_bytes()
    assert first.svg.read_bytes() == second.svg.read_bytes()
    assert b"$a$" in first.svg.read_bytes()


def boxes(figure: Figure) -> np.ndarray:
    """Return left, right and middle of each box among the last rows, in drawing order."""
    (drawn,) = figure.axes[-1].collections
    extents = [path.get_extents() for path in drawn.get_paths()]
    return np.array([(box.x0, box.x1, (box.y0 + box.y1) / 2) for box in extents])


def colours_of(figure: Figure) -> list[str]:
    (drawn,) = figure.axes[-1].collections
    return [to_hex(tuple(colour)).upper() for colour in np.asarray(drawn.get_facecolor())]


def legend_of(figure: Figure) -> list[str]:
    legend = figure.axes[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]
