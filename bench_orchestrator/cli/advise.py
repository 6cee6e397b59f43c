"""`bench advise`: the launch lag to expect at a size, and what would bring it down."""

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
from bench_orchestrator.analysis.claims import judge_claims
from bench_orchestrator.analysis.evidence import gather
from bench_orchestrator.analysis.lag_model import LagModel
from bench_orchestrator.analysis.remedies import RankedRemedy
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.charts import save
from bench_orchestrator.charts.remedies import remedies_chart
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.results import open_results
from bench_orchestrator.cli.values import Duration
from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.report import write_claims, write_remedies
from bench_orchestrator.statistics import Estimate

_ANSWERS = {True: "yes", False: "no", None: "perhaps"}


@click.command(name="advise")
@click.option("--assets", type=click.IntRange(min=1), required=True, help="Assets in the code location.")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that its runs start one after the other.",
)
@click.option("--max-lag", "max_lag_s", type=Duration(), help="Launch lag to stay under: 8s.")
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for all remedies and the study's claims."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; all else to stderr.")
def command(assets: int, steps: int, max_lag_s: float | None, output: Path | None, as_json: bool) -> None:
    """Predict the launch lag at a size from what was measured here, and rank the remedies.

    Every figure has the interval of its median; a single launch deviates by the wait in the queue, up to half the
    daemon's interval either way, and by its noise. With --max-lag, says which of the remedies alone would do. With
    --output, writes the remedies with their chart, and what became of the study's claims, as Markdown.

    \b
    Examples:
      bench advise --assets 10000
      bench advise --assets 4000 --steps 6 --max-lag 8s
      bench advise --assets 10000 --output docs/results/remedies
    """
    evidence = gather(open_results())
    advice = advise(evidence, assets, steps)
    if advice.model is None:
        raise UnusableError(
            "How the launch lag grows with the number of assets was not measured here yet, in three sizes or more. "
            "Do that first: bench run assets-scaling"
        )
    console = open_console(as_json=as_json)
    _print_prediction(advice, advice.model, max_lag_s, console)
    if advice.measured:
        console.print(_table(advice, max_lag_s))
    _print_conclusion(advice, max_lag_s, console)
    if output:
        chart = save(remedies_chart(advice), output, "remedies")
        write_claims(judge_claims(evidence), output)
        console.print(f"Report: {write_remedies(evidence, advice, output, chart.svg.name)}", markup=False)
    if as_json:
        click.echo(json.dumps(_as_data(advice, advice.model, max_lag_s)))


def _print_prediction(advice: Advice, model: LagModel, max_lag_s: float | None, console: Console) -> None:
    interval_s = model.dequeue_interval_s
    lag_s = model.predict(advice.assets, dequeue_interval_s=interval_s)
    lines = [f"{advice.assets:,} assets: launch lag {describe_estimate(lag_s)}"]
    if advice.steps > 1:
        whole_s = model.predict(advice.assets, dequeue_interval_s=interval_s, steps=advice.steps)
        lines.append(f"and the starts of {advice.steps - 1} more steps: {describe_estimate(whole_s)} in all")
    lines.append(f"from {lag_s.basis}")
    stages = model.predict_stages(advice.assets, dequeue_interval_s=interval_s)
    lines += [f"  {stage.label:<15} {describe_estimate(estimate)}" for stage, estimate in stages.items()]
    if max_lag_s is not None:
        largest = model.largest(max_lag_s, dequeue_interval_s=interval_s)
        lines.append(f"Up to {_describe_assets(largest)} stay under {max_lag_s:g} s as things are.")
    console.print("\n".join(lines), markup=False)


def _describe_assets(largest: Estimate | None) -> str:
    """A number of assets with its interval, in whole ones; any number where nothing bounds it."""
    if largest is None:
        return "any number of assets"
    if largest.low is None:
        return f"{int(largest.value):,} assets [no interval]"
    high = "any number" if largest.high is None else f"{int(largest.high):,}"
    return f"{int(largest.value):,} assets [{int(largest.low):,}, {high}]"


def _table(advice: Advice, max_lag_s: float | None) -> Table:
    """The remedies that have figures."""
    table = Table(box=box.SIMPLE, caption_justify="left")
    for heading in ("remedy", "saves, s", "of", "against", "lag then, s"):
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
    """Whether the remedy alone would do; empty where its lag is not known."""
    return _ANSWERS[stays_within(ranked.lag_s, max_lag_s)] if ranked.lag_s else ""


def _print_conclusion(advice: Advice, max_lag_s: float | None, console: Console) -> None:
    helping = [ranked for ranked in advice.measured if ranked.helps]
    if max_lag_s is not None:
        enough = [ranked for ranked in helping if _answer(ranked, max_lag_s) == "yes"]
        if not enough:
            console.print(
                f"None of them alone is sure to stay under {max_lag_s:g} s. What two save together was not measured: "
                "it is less than the sum where both shorten the same stage.",
                markup=False,
            )
        helping = enough or [ranked for ranked in helping if _answer(ranked, max_lag_s) == "perhaps"]
        helping.sort(key=lambda ranked: ranked.lag_s.value if ranked.lag_s else inf)
    for ranked in helping[:3]:
        lines = [f"\n{ranked.remedy.name}", f"  costs: {ranked.remedy.costs}"]
        if ranked.costs:
            lines.append(f"  measured: {'; '.join(ranked.costs)}")
        console.print("\n".join(lines), indent(ranked.remedy.apply, "    "), sep="\n", markup=False)
    missing = {ranked.missing for ranked in advice.remedies if ranked.missing}
    for reason in sorted(missing):
        names = "; ".join(ranked.remedy.name for ranked in advice.remedies if ranked.missing == reason)
        console.print(f"\n{names}: {reason}", markup=False)


def _as_data(advice: Advice, model: LagModel, max_lag_s: float | None) -> dict[str, Any]:
    """The same for a program: durations in seconds."""
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
    }
