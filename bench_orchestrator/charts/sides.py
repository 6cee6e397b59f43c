"""Gantt charts of an experiment with workloads: its sides one below the other, and the steps of each on its own."""

from __future__ import annotations

from dataclasses import replace

from bench_orchestrator.charts.drawing import Chart
from bench_orchestrator.charts.gantt import gantt
from bench_orchestrator.model.content import Content
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.text import path_segment
from bench_orchestrator.waterfall.gantt import Gantt, Unit
from bench_orchestrator.waterfall.sides import gantt_of_sides


def gantt_charts(sweep: Sweep) -> list[Chart]:
    """Return the Gantt charts of a sweep; none if no trial has a workload."""
    together = gantt_of_sides(sweep)
    if together is None:
        return []
    rows = "batch, with its steps," if together.unit is Unit.STEPS else "run"
    which = "of each side's trial with the median makespan, on one time axis"
    charts = [_chart("gantt", f"Each row is a {rows} {which}. Above the rows, the numbers in progress.", together)]
    if together.unit is Unit.STEPS:
        charts += [
            _chart(
                f"gantt_{path_segment(panel.title.replace(' ', '_'))}",
                f"Each row is a batch of ‘{panel.title}’ with its steps, in the trial with the median makespan.",
                replace(together, panels=(panel,)),
            )
            for panel in together.panels
        ]
    return charts


def _chart(stem: str, caption: str, shown: Gantt) -> Chart:
    return Chart(stem, caption, lambda _: gantt(shown), Content.SIDES)
