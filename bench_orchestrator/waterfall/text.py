"""A waterfall as text: tables with bars for the terminal, and the same numbers as plain data for JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from bench_orchestrator.model.instants import MICROSECONDS, describe_us
from bench_orchestrator.model.run_queue import Hold
from bench_orchestrator.model.stages import Boundary
from bench_orchestrator.waterfall.layout import Bar, Sample, Waterfall, excerpt, headline, remarks

LIGHT, MEDIUM, SOLID = "░▒█"
_LONGEST_NAME = 36


@dataclass(frozen=True)
class DrawnBar:
    """A row's bar, drawn on the width that the table leaves: each piece is (start, end, character)."""

    span_us: tuple[int, int]
    pieces: tuple[tuple[int, int, str], ...]

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        begin_us, end_us = self.span_us
        cells = [" "] * options.max_width
        per_us = len(cells) / max(end_us - begin_us, 1)
        for from_us, to_us, cell in self.pieces:
            if to_us > from_us:  # even the shortest piece gets one cell
                first = min(int((from_us - begin_us) * per_us), len(cells) - 1)
                last = max(first + 1, round((to_us - begin_us) * per_us))
                cells[first:last] = cell * (last - first)
        yield Text("".join(cells))

    def __rich_measure__(self, _: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(4, 36).with_maximum(options.max_width)


def render_waterfall(shown: Waterfall, sample: Sample | None = None) -> Group:
    """Return the headline, the stages, the steps and the remarks."""
    tables = [_render_stages(shown), *([_render_steps(shown)] if shown.steps else [])]
    words = [f"Instants are since {shown.zero_words}.", *remarks(shown, sample)]
    return Group(Text(headline(shown, sample), style="bold"), *tables, *map(Text, words))


def summarize_waterfall(shown: Waterfall, sample: Sample | None = None) -> dict[str, Any]:
    """Return the same as plain data for JSON: instants in seconds from zero; unknown values are None or left out."""
    return {
        "run_id": shown.run_id,
        "subject": shown.subject,
        "finding": headline(shown, sample),
        "median_of": asdict(sample) if sample else None,
        "outcome": shown.outcome,
        "reason": shown.reason,
        "executor": shown.executor,
        "template": dict(shown.template),
        "origin": shown.origin.value if Boundary.REQUESTED in shown.known else None,
        "zero": shown.zero.value,
        "zero_since_epoch_s": shown.zero_us / MICROSECONDS,
        "queue_s": seconds(shown.queue_us),
        "init_s": seconds(shown.init_us),
        "lag_s": seconds(shown.lag_us),
        "ended_s": seconds(shown.ended_us),
        "stages": [_summarize_stage(bar, shown) for bar in shown.bars],
        "worker_boot": [_summarize_stage(bar, shown) for bar in shown.boot],
        "step_boot": [_summarize_stage(bar, shown) for bar in shown.step_boot],
        "unfinished": _summarize_stage(shown.unfinished, shown) if shown.unfinished else None,
        "steps": [
            {
                "step": step.key,
                "process": shown.step_process(step),
                "launched_s": seconds(step.launched_us),
                "started_s": seconds(step.started_us),
                "ended_s": seconds(step.ended_us),
            }
            for step in shown.steps
        ],
        "waits_for": [summarize_hold(hold) for hold in shown.holds],
        "so_far_s": seconds(shown.unfinished.duration_us) if shown.unfinished and shown.now_us is not None else None,
        "warnings": list(shown.warnings),
    }


def _summarize_stage(bar: Bar, shown: Waterfall) -> dict[str, Any]:
    return {
        "stage": bar.stage.value,
        "process": shown.process(bar.stage),
        "start_s": seconds(bar.start_us),
        "seconds": seconds(bar.duration_us),
        "lag_percent": shown.lag_percent(bar),
    }


def summarize_hold(hold: Hold) -> dict[str, Any]:
    """Return a hold with its instants in seconds since the epoch."""
    return asdict(hold) | {
        "holders": [
            {
                "run_id": holder.run_id,
                "job": holder.job,
                "step": holder.step,
                "status": holder.status,
                "since_epoch_s": seconds(holder.since_us),
                "last_sign_epoch_s": seconds(holder.last_sign_us),
            }
            for holder in hold.holders
        ]
    }


def _render_stages(shown: Waterfall) -> Table:
    table = bar_table(["stage", "process"], ["start", "took", "of lag"])
    span_us = shown.rows[0].start_us, shown.rows[-1].end_us
    for bar in shown.rows:
        percent = shown.lag_percent(bar)
        share = "" if percent is None else f"{percent:.0f} %"
        finished = bar is not shown.unfinished
        table.add_row(
            shown.label(bar.stage),
            shown.process(bar.stage),
            describe_us(bar.start_us),
            describe_us(bar.duration_us),
            share if finished else "so far" if shown.now_us is not None else shown.outcome,
            DrawnBar(span_us, ((bar.start_us, bar.end_us, SOLID if finished else LIGHT),)),
        )
    return table


def _render_steps(shown: Waterfall) -> Table:
    """Return a table of the steps, with bars that are light from launch to start and solid from start to end.

    If steps are left out, the last ones have their own scale.
    """
    table = bar_table(["step"], ["launched", "started", "ended"])
    groups = excerpt(shown.steps)
    for group in groups:
        if group is not groups[0]:
            table.add_row(f"{len(shown.steps) - sum(map(len, groups)):,} steps are left out")
        edges_us = [shown.edges_us(step) for step in group]
        span_us = min(begin_us for begin_us, _, _ in edges_us), max(end_us for _, _, end_us in edges_us)
        for step, (launched_us, started_us, ended_us) in zip(group, edges_us, strict=True):
            table.add_row(
                Text(step.key),
                *("" if us is None else describe_us(us) for us in (step.launched_us, step.started_us, step.ended_us)),
                DrawnBar(span_us, ((launched_us, started_us, LIGHT), (started_us, ended_us, SOLID))),
            )
    return table


def bar_table(names: Sequence[str], quantities: Sequence[str]) -> Table:
    """Create a table with columns for names, quantities and a bar, which shrinks first."""
    table = Table(box=box.SIMPLE, collapse_padding=True)
    for name in names:
        table.add_column(name, no_wrap=True, max_width=_LONGEST_NAME)
    for quantity in quantities:
        table.add_column(quantity, justify="right", no_wrap=True)
    table.add_column("")
    return table


def seconds(us: int | None) -> float | None:
    """Return microseconds as seconds for JSON."""
    return None if us is None else us / MICROSECONDS
