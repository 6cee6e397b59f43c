"""`bench gate`: a limit on the launch lag, as a step of a CI pipeline."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click
from rich import box
from rich.table import Table
from rich.text import Text

from bench_orchestrator.analysis.gate import FEWEST_TRIALS, JudgedLocation, Ruling, conclude, judge
from bench_orchestrator.analysis.summary import sweep_rows
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.failures import warning_of_failures
from bench_orchestrator.cli.results import keep
from bench_orchestrator.cli.sweeping import measure, timeout_option, url_option
from bench_orchestrator.cli.values import Duration, Names
from bench_orchestrator.model.bounds import MOST_LAUNCHES
from bench_orchestrator.report.files import write_sweep
from bench_orchestrator.scenarios.registry import GATE, SCENARIOS

_EXIT_CODES = {Ruling.UNDER: 0, Ruling.OVER: 1, Ruling.UNDECIDED: 4}
_STYLES = {Ruling.UNDER: "green", Ruling.OVER: "red", Ruling.UNDECIDED: "yellow"}


@click.command(name="gate")
@click.option(
    "--max-lag", "max_lag_s", type=Duration(), required=True, help="Limit for the median launch lag, such as 10s."
)
@click.option(
    "--locations",
    "names",
    type=Names(),
    default=SCENARIOS[GATE].locations,
    show_default=",".join(SCENARIOS[GATE].locations),
    help="Code locations, separated by commas.",
)
@click.option(
    "--trials",
    type=click.IntRange(FEWEST_TRIALS, MOST_LAUNCHES),
    default=SCENARIOS[GATE].repeats,
    show_default=True,
    help="Measured launches per location.",
)
@timeout_option
@url_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout, all else to stderr.")
def command(
    max_lag_s: float,
    names: tuple[str, ...],
    trials: int,
    timeout_s: float | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Fail if the launch lag is over a limit, for CI.

    Launches trials in each location and judges the 95 % interval of the median launch lag. In a location that is not
    synthetic, each trial really materializes one of its assets.

    \b
    Exit codes:
      0  under: the whole interval is under the limit in every location
      1  over: the whole interval is over the limit in some location
      3  nothing was measured: something cannot be used
      4  cannot tell: the limit is within an interval, or trials failed

    \b
    Examples:
      bench gate --max-lag 10s
      bench gate --max-lag 15s --locations a250,my_location --trials 12 --url https://staging.example.com
    """
    console = open_console(as_json=as_json)
    config: dict[str, Any] = {"locations": list(names), "repeats": trials}
    if timeout_s is not None:
        config["timeout_s"] = timeout_s
    sweep = measure(SCENARIOS[GATE], config, names, url, console)
    judgements = [judge(row, max_lag_s) for row in sweep_rows(sweep)]
    ruling = conclude(judgements)
    # From here on the exit code is known, and nothing that fails may change it.
    with warning_of_failures("the result cannot be printed"):
        console.print(_table(judgements, max_lag_s))
        console.print(_CONCLUSIONS[ruling].format(f"{max_lag_s:g} s"), style=_STYLES[ruling])
        if as_json:
            click.echo(json.dumps(_as_data(sweep.plan.sweep_id, max_lag_s, ruling, judgements)))
    with warning_of_failures("the report cannot be written"):
        files = write_sweep(sweep, keep(sweep))
        console.print(f"Report: {files.html}")
    sys.exit(_EXIT_CODES[ruling])


_CONCLUSIONS = {
    Ruling.UNDER: "The launch lag is under {}.",
    Ruling.OVER: "The launch lag is over {}.",
    Ruling.UNDECIDED: "Cannot tell whether the launch lag is under {}.",
}


def _table(judgements: Sequence[JudgedLocation], max_lag_s: float) -> Table:
    table = Table(
        box=box.SIMPLE,
        caption="Median launch lag with its interval, in seconds.",
        caption_justify="left",
    )
    table.add_column("location", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("launch lag, s", justify="right", no_wrap=True)
    table.add_column(f"{max_lag_s:g} s")
    for judgement in judgements:
        row = judgement.row
        table.add_row(
            Text(row.label),
            f"{row.n}/{row.trials}",
            Text(describe_estimate(row.lag_s, "") if row.lag_s else ""),
            Text(": ".join(filter(None, (judgement.ruling, judgement.reason))), style=_STYLES[judgement.ruling]),
        )
    return table


def _as_data(
    sweep_id: str, max_lag_s: float, ruling: Ruling, judgements: Sequence[JudgedLocation]
) -> dict[str, object]:
    return {
        "sweep": sweep_id,
        "max_lag_s": max_lag_s,
        "ruling": ruling.value,
        "locations": [
            {
                "location": judgement.row.label,
                "trials": judgement.row.trials,
                "failures": {outcome.value: count for outcome, count in judgement.row.failures.items()},
                "lag_s": asdict(judgement.row.lag_s) if judgement.row.lag_s else None,
                "ruling": judgement.ruling.value,
                "reason": judgement.reason,
            }
            for judgement in judgements
        ],
    }
