"""Launches laid out in time, of the latest sweep or of any runs by their ids: one launch, or a Gantt chart."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import dagster as dg
from pydantic import Field

from bench_orchestrator.charts import canvas, gantt, waterfall
from bench_orchestrator.defs.charts import publish
from bench_orchestrator.defs.harvest import launch_measurements
from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.model.content import Content
from bench_orchestrator.model.instants import MICROSECONDS, describe_us
from bench_orchestrator.report.text import bar, prose, table
from bench_orchestrator.results.queries import latest_sweep
from bench_orchestrator.sources.instance import get_run
from bench_orchestrator.waterfall.gantt import Gantt
from bench_orchestrator.waterfall.gantt import headline as gantt_headline
from bench_orchestrator.waterfall.gantt_layout import MOST_PANELS, gantt_of
from bench_orchestrator.waterfall.layout import Sample, Waterfall, headline
from bench_orchestrator.waterfall.lookup import find_launch, find_launches, find_median, gantt_of_sweep

_NAME = "launch_timeline"
_GANTT_NAME = "gantt_chart"
_TITLE_LETTERS = 60


class TimelineConfig(dg.Config):
    """The launch to draw."""

    run_ids: list[str] = Field(
        default=[],
        description="Ids of runs, or their beginnings; of several, draws the launch with the median lag. Empty: the "
        "launch with the median lag in the largest location of the latest sweep.",
    )


@dg.asset(
    name=_NAME,
    deps=[launch_measurements],
    description="One launch laid out in time: each stage with its seconds and its process, and below them the run's "
    "steps, light from launch to start and solid from start to end. Draws the launch with the median lag in the "
    "largest location of the latest sweep; with `run_ids`, any run of this instance.",
    group_name="charts",
    kinds={"matplotlib", "duckdb"},
    output_required=False,
)
def launch_timeline(
    context: dg.AssetExecutionContext, config: TimelineConfig, results: ResultsResource
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
    """Draw the requested launch, else the latest sweep's; nothing if there is none yet."""
    if config.run_ids:
        shown, sample = find_launch(config.run_ids, results.store, lambda: nullcontext(context.instance))
    elif (sweep := latest_sweep(results.store, Content.MEASUREMENTS)) is not None:
        shown, sample = find_median(sweep)
    else:
        context.log.info(f"No sweep has been measured yet; {_NAME} is not drawn.")
        return
    known = get_run(context.instance, shown.run_id) is not None
    yield dg.MaterializeResult(
        metadata={
            "summary": dg.MetadataValue.md(_summary(shown, sample)),
            **publish(waterfall(shown, sample), results, _NAME),
            "run": dg.MetadataValue.dagster_run(shown.run_id) if known else shown.run_id,
            **_numbers(shown),
        }
    )


def _summary(shown: Waterfall, sample: Sample | None) -> str:
    """Return the stages as bars, in under 1,000 characters, which the UI shows inline."""
    longest_us = max(row.duration_us for row in shown.rows)
    cells = [
        (
            shown.label(row.stage),
            shown.process(row.stage),
            describe_us(row.duration_us),
            bar(row.duration_us, longest_us),
        )
        for row in shown.rows
    ]
    return f"{prose(headline(shown, sample))}.\n\n{table(('stage', 'runs in', 'took', ''), cells)}"


def _numbers(shown: Waterfall) -> dict[str, Any]:
    """Return the seconds of each stage, for the UI to plot over time."""
    totals_us = {"lag": shown.lag_us, "queue": shown.queue_us, "init": shown.init_us}
    stages_us = {bar.stage.value: bar.duration_us for bar in shown.bars}
    return {f"{name}_s": us / MICROSECONDS for name, us in (totals_us | stages_us).items() if us is not None}


class GanttConfig(dg.Config):
    """The runs to draw."""

    run_ids: list[str] = Field(
        default=[],
        description="Ids of runs, or their beginnings. Of one run, its steps are drawn. Empty: the runs of the latest "
        "sweep's trials; of an experiment with workloads, those of each side's trial with the median makespan.",
    )
    steps: bool = Field(
        default=False,
        description=f"Whether to draw the steps of each run, one run below the other; of {MOST_PANELS} runs at most.",
    )


@dg.asset(
    name=_GANTT_NAME,
    deps=[launch_measurements],
    description="Runs as a Gantt chart: one row each, light in the queue, darker until its first step, solid until its "
    "end; above them how many are in progress at a time. Draws the runs of the latest sweep; with `run_ids`, any runs "
    "of this instance, or the steps of one in the colours of their ops.",
    group_name="charts",
    kinds={"matplotlib", "duckdb"},
    output_required=False,
)
def gantt_chart(
    context: dg.AssetExecutionContext, config: GanttConfig, results: ResultsResource
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
    """Draw the requested runs, else the latest sweep's; nothing if there is none yet."""
    of_sweep = {}
    if config.run_ids:
        runs = find_launches(config.run_ids, results.store, lambda: nullcontext(context.instance))
        shown = gantt_of(runs, steps=config.steps)
    elif (sweep := latest_sweep(results.store, Content.MEASUREMENTS)) is not None:
        shown, of_sweep = gantt_of_sweep(sweep, steps=config.steps), {"sweep": sweep.plan.sweep_id}
    else:
        context.log.info(f"No sweep has been measured yet; {_GANTT_NAME} is not drawn.")
        return
    yield dg.MaterializeResult(
        metadata={
            "summary": dg.MetadataValue.md(_gantt_summary(shown)),
            **publish(gantt(shown), results, _GANTT_NAME),
            **of_sweep,
            "rows": len(shown.rows),
            "makespan_s": shown.end_us / MICROSECONDS,
            "peak_in_progress": max(panel.in_progress.peak for panel in shown.panels),
        }
    )


def _gantt_summary(shown: Gantt) -> str:
    """Return the panels with their numbers, in under 1,000 characters, which the UI shows inline."""
    longest_us = max(panel.makespan_us for panel in shown.panels)
    cells = [
        (
            canvas.shorten(panel.title, _TITLE_LETTERS),
            f"{len(panel.rows):,}",
            f"{panel.in_progress.peak:,}",
            describe_us(panel.makespan_us),
            bar(panel.makespan_us, longest_us),
        )
        for panel in shown.panels
    ]
    names = ("", str(shown.unit), "at most in progress", "makespan", "")
    return f"{prose(gantt_headline(shown))}.\n\n{table(names, cells)}"
