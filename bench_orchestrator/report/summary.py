"""A summary of a sweep: the table for the terminal, and the same numbers for JSON."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench_orchestrator.analysis import wording
from bench_orchestrator.analysis.evaluation import Evaluation, Side, evaluate, is_experiment
from bench_orchestrator.analysis.summary import Row, startup_fits, sweep_rows
from bench_orchestrator.model.launch import Outcome, Sweep
from bench_orchestrator.model.plan import Prediction
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.report.captions import captioned
from bench_orchestrator.report.experiment import compare_side
from bench_orchestrator.statistics import Estimate

_LONGEST_WORDS = {"n": 3, "verdict": len("undecided")}
"""What has to stay in one piece in a narrow terminal, by column: its characters."""


def render_table(sweep: Sweep) -> Group:
    """Return a table of medians with intervals by location or side, with findings and failures as its caption."""
    evaluation = evaluate(sweep) if is_experiment(sweep) else None
    rows = sweep_rows(sweep)
    table = Table(
        title=Text(f"{sweep.plan.scenario}  {sweep.plan.sweep_id}"),
        box=box.SIMPLE,
        show_footer=bool(rows) and evaluation is None,
    )
    if evaluation:
        _fill_sides(table, evaluation)
    else:
        _fill_rows(table, rows)
    said = _say_sides(evaluation) if evaluation else _say_rows(sweep, rows)
    return captioned(table, "\n".join((*said, *list_failures(sweep))))


def _fill_sides(table: Table, evaluation: Evaluation) -> None:
    for group in evaluation.groups:
        for side in group:
            cells = compare_side(evaluation, group, side)
            del cells["ratio"]  # one column less fits a terminal
            if not table.columns:
                for head in (*cells, "not ok"):
                    numeric = head not in ("side", "verdict", "not ok")
                    table.add_column(
                        head,
                        justify="right" if numeric else "left",
                        min_width=_LONGEST_WORDS.get(head),
                        overflow="fold",
                    )
            table.add_row(*map(Text, cells.values()), Text(wording.describe_outcomes(side.failures), style="red"))
        table.add_section()


def _fill_rows(table: Table, rows: Sequence[Row]) -> None:
    n, trials = sum(row.n for row in rows), sum(row.trials for row in rows)
    table.add_column("location", footer="total", no_wrap=True)
    table.add_column("n", justify="right", footer=f"{n}/{trials}", no_wrap=True)
    for quantity in ("queue, s", "init, s", "startup, s", "lag, s"):
        table.add_column(quantity, justify="right", no_wrap=True)
    table.add_column("not ok", style="red", footer=str(trials - n) if trials > n else "")
    for row in rows:
        table.add_row(
            Text(row.label),
            f"{row.n}/{row.trials}",
            *(
                Text(wording.describe_estimate(e, unit="", no_interval="[–]"))
                for e in (row.queue_s, row.init_s, row.startup_s, row.lag_s)
            ),
            wording.describe_outcomes(row.failures),
        )


def summarize(sweep: Sweep) -> dict[str, Any]:
    """Return the sweep's numbers as plain data for JSON: durations in seconds, slopes in ms per asset."""
    rows = sweep_rows(sweep)
    evaluation = evaluate(sweep) if is_experiment(sweep) else None
    return {
        "sweep_id": sweep.plan.sweep_id,
        "scenario": sweep.plan.scenario,
        "status": sweep.status,
        "finding": evaluation.answer if evaluation else wording.dominance_in_seconds(rows),
        "trials": sum(row.trials for row in rows),
        "measured": sum(row.n for row in rows),
        **(_summarize_evaluation(evaluation) if evaluation else _summarize_locations(sweep, rows)),
    }


def _summarize_locations(sweep: Sweep, rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "locations": [_summarize_row(row) for row in rows],
        "startup_ms_per_asset": {variant: asdict(fit.slope) for variant, fit in startup_fits(sweep.trials).items()},
    }


