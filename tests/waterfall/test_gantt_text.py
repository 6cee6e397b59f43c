"""A Gantt chart in the terminal and as JSON: every row, every count, and what is left out."""

import io
import json

import pytest
from gantt_samples import by_batch, make_launch, queue_of_runs, run_of_batches, three_forms, troubled_queue
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.waterfall.gantt import ChartedRun, Curve, Gantt, Unit, headline, remarks
from bench_orchestrator.waterfall.gantt_layout import gantt_of
from bench_orchestrator.waterfall.gantt_text import _DrawnCurve, render_gantt, summarize_gantt

CHARTS = {
    "steps": gantt_of([run_of_batches(12, 4, by_batch)]),
    "runs": gantt_of(queue_of_runs(30, 4)),
    "troubled": gantt_of(troubled_queue()),
    "three forms": three_forms(batches=4),
    "no time at all": gantt_of([ChartedRun(make_launch(1, 0, 0, 0, 0))]),
}
each = pytest.mark.parametrize("shown", CHARTS.values(), ids=CHARTS.keys())


def printed(shown: Gantt, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    console.print(render_gantt(shown))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class TestInTheTerminal:
    @each
    @pytest.mark.parametrize("width", [80, 120])
    def test_each_row_has_its_name_and_a_bar(self, shown: Gantt, width: int) -> None:
        text = printed(shown, width)
        lines = text.splitlines()
        assert lines[0] == headline(shown)
        for row in shown.rows:
            name = row.name[:8] if shown.unit is Unit.RUNS else row.name
            (line,) = [line for line in lines if line.startswith(f"  {name} ")][:1]
            assert len(line) <= width
            assert any(cell in line for cell in "░▒█") or not row.end_us
        for panel in shown.panels:
            assert f" up to {panel.in_progress.peak} " in text
        for remark in remarks(shown, 40):
            assert remark in text

    def test_of_many_rows_forty_are_shown_and_the_rest_is_counted(self) -> None:
        for shown in (gantt_of(queue_of_runs(500, 4)), three_forms(batches=40)):
            text = printed(shown)
            assert text.count(" s  ") <= 2 * 40
            left_out = len(shown.rows) - 40 // len(shown.panels) * len(shown.panels)
            assert f"Rows left out, evenly: {left_out:,} of {len(shown.rows):,}." in text

    def test_a_row_says_how_it_ended(self) -> None:
        lines = printed(CHARTS["troubled"]).splitlines()
        endings = ["6.0 s  ", "4.0 s failed  ", "3.0 s canceled  ", "10.0 s so far  ", "9.0 s so far  "]
        for number, ending in enumerate(endings, start=1):
            (line,) = [line for line in lines if line.startswith(f"  {number:08x}")]
            assert ending in line

    def test_what_is_counted_over_time_is_a_line_of_blocks(self) -> None:
        assert blocks(Curve(((0, 0), (2, 4), (5, 2), (8, 0))), 10, 10) == "  ███▄▄▄  "
        assert blocks(Curve(((0, 1),)), 0, 4) == "█   "

    @given(
        st.lists(st.tuples(st.integers(1, 99), st.integers(0, 9)), max_size=6),
        st.integers(4, 40),
    )
    def test_each_block_is_as_high_as_the_largest_number_in_its_time(
        self, changes: list[tuple[int, int]], width: int
    ) -> None:
        curve = Curve(((0, 1), *sorted(dict(changes).items())))
        line = blocks(curve, 100, width)
        assert len(line) == width
        assert line.count("█") >= 1
        numbers = dict(curve.changes)
        number, largest = 1, [0] * width
        for us in range(100):
            number = numbers.get(us, number)
            largest[us * width // 100] = max(largest[us * width // 100], number)
        assert [cell != " " for cell in line] == [number > 0 for number in largest]
        assert [cell == "█" for cell in line if cell != " "] == [n * 8 > 7 * max(curve.peak, 1) for n in largest if n]


class TestAsData:
    @each
    def test_every_row_has_its_instants_and_every_panel_its_counts(self, shown: Gantt) -> None:
        data = json.loads(json.dumps(summarize_gantt(shown)))
        assert (data["finding"], data["rows"]) == (headline(shown), shown.unit)
        for panel, of_panel in zip(shown.panels, data["panels"], strict=True):
            assert of_panel["makespan_s"] == panel.makespan_us / MICROSECONDS
            assert of_panel["peak_in_progress"] == max(number for _, number in of_panel["in_progress"])
            assert (of_panel["peak_in_flight"] is None) == (panel.in_flight is None)
            rows = of_panel[shown.unit]
            assert [row[shown.unit.singular] for row in rows] == [row.name for row in panel.rows]
            assert [row["ended_s"] is None for row in rows] == [row.is_open for row in panel.rows]
            for row in rows:
                instants = [row.get(f"{phase}_s") for phase in ("queued", "starting", "running")]
                reached = [s for s in (*instants, row["ended_s"]) if s is not None]
                assert reached == sorted(reached)

    def test_a_run_in_the_queue_has_no_further_instant(self) -> None:
        *_, last = summarize_gantt(CHARTS["troubled"])["panels"][0]["runs"]
        assert last == {
            "run": "00000005-0000-4000-8000-000000000000",
            "group": "job_0",
            "queued_s": 3.0,
            "starting_s": None,
            "running_s": None,
            "ended_s": None,
            "outcome": None,
        }


def blocks(curve: Curve, end_us: int, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(_DrawnCurve(curve, end_us))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip("\n").ljust(width)
