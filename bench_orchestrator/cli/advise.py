"""`bench advise`: predict the launch lag at a size, and rank what would shorten it."""

import json
from dataclasses import asdict
from math import inf
from pathlib import Path
from textwrap import indent
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench_orchestrator.analysis.advice import Advice, advise, describe_saving, stays_within
from bench_orchestrator.analysis.capacity import Capacity, predict_capacity
from bench_orchestrator.analysis.claims import judge_claims
from bench_orchestrator.analysis.lag_model import LagModel
from bench_orchestrator.analysis.remedies import RankedRemedy
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.charts import save
from bench_orchestrator.charts.remedies import remedies_chart
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.results import open_results
from bench_orchestrator.cli.values import Duration, Output
from bench_orchestrator.model.bounds import MOST_ASSETS, MOST_RUNS, MOST_STEPS
from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.report.advice import capacity_lines
from bench_orchestrator.report.files import write_claims, write_remedies
from bench_orchestrator.results.queries import gather
from bench_orchestrator.statistics import Estimate

_ANSWERS = {True: "yes", False: "no", None: "perhaps"}


@click.command(name="advise")
@click.option("--assets", type=click.IntRange(1, MOST_ASSETS), required=True, help="Assets in the code location.")
@click.option(
    "--steps",
    type=click.IntRange(1, MOST_STEPS),
    default=1,
    show_default=True,
    help="Steps of a run that start one after the other.",
)
@click.option(
    "--concurrent",
    type=click.IntRange(1, MOST_RUNS),
    help="Runs at once in the pod of the code server: prints the memory and CPU that they need.",
)
@click.option("--max-lag", "max_lag_s", type=Duration(), help="Launch lag to stay under, such as 8s.")
@click.option(
    "--output",
    type=Output(folder=True),
    help="Write the remedies and the verdicts on the study's claims to this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout, all else to stderr.")
def command(
    assets: int, steps: int, concurrent: int | None, max_lag_s: float | None, output: Path | None, as_json: bool
) -> None:
    """Predict the launch lag at a size and rank the remedies.

    The prediction is fitted to this machine's own sweeps. Its interval is for the median of a further sweep, with the
    spread between the sweeps so far; after one sweep it is a within-sweep interval, and says so. A single launch also
    varies by noise and by its queue wait, up to half the daemon's interval either way. With --max-lag, shows which
    remedies would be enough alone. With --concurrent, shows the memory and CPU of that many runs at once, with
    Dagster's code server and with the warm one, from the experiment definitions-cache: how many runs a pod holds. What
    the steps themselves compute is not included. With --output, writes all of that with a chart as Markdown, and the
    verdicts on the claims of the study ("Analysis of Dagster Performance with respect to assets", in the repository
    dagster-k8s-deployment by HesamKorki).

    \b
    Examples:
      bench advise --assets 10000
      bench advise --assets 4000 --steps 6 --max-lag 8s
      bench advise --assets 2000 --concurrent 20
      bench advise --assets 10000 --output docs/results/remedies
    """
    evidence = gather(open_results())
    advice = advise(evidence, assets, steps)
    if advice.model is None:
        raise UnusableError(
            "No sweep here has measured the launch lag at three sizes or more yet. Run one: bench run assets-scaling"
        )
    capacity = None if concurrent is None else predict_capacity(evidence, assets, concurrent)
    console = open_console(as_json=as_json)
    _print_prediction(advice, advice.model, max_lag_s, console)
    if advice.measured:
        console.print(_table(advice, max_lag_s))
    _print_conclusion(advice, max_lag_s, console)
    if capacity:
        _print_capacity(capacity, console)
    if output:
        chart = save(remedies_chart(advice), output, "remedies")
        write_claims(judge_claims(evidence), output)
        console.print(f"Report: {write_remedies(evidence, advice, output, chart.svg.name, capacity)}")
    if as_json:
        click.echo(json.dumps(_as_data(advice, advice.model, max_lag_s, capacity)))


def _print_prediction(advice: Advice, model: LagModel, max_lag_s: float | None, console: Console) -> None:
    interval_s = model.dequeue_interval_s
    lag_s = model.predict(advice.assets, dequeue_interval_s=interval_s)
    lines = [f"{advice.assets:,} assets: launch lag {describe_estimate(lag_s)}"]
    if advice.steps > 1:
        whole_s = model.predict(advice.assets, dequeue_interval_s=interval_s, steps=advice.steps)
        lines.append(f"with the starts of {advice.steps - 1} more steps: {describe_estimate(whole_s)} in all")
    lines.append(f"from {lag_s.basis}")
    stages = model.predict_stages(advice.assets, dequeue_interval_s=interval_s)
    lines.append("by stage, with within-sweep intervals:")
    lines += [f"  {stage.label:<15} {describe_estimate(estimate)}" for stage, estimate in stages.items()]
    if max_lag_s is not None:
        largest = model.largest(max_lag_s, dequeue_interval_s=interval_s)
        lines.append(f"Up to {_describe_assets(largest)} stay under {max_lag_s:g} s without changes.")
    console.print("\n".join(lines))