def _summarize_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "sentences": list(evaluation.sentences),
        "headline": evaluation.experiment.headline.name,
        "units": {measure.name: measure.unit for measure in evaluation.measures},
        "same_work": evaluation.same_work,
        "sides": [_summarize_side(evaluation, side) for side in evaluation.sides],
        "paths": {name: asdict(path) for name, path in evaluation.paths.items()},
    }


def _summarize_side(evaluation: Evaluation, side: Side) -> dict[str, Any]:
    return {
        "side": side.name,
        "against": side.baseline,
        "noise": side.is_again,
        "n": side.n,
        "outcomes": {outcome.value: count for outcome, count in side.outcomes.items()},
        "measures": {name: _plain(estimate) for name, estimate in side.measures.items()},
        "stages_s": {stage.value: _plain(estimate) for stage, estimate in side.stages_s.items()},
        "code_servers_load_s": side.load_s,
        "code_servers_bytes": side.server_bytes,
        "prediction": _plain(side.prediction),
        "prediction_error": side.prediction_error,
        "against_baseline": {
            name: asdict(found) for (variant, name), found in evaluation.comparisons.items() if variant == side.name
        },
    }


def _plain(value: Estimate | Prediction | None) -> dict[str, Any] | None:
    return None if value is None else asdict(value)


def _summarize_row(row: Row) -> dict[str, Any]:
    return {
        "location": row.location,
        "variant": row.variant,
        "assets": row.asset_count,
        "partitions": row.partition_count,
        "n": row.n,
        "warmups": row.warmups,
        "outcomes": {outcome.value: row.outcomes[outcome] for outcome in Outcome},
        "queue_s": _plain(row.queue_s),
        "init_s": _plain(row.init_s),
        "startup_s": _plain(row.startup_s),
        "lag_s": _plain(row.lag_s),
        "time_to_code_s": _plain(row.time_to_code_s),
        "stages_s": {stage.value: _plain(row.stages_s[stage]) for stage in Stage},
        "kubernetes_s": _plain(row.kubernetes_s),
        "worker_boot_s": {stage.value: _plain(estimate) for stage, estimate in row.boot_s.items()},
    }


def _say_sides(evaluation: Evaluation) -> Iterator[str]:
    yield f"{evaluation.answer}."
    yield from evaluation.caveats
    yield f"{evaluation.basis}."
    yield from (f"{sentence}." for sentence in evaluation.sentences)


def _say_rows(sweep: Sweep, rows: Sequence[Row]) -> Iterator[str]:
    fits = startup_fits(sweep.trials)
    yield f"Medians with confidence intervals{_coverage(rows)}."
    if fits:
        yield f"{wording.growth(fits)}."
    if wait := wording.queue_wait(sweep.plan.dequeue_interval_s):
        yield f"{wait}."
    yield f"{wording.dominance(rows)}."
    if kubernetes := wording.kubernetes(rows):
        yield f"{kubernetes}."
    yield f"{wording.tally(rows)}."


def _coverage(rows: Sequence[Row]) -> str:
    """State what the intervals of the rows cover; empty without an interval."""
    covered = [round(100 * row.coverage) for row in rows if row.coverage is not None]
    return f", which cover {wording.span_of(covered)} %" if covered else ""


def list_failures(sweep: Sweep) -> Iterator[str]:
    """Yield the trials without a measurement, grouped by location, outcome and reason."""
    failed = Counter(
        (
            trial.variant if sweep.plan.variants else trial.location,
            trial.outcome,
            trial.reason,
            trial.warmup,
        )
        for trial in sweep.trials
        if trial.outcome is not Outcome.OK
    )
    for (where, outcome, reason, warmup), count in failed.items():
        yield f"{where}{' (warm-up)' if warmup else ''}: {count} {wording.describe_outcome(outcome)}: {reason}"
