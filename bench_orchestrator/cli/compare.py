"""`bench compare`: two sweeps side by side."""

import json
from dataclasses import asdict

import click
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from bench_orchestrator.analysis.comparison import Changes, IncomparableError, compare_sweeps
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.results import open_results
from bench_orchestrator.report.captions import captioned
from bench_orchestrator.results.store import UnknownSweepError
from bench_orchestrator.scenarios.experiment import LAG, STARTUP
from bench_orchestrator.statistics import Verdict

_STYLES = {Verdict.FASTER: "green", Verdict.SLOWER: "red"}


@click.command(name="compare")
@click.argument("before_id", metavar="SWEEP_A")
@click.argument("after_id", metavar="SWEEP_B")
@click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout, all else to stderr.")
def command(before_id: str, after_id: str, as_json: bool) -> None:
    """Compare two sweeps: what got faster or slower.

    Shows the launch lag by location, the startup time (the lag without the queue wait, which is random) and each
    stage, from SWEEP_A to SWEEP_B, with the interval of the difference. Lists what was left out, such as a location
    that got another partition, and how their environments differ: all of
    these changes are in the figures. `bench sweeps` lists the sweeps.

    \b
    Example:
      bench compare quick-1f2e3d4c quick-9a8b7c6d
    """
    store = open_results()
    try:
        changes = compare_sweeps(store.load(before_id), store.load(after_id))
    except (UnknownSweepError, IncomparableError) as error:
        raise click.UsageError(str(error)) from error
    console = open_console(as_json=as_json)
    console.print(_table(changes))
    _print_circumstances(changes, console)
    if as_json:
        click.echo(json.dumps(_as_data(changes)))


def _table(changes: Changes) -> Group:
    table = Table(
        title=Text(f"{changes.before.plan.sweep_id} → {changes.after.plan.sweep_id}"),
        box=box.SIMPLE,
    )
    table.add_column("", no_wrap=True)
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for change in changes.changes:
        if change.quantity == LAG.label:
            table.add_row(Text(change.place, style="bold"))
        verdict = change.comparison.verdict
        table.add_row(
            Text(f"  {change.quantity}", style="" if change.quantity in (LAG.label, STARTUP.label) else "dim"),
            *(f"{estimate.value:.2f}" for estimate in (change.before_s, change.after_s)),
            Text(describe_estimate(change.comparison.difference, unit="", digits=2, no_interval="[–]")),
            Text(verdict.value, style=_STYLES.get(verdict, "dim")),
        )
    return captioned(table, "Medians, and the difference of the medians with its interval, in seconds.")


def _print_circumstances(changes: Changes, console: Console) -> None:
    for line in changes.left_out:
        console.print(f"Left out: {line}.")
    if not changes.environment:
        console.print("Their environments do not differ in anything that was recorded.")
        return
    console.print("Their environments differ in:")
    for name, (was, now) in changes.environment.items():
        console.print(f"  {name.replace('_', ' ')}: {was} → {now}")


def _as_data(changes: Changes) -> dict[str, object]:
    return {
        "before": changes.before.plan.sweep_id,
        "after": changes.after.plan.sweep_id,
        "environment": {name: {"before": was, "after": now} for name, (was, now) in changes.environment.items()},
        "left_out": list(changes.left_out),
        "changes": [
            {
                "place": change.place,
                "quantity": change.quantity,
                "before_s": asdict(change.before_s),
                "after_s": asdict(change.after_s),
                "difference_s": asdict(change.comparison.difference),
                "ratio": None if change.comparison.ratio is None else asdict(change.comparison.ratio),
                "verdict": change.comparison.verdict.value,
                "more_launches": change.comparison.more_blocks,
            }
            for change in changes.changes
        ],
    }
