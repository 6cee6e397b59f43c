"""A sweep in brief: the table for the terminal, and the same numbers for a program."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from bench_orchestrator import findings
from bench_orchestrator.model import Outcome, Stage, Sweep
from bench_orchestrator.statistics import Estimate
from bench_orchestrator.tables import LocationRow, lag_fits, location_rows


def render_table(sweep: Sweep) -> Table:
    """Medians with their intervals by location, totals, the finding, and below it what went wrong and why."""
    rows = location_rows(sweep.launches)
    table = Table(
        title=Text(f"{sweep.plan.scenario}  {sweep.plan.sweep_id}"),
        caption=_caption(sweep, rows),
        caption_justify="left",
        box=box.SIMPLE,
        show_footer=bool(rows),
    )
    n, trials = sum(row.n for row in rows), sum(row.trials for row in rows)
    table.add_column("location", footer="total", no_wrap=True)
    table.add_column("n", justify="right", footer=f"{n}/{trials}", no_wrap=True)
    for quantity in ("queue, s", "init, s", "lag, s"):
        table.add_column(quantity, justify="right", no_wrap=True)
    table.add_column("covers", justify="right", no_wrap=True)
    table.add_column("not ok", style="red", footer=str(trials - n) if trials > n else "")
    for row in rows:
        table.add_row(
            Text(row.label),
            f"{row.n}/{row.trials}",
            *(
                Text(findings.describe_estimate(e, unit="", no_interval="[–]"))
                for e in (row.queue_s, row.init_s, row.lag_s)
            ),
            "" if row.coverage is None else f"{100 * row.coverage:.0f} %",
            findings.describe_outcomes(row.failures),
        )
    return table


def summarize(sweep: Sweep) -> dict[str, Any]:
    """The sweep's numbers as plain data for JSON: durations in seconds, slopes in ms per asset."""
    rows = location_rows(sweep.launches)
    return {
        "sweep_id": sweep.plan.sweep_id,
        "scenario": sweep.plan.scenario,
        "status": sweep.status,
        "finding": findings.span(rows),
        "trials": sum(row.trials for row in rows),
        "measured": sum(row.n for row in rows),
        "locations": [_summarize_row(row) for row in rows],
        "lag_ms_per_asset": {variant: asdict(fit.slope) for variant, fit in lag_fits(sweep.launches).items()},
    }


def _summarize_row(row: LocationRow) -> dict[str, Any]:
    def plain(estimate: Estimate | None) -> dict[str, Any] | None:
        return None if estimate is None else asdict(estimate)

    return {
        "location": row.location,
        "variant": row.variant,
        "assets": row.asset_count,
        "partitions": row.partition_count,
        "n": row.n,
        "warmups": row.warmups,
        "outcomes": {outcome.value: row.outcomes[outcome] for outcome in Outcome},
        "queue_s": plain(row.queue_s),
        "init_s": plain(row.init_s),
        "lag_s": plain(row.lag_s),
        "time_to_code_s": plain(row.time_to_code_s),
        "stages_s": {stage.value: plain(row.stages_s[stage]) for stage in Stage},
    }


def _caption(sweep: Sweep, rows: tuple[LocationRow, ...]) -> Text:
    """The finding, then the trials that failed, equal ones together."""
    fits = lag_fits(sweep.launches)
    lines = ["Medians with the interval that covers the true median as often as stated."]
    if fits:
        lines.append(f"{findings.growth(fits)}.")
    lines += [f"{findings.dominance(rows)}.", f"{findings.tally(rows)}."]
    failed = Counter(
        (launch.location, launch.outcome, launch.reason, launch.warmup)
        for launch in sweep.launches
        if launch.outcome is not Outcome.OK
    )
    for (location, outcome, reason, warmup), count in failed.items():
        who = f"{location}{' (warm-up)' if warmup else ''}"
        lines.append(f"{who}: {count} {findings.describe_outcome(outcome)}: {reason}")
    return Text("\n".join(lines))
