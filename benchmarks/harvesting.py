"""Is harvesting linear: reading events, saving rows, drawing charts?

    python -m benchmarks.harvesting [--sizes 40,320] [--postgres URL] [--json]

Creates sweeps of a small and a large size from real runs in a separate instance (executed in this process, stored in
files or in an empty PostgreSQL database). Times each part of the harvest, per launch, in random order. The figure is
the cost per launch of the large sweep divided by that of the small one: the median over the rounds, with its interval.
Exits with 1 if even the lower end of an interval exceeds the limit.
"""

import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import dagster as dg
from rich.console import Console
from rich.table import Table

from bench_orchestrator.charts import CHARTS, save
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.plan import Location, PlannedTrial, SweepPlan
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.results.store import Store
from bench_orchestrator.statistics import median
from bench_orchestrator.sweeps.environment import describe_environment
from bench_orchestrator.sweeps.harvest import harvest_sweep
from bench_orchestrator.sweeps.journal import plan_event
from bench_orchestrator.sweeps.launching import trial_tags

LIMIT = 1.5
"""The maximum cost per launch of the large sweep, as a multiple of the small one's."""

SIZES = "40,320"
ROUNDS = 7
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
LOCATIONS = {"small": 10, "middle": 250, "large": 2_000}


@dg.asset
def launched() -> None:
    """The asset that every run of the benchmark launches."""


def make_sweep(instance: dg.DagsterInstance, trials: int) -> str:
    """Create a finished sweep with this many real runs; return the id of the run that holds its journal."""
    plan = make_plan(instance, trials)
    run_id = record_journal(instance, plan)
    for trial in plan.trials:
        launch(instance, plan, trial)
    return run_id


def make_plan(instance: dg.DagsterInstance, trials: int) -> SweepPlan:
    """Plan a sweep of this many trials in locations of three sizes."""
    names = list(LOCATIONS)
    return SweepPlan(
        sweep_id=f"sweep-of-{trials}",
        scenario="quick",
        seed=1,
        created_us=now_us(),
        locations=tuple(Location(name, "__repository__", "__ASSET_JOB", size, 0) for name, size in LOCATIONS.items()),
        trials=tuple(
            PlannedTrial(number, 1 + number // len(names), names[number % len(names)], "default", False, ("launched",))
            for number in range(1, trials + 1)
        ),
        settings={"timeout_s": 300, "pause_s": 0, "jitter_s": 0, "repeats": trials // len(names), "warmups": 0},
        environment=describe_environment(instance),
    )


def record_journal(instance: dg.DagsterInstance, plan: SweepPlan) -> str:
    """Execute a run that records a plan as a sweep's run does; return its id."""

    @dg.op
    def record() -> Iterator[dg.AssetMaterialization | dg.Output[None]]:
        yield plan_event(plan)
        yield dg.Output(None)

    @dg.job(tags={Tag.KIND: "sweep"})
    def journal() -> None:
        record()

    return journal.execute_in_process(instance=instance, run_config=QUIET).run_id


def launch(instance: dg.DagsterInstance, plan: SweepPlan, trial: PlannedTrial) -> str:
    """Execute the run of a trial; return its id."""
    tags = trial_tags(plan, trial, now_us())
    return dg.materialize([launched], instance=instance, run_config=QUIET, tags=tags).run_id


def time_parts_s(instance: dg.DagsterInstance, run_id: str, folder: Path) -> dict[str, float]:
    """Return the seconds per launch of each part of one harvest."""
    start = time.perf_counter()
    sweep = harvest_sweep(instance, run_id)
    assert isinstance(sweep, Sweep)
    read = time.perf_counter()
    Store.in_directory(folder).save(sweep)
    saved = time.perf_counter()
    for chart in CHARTS:
        save(chart.draw(sweep), folder, chart.stem)
    drawn = time.perf_counter()
    n = len(sweep.trials)
    return {"read and compute": (read - start) / n, "save": (saved - read) / n, "draw": (drawn - saved) / n}


@click.command()
@click.option("--sizes", default=SIZES, show_default=True, help="Launches of the small and of the large sweep.")
@click.option("--rounds", default=ROUNDS, show_default=True, help="Harvests of each; 6 or more give a 95 % interval.")
@click.option("--postgres", "postgres_url", help="Database for the runs and their events. Default: files.")
@click.option("--json", "as_json", is_flag=True)
def main(sizes: str, rounds: int, postgres_url: str | None, as_json: bool) -> None:
    """Compare the cost per launch of a small and a large harvest."""
    small, large = (int(size) for size in sizes.split(","))
    console = Console(stderr=True, highlight=False)
    samples_s: dict[int, list[dict[str, float]]] = {small: [], large: []}
    settings = {"storage": {"postgres": {"postgres_url": postgres_url}}} if postgres_url else {}
    with (
        tempfile.TemporaryDirectory() as folder,
        dg.instance_for_test(overrides=settings, temp_dir=folder) as instance,
    ):
        console.print(f"Making sweeps of {small} and {large} real runs ...")
        runs = {size: make_sweep(instance, size) for size in samples_s}
        # Not counted: it loads modules that all others find loaded.
        time_parts_s(instance, runs[small], Path(folder) / "results")
        order = random.Random(1)
        for _ in range(rounds):
            for size in order.sample(list(runs), len(runs)):
                samples_s[size].append(time_parts_s(instance, runs[size], Path(folder) / "results"))
    table = Table("part", f"{small} launches", f"{large} launches", "ratio", box=None)
    result: dict[str, dict[str, float | None]] = {}
    for part in samples_s[small][0]:
        costs_s = {size: [sample[part] for sample in samples] for size, samples in samples_s.items()}
        ratio = median([b / a for a, b in zip(costs_s[small], costs_s[large], strict=True)])
        result[part] = {"ratio": ratio.value, "low": ratio.low, "high": ratio.high, "coverage": ratio.coverage}
        ms = {size: 1000 * median(samples).value for size, samples in costs_s.items()}
        shown = f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio.low else f"{ratio.value:.2f} [–]"
        table.add_row(part, f"{ms[small]:.2f} ms each", f"{ms[large]:.2f} ms each", shown)
    console.print(table)
    console.print(f"{rounds} harvests of each; the intervals cover {100 * ratio.coverage:.0f} %; limit {LIMIT}")
    if as_json:
        click.echo(json.dumps(result))
    sys.exit(1 if any((row["low"] or 0) > LIMIT for row in result.values()) else 0)


if __name__ == "__main__":
    main()