def _describe_assets(largest: Estimate | None) -> str:
    """Describe a number of assets with its interval, in whole assets; "any number" where it has no bound."""
    if largest is None:
        return "any number of assets"
    if largest.low is None:
        return f"{int(largest.value):,} assets [no interval]"
    high = "any number" if largest.high is None else f"{int(largest.high):,}"
    return f"{int(largest.value):,} assets [{int(largest.low):,}, {high}]"


def _table(advice: Advice, max_lag_s: float | None) -> Table:
    """Tabulate the measured remedies."""
    table = Table(box=box.SIMPLE, caption_justify="left")
    for heading in ("remedy", "saves, s", "of", "against", "lag with it, s"):
        is_number = heading.endswith(", s")
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=is_number)
    if max_lag_s is not None:
        table.add_column(f"under {max_lag_s:g} s", no_wrap=True)
    for ranked in advice.measured:
        cells = [
            ranked.remedy.name,
            describe_saving(advice, ranked, ""),
            ranked.quantity,
            ranked.against,
            describe_estimate(ranked.lag_s, "") if ranked.lag_s else "",
        ]
        if max_lag_s is not None:
            cells.append(_answer(ranked, max_lag_s))
        table.add_row(*map(Text, cells))
    return table


def _answer(ranked: RankedRemedy, max_lag_s: float) -> str:
    """Whether the remedy alone would be enough; empty where its lag is unknown."""
    return _ANSWERS[stays_within(ranked.lag_s, max_lag_s)] if ranked.lag_s else ""


def _print_conclusion(advice: Advice, max_lag_s: float | None, console: Console) -> None:
    helping = [ranked for ranked in advice.measured if ranked.helps]
    if max_lag_s is not None:
        enough = [ranked for ranked in helping if _answer(ranked, max_lag_s) == "yes"]
        if not enough:
            console.print(
                f"No remedy alone is certain to stay under {max_lag_s:g} s. Combinations were not measured: two "
                "remedies save less than their sum where both shorten the same stage.",
            )
        helping = enough or [ranked for ranked in helping if _answer(ranked, max_lag_s) == "perhaps"]
        helping.sort(key=lambda ranked: ranked.lag_s.value if ranked.lag_s else inf)
    for ranked in helping[:3]:
        lines = [f"\n{ranked.remedy.name}", f"  costs: {ranked.remedy.costs}"]
        if ranked.costs:
            lines.append(f"  measured: {'; '.join(ranked.costs)}")
        console.print("\n".join(lines), indent(ranked.remedy.apply, "    "), sep="\n")
    missing = {ranked.missing for ranked in advice.remedies if ranked.missing}
    for reason in sorted(missing):
        names = "; ".join(ranked.remedy.name for ranked in advice.remedies if ranked.missing == reason)
        console.print(f"\n{names}: {reason}")


def _print_capacity(capacity: Capacity, console: Console) -> None:
    """Print the footprints in a table, one column for each code server, and what they rest on."""
    console.print(f"\nMemory and CPU of the code server's pod, {capacity.assets:,} assets:")
    lines = capacity_lines(capacity)
    if lines:
        table = Table(box=box.SIMPLE)
        for number, heading in enumerate(lines[0]):
            table.add_column(heading, justify="right" if number else "left", no_wrap=number > 0)
        for line in lines:
            table.add_row(*map(Text, line.values()))
        console.print(table)
    for sentence in capacity.sentences:
        console.print(f"{sentence}.")


def _as_data(advice: Advice, model: LagModel, max_lag_s: float | None, capacity: Capacity | None) -> dict[str, Any]:
    """Return the same as JSON data: durations in seconds, memory in MiB."""
    interval_s = model.dequeue_interval_s
    stages = model.predict_stages(advice.assets, dequeue_interval_s=interval_s)
    largest = None if max_lag_s is None else model.largest(max_lag_s, dequeue_interval_s=interval_s)
    return {
        "assets": advice.assets,
        "steps": advice.steps,
        "sweep_id": model.plan.sweep_id,
        "lag_s": asdict(model.predict(advice.assets, dequeue_interval_s=interval_s)),
        "all_steps_s": asdict(model.predict(advice.assets, dequeue_interval_s=interval_s, steps=advice.steps)),
        "stages_s": {stage.value: asdict(estimate) for stage, estimate in stages.items()},
        "max_lag_s": max_lag_s,
        "largest_assets": asdict(largest) if largest else None,
        "remedies": [
            asdict(ranked) | {"within": stays_within(ranked.lag_s, max_lag_s) if ranked.lag_s and max_lag_s else None}
            for ranked in advice.remedies
        ],
        "capacity": asdict(capacity) | {"missing": capacity.missing} if capacity else None,
    }
