"""A Gantt chart as text: tables with bars for the terminal, and the same numbers as plain data for JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from bench_orchestrator.analysis.wording import describe_outcome
from bench_orchestrator.model.instants import MICROSECONDS, describe_us
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
    remarks,
    thin_out,
)
from bench_orchestrator.waterfall.text import LIGHT, MEDIUM, SOLID, DrawnBar, bar_table, seconds

_MOST_ROWS = 40
"""Maximum rows of all panels."""

_CHARACTERS: Mapping[Unit, Mapping[Phase, str]] = {
    Unit.RUNS: {Phase.QUEUED: LIGHT, Phase.STARTING: MEDIUM, Phase.RUNNING: SOLID},
    Unit.STEPS: {Phase.STARTING: LIGHT, Phase.RUNNING: SOLID},
}
_LEVELS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class _DrawnCurve:
    """A curve as one line of blocks, each as high as the largest number in its time."""

    curve: Curve
    end_us: int

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        largest = [0] * width
        ends_us = [*(us for us, _ in self.curve.changes[1:]), self.end_us]
        for (start_us, number), until_us in zip(self.curve.changes, ends_us, strict=True):
            first = start_us * width // max(self.end_us, 1)
            last = max(until_us - 1, start_us) * width // max(self.end_us, 1)
            for cell in range(first, min(last + 1, width)):
                largest[cell] = max(largest[cell], number)
        steps = len(_LEVELS) - 1
        yield Text("".join(_LEVELS[-(-number * steps // max(self.curve.peak, 1))] for number in largest))

    def __rich_measure__(self, _: Console, options: ConsoleOptions) -> Measurement:
        return DrawnBar((0, 0), ()).__rich_measure__(_, options)


def render_gantt(shown: Gantt) -> Group:
    """Return the headline, a table for each panel, and the remarks."""
    most = _MOST_ROWS // len(shown.panels)
    tables = [_render_panel(panel, shown, most) for panel in shown.panels]
    marks = ", ".join(
        f"{character} {PHASES[shown.unit][phase]}" for phase, character in _CHARACTERS[shown.unit].items()
    )
    words = [f"{marks}. Instants are since {shown.zero_words}.", *remarks(shown, most)]
    return Group(Text(headline(shown), style="bold"), *tables, *map(Text, words))


def summarize_gantt(shown: Gantt) -> dict[str, Any]:
    """Return the same as plain data for JSON, with all rows: instants in seconds from the panel's zero."""
    return {
        "finding": headline(shown),
        "rows": shown.unit.value,
        "panels": [_summarize_panel(panel, shown.unit) for panel in shown.panels],
    }


def _summarize_panel(panel: Panel, unit: Unit) -> dict[str, Any]:
    return {
        "title": panel.title,
        "subject": panel.subject,
        "zero_since_epoch_s": panel.zero_us / MICROSECONDS,
        "makespan_s": seconds(panel.makespan_us),
        "peak_in_progress": panel.in_progress.peak,
        "in_progress": _summarize_curve(panel.in_progress),
        "peak_in_flight": panel.in_flight.peak if panel.in_flight else None,
        "in_flight": _summarize_curve(panel.in_flight) if panel.in_flight else None,
        "without_row": panel.without_row,
        unit.value: [_summarize_row(row, unit) for row in panel.rows],
    }


def _summarize_curve(curve: Curve) -> list[tuple[float | None, int]]:
    return [(seconds(us), number) for us, number in curve.changes]


def _summarize_row(row: Row, unit: Unit) -> dict[str, Any]:
    return {
        unit.singular: row.name,
        "group": row.group,
        **{f"{phase}_s": seconds(row.since(phase)) for phase in PHASES[unit]},
        "ended_s": None if row.is_open else seconds(row.end_us),
        "outcome": row.outcome,
    }


def _render_panel(panel: Panel, shown: Gantt, most: int) -> Table:
    table = bar_table([shown.unit.singular], ["began", "took"])
    if len(shown.panels) > 1:
        table.title = f"{panel.title}: {describe_us(panel.makespan_us)}"
        table.title_justify = "left"
    curves = {"in progress": panel.in_progress, "batches in flight": panel.in_flight}
    for what, curve in curves.items():
        if curve is not None:
            table.add_row(what, "", f"up to {curve.peak:,}", _DrawnCurve(curve, shown.end_us))
    for row in thin_out(panel.rows, most):
        pieces = tuple(
            (segment.start_us, segment.end_us, _CHARACTERS[shown.unit][segment.phase]) for segment in row.segments
        )
        name = row.name[:ID_LETTERS] if shown.unit is Unit.RUNS else row.name
        table.add_row(Text(name), describe_us(row.start_us), _describe_length(row), DrawnBar((0, shown.end_us), pieces))
    return table


def _describe_length(row: Row) -> str:
    """Return how long a row is, and how it ended if not well."""
    ending = [describe_outcome(row.outcome)] if row.outcome else ["so far"] if row.is_open else []
    return " ".join([describe_us(row.end_us - row.start_us), *ending])
