"""`bench timeline`: one launch laid out in time, or all runs of a set, or a run's steps, as a Gantt chart."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import RenderableType

from bench_orchestrator import settings
from bench_orchestrator.charts import gantt, save, waterfall
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.values import Output
from bench_orchestrator.deployment import find_home, instance_home
from bench_orchestrator.model.content import Content
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.text import path_segment
from bench_orchestrator.results.queries import latest_sweep
from bench_orchestrator.results.store import Store, UnknownSweepError
from bench_orchestrator.sources.instance import open_instance
from bench_orchestrator.waterfall.gantt_layout import gantt_of
from bench_orchestrator.waterfall.gantt_text import render_gantt, summarize_gantt
from bench_orchestrator.waterfall.layout import UnknownLaunchError
from bench_orchestrator.waterfall.lookup import Opening, find_launch, find_launches, find_median, gantt_of_sweep
from bench_orchestrator.waterfall.text import render_waterfall, summarize_waterfall

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class _Shown:
    """A chart in all its forms."""

    text: RenderableType
    draw: Callable[[], "Figure"]
    numbers: Mapping[str, Any]
    of: str
    """What it is of: a run's id, several, or a sweep's."""
    stem: str
    """The name of its files, without their suffix."""


@dataclass(frozen=True)
class _Asked:
    """What is asked for: runs by their ids, or else a sweep, or the latest."""

    run_ids: tuple[str, ...]
    sweep_id: str | None
    location: str
    variant: str
    store: Store
    opening: Opening

    def find_sweep(self) -> Sweep:
        """Return the sweep, or else the latest that has a measurement."""
        sweep = self.store.load(self.sweep_id) if self.sweep_id else latest_sweep(self.store, Content.MEASUREMENTS)
        if sweep is None:
            raise click.UsageError("No sweep has been measured yet. Give a run's id, or run a sweep: bench run quick")
        return sweep


@click.command(name="timeline")
@click.argument("run_ids", metavar="[RUN_ID]...", nargs=-1)
@click.option("--gantt", "as_gantt", is_flag=True, help="Show all the runs as a Gantt chart; of one run, its steps.")
@click.option("--steps", is_flag=True, help="With --gantt: show the steps of each run, one run below the other.")
@click.option("--sweep", "sweep_id", metavar="SWEEP", help="Show the median launch of this sweep. Default: the latest.")
@click.option("--location", default="", help="Code location of the sweep. Default: the largest one measured.")
@click.option("--variant", default="", help="Variant of the experiment. Default: its baseline.")
@click.option("--output", type=Output(folder=True), help="Folder for the chart.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout, all else to stderr.")
def command(
    run_ids: tuple[str, ...],
    as_gantt: bool,
    steps: bool,
    sweep_id: str | None,
    location: str,
    variant: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Show the launch of a run, stage by stage.

    Each stage is shown with its seconds and its process, and the run's steps below. RUN_ID is the id of any run of the
    Dagster instance, or the beginning of one. Of several runs, or of a sweep, the launch with the median lag is shown.
    A run that has not started a step says how long it has waited so far, and for what. Writes the chart as PNG and SVG.

    With --gantt all the runs are shown, one row each: in the queue, starting, and at work until their end. Of one run
    its steps are shown, in the colours of their ops. Of a sweep these are the runs of all its trials, or, of an
    experiment with workloads, those of each side's trial with the median makespan. Above the rows stands how many are
    in progress at a time.

    \b
    Examples:
      bench timeline 4f2a1b2c
      bench timeline 4f2a1b2c 9d03e6aa 51c77f10
      bench timeline --sweep all-locations-1139f2f3 --location a10k
      bench timeline --gantt 4f2a1b2c
      bench timeline --gantt --sweep all-locations-1139f2f3
    """
    if run_ids and (sweep_id or location or variant):
        raise click.UsageError("Give either run ids, or a sweep with --location and --variant.")
    if steps and not as_gantt:
        raise click.UsageError("--steps is a part of --gantt; without it, a run's steps are shown below its launch.")
    home = find_home()
    results = settings.results_directory(home)
    asked = _Asked(
        run_ids,
        sweep_id,
        location,
        variant,
        Store.in_directory(results),
        lambda: open_instance(instance_home(home, settings.postgres_url())),
    )
    try:
        shown = _gantt(asked, steps=steps) if as_gantt else _waterfall(asked)
    except (UnknownLaunchError, UnknownSweepError) as error:
        raise click.UsageError(str(error)) from error
    console = open_console(as_json=as_json)
    console.print(shown.text)
    files = save(shown.draw(), output or results / "timelines" / path_segment(shown.of), shown.stem)
    console.print(f"Chart: {files.png} and {files.svg.name}")
    if as_json:
        click.echo(json.dumps({**shown.numbers, "png": str(files.png), "svg": str(files.svg)}))


def _waterfall(asked: _Asked) -> _Shown:
    if asked.run_ids:
        launch, sample = find_launch(asked.run_ids, asked.store, asked.opening)
    else:
        launch, sample = find_median(asked.find_sweep(), asked.location, asked.variant)
    return _Shown(
        text=render_waterfall(launch, sample),
        draw=partial(waterfall, launch, sample),
        numbers=summarize_waterfall(launch, sample),
        of=launch.run_id,
        stem="timeline",
    )


def _gantt(asked: _Asked, *, steps: bool) -> _Shown:
    if asked.run_ids:
        runs = find_launches(asked.run_ids, asked.store, asked.opening)
        of = " ".join(sorted(run.launch.run_id or "" for run in runs))
        chart = gantt_of(runs, steps=steps)
    else:
        sweep = asked.find_sweep()
        of = sweep.plan.sweep_id
        chart = gantt_of_sweep(sweep, asked.location, asked.variant, steps=steps)
    return _Shown(
        text=render_gantt(chart),
        draw=partial(gantt, chart),
        numbers=summarize_gantt(chart),
        of=of,
        stem=f"gantt_{chart.unit}",
    )
