"""`bench timeline`: the launch of a run laid out in time, or the median launch of several runs."""

import json
from pathlib import Path

import click

from bench_orchestrator import settings
from bench_orchestrator.charts import save, waterfall
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.deployment import find_home, instance_home
from bench_orchestrator.model.content import Content
from bench_orchestrator.model.text import path_segment
from bench_orchestrator.results.queries import latest_sweep
from bench_orchestrator.results.store import Store, UnknownSweepError
from bench_orchestrator.sources.instance import open_instance
from bench_orchestrator.waterfall.layout import Sample, UnknownLaunchError, Waterfall
from bench_orchestrator.waterfall.lookup import find_launch, find_median
from bench_orchestrator.waterfall.text import render_waterfall, summarize_waterfall


@click.command(name="timeline")
@click.argument("run_ids", metavar="[RUN_ID]...", nargs=-1)
@click.option("--sweep", "sweep_id", metavar="SWEEP", help="Show the median launch of this sweep. Default: the latest.")
@click.option("--location", default="", help="Code location of the sweep. Default: the largest one measured.")
@click.option("--variant", default="", help="Variant of the experiment. Default: its baseline.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the chart.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout, all else to stderr.")
def command(
    run_ids: tuple[str, ...], sweep_id: str | None, location: str, variant: str, output: Path | None, as_json: bool
) -> None:
    """Show the launch of a run, stage by stage.

    Each stage is shown with its seconds and its process, and the run's steps below. RUN_ID is the id of any run of the
    Dagster instance, or the beginning of one. Of several runs, or of a sweep, the launch with the median lag is shown.
    A run that has not started a step says how long it has waited so far, and for what. Writes the chart as PNG and SVG.

    \b
    Examples:
      bench timeline 4f2a1b2c
      bench timeline 4f2a1b2c 9d03e6aa 51c77f10
      bench timeline --sweep all-locations-1139f2f3 --location a10k
    """
    if run_ids and (sweep_id or location or variant):
        raise click.UsageError("Give either run ids, or a sweep with --location and --variant.")
    home = find_home()
    results = settings.results_directory(home)
    store = Store.in_directory(results)
    try:
        shown, sample = _of_runs(run_ids, store, home) if run_ids else _of_sweep(sweep_id, location, variant, store)
    except (UnknownLaunchError, UnknownSweepError) as error:
        raise click.UsageError(str(error)) from error
    console = open_console(as_json=as_json)
    console.print(render_waterfall(shown, sample))
    files = save(waterfall(shown, sample), output or results / "timelines" / path_segment(shown.run_id), "timeline")
    console.print(f"Chart: {files.png} and {files.svg.name}")
    if as_json:
        numbers = summarize_waterfall(shown, sample)
        click.echo(json.dumps(numbers | {"png": str(files.png), "svg": str(files.svg)}))


def _of_runs(run_ids: tuple[str, ...], store: Store, home: Path) -> tuple[Waterfall, Sample | None]:
    return find_launch(run_ids, store, lambda: open_instance(instance_home(home, settings.postgres_url())))


def _of_sweep(sweep_id: str | None, location: str, variant: str, store: Store) -> tuple[Waterfall, Sample]:
    sweep = store.load(sweep_id) if sweep_id else latest_sweep(store, Content.MEASUREMENTS)
    if sweep is None:
        raise click.UsageError("No sweep has been measured yet. Give a run's id, or run a sweep: bench run quick")
    return find_median(sweep, location, variant)
