"""`bench run`: carry out a scenario through Dagster, show its progress and report the results."""

import sys
from typing import Any

import click

from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.report import write_report
from bench_orchestrator.cli.results import keep, open_results
from bench_orchestrator.cli.sweeping import measure, timeout_option, url_option
from bench_orchestrator.cli.values import Names, Seconds
from bench_orchestrator.model.bounds import LARGEST_SEED, MOST_LAUNCHES
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.report.summary import render_table
from bench_orchestrator.results.database import StoreError
from bench_orchestrator.scenarios.registry import SCENARIOS


@click.command(name="run")
@click.argument("scenario_name", metavar="SCENARIO", type=click.Choice(list(SCENARIOS)))
@click.option(
    "--locations", "names", type=Names(), help="Code locations, separated by commas. Default: the scenario's."
)
@click.option("--quick", is_flag=True, help="Run an experiment at a size for laptops.")
@click.option("--only", multiple=True, metavar="VARIANT", help="Launch only this variant and its baseline; repeatable.")
@click.option("--repeats", type=click.IntRange(1, MOST_LAUNCHES), help="Measured launches per location or variant.")
@click.option(
    "--warmups", type=click.IntRange(0, MOST_LAUNCHES), help="Launches before those, recorded but not counted."
)
@click.option(
    "--seed", type=click.IntRange(0, LARGEST_SEED), help="Repeat the order and the assets of the sweep with this seed."
)
@timeout_option
@click.option("--pause", "pause_s", type=Seconds(), help="Seconds of rest after each trial.")
@click.option("--jitter", "jitter_s", type=Seconds(), help="Maximum of the random addition to it, in seconds.")
@click.option("--settle", "settle_s", type=Seconds(), help="Maximum wait for the servers to be idle, in seconds.")
@click.option("--resume", metavar="SWEEP", help="Launch the remaining trials of an earlier sweep.")
@click.option(
    "--more",
    type=click.IntRange(1, MOST_LAUNCHES),
    help="With --resume: measured blocks to add, also to a complete sweep.",
)
@url_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout, all else to stderr.")
def command(
    scenario_name: str,
    names: tuple[str, ...] | None,
    quick: bool,
    only: tuple[str, ...],
    url: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Launch a scenario's trials and report what they took.

    Ctrl-C cancels the sweep; the trials measured so far are kept and reported, and --resume launches the rest.

    \b
    Examples:
      bench run quick
      bench run all-locations --repeats 5 --seed 42
      bench run assets-scaling --locations a100,a1k --url https://dagster.example.com
      bench run split-definitions --quick
      bench run executors --resume executors-1f2e3d4c
      bench run executors --resume executors-1f2e3d4c --more 2
    """
    scenario = SCENARIOS[scenario_name]
    if options["more"] and not options["resume"]:
        raise click.UsageError("--more adds blocks to an earlier sweep: name it with --resume.")
    config = {field: value for field, value in options.items() if value is not None}
    if scenario.variants:
        if names:
            raise click.UsageError(f"{scenario_name} is an experiment: choose variants with --only, not --locations.")
        config |= {"quick": quick, "only": list(only)}
    else:
        if quick or only:
            raise click.UsageError(f"{scenario_name} is not an experiment: choose --locations, not --quick or --only.")
        names = names or _planned_locations(options["resume"]) or scenario.locations
        config |= {"locations": list(names)}
    console = open_console(as_json=as_json)
    sweep = measure(scenario, config, names or (), url, console)
    console.print(render_table(sweep))
    write_report(sweep, keep(sweep), console, as_json=as_json)
    sys.exit(0 if all(trial.outcome is Outcome.OK for trial in sweep.trials) else 1)


def _planned_locations(sweep_id: str | None) -> tuple[str, ...]:
    """The locations of the sweep to resume, for a temporary deployment to serve; none if the sweep is unknown."""
    if sweep_id is None:
        return ()
    try:
        plan = open_results().load(sweep_id).plan
    except StoreError:
        return ()
    return tuple(location.name for location in plan.locations)
