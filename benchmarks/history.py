"""Does a harvest stay as cheap with a long history, and does it fit in memory with a large sweep?

    python -m benchmarks.history [--rounds 7] [--histories 30,3000] [--trials 5000,10000] [--json]

History: the harvest job (measurements, charts, evaluations, conclusions) harvests the same sweep of real runs into
results that hold 30 or 3,000 earlier sweeps, in randomised order. The figure is the CPU time with the long history over
that with the short one, median of the rounds with its interval. CPU time, as what else the machine does counts little.

Memory: a sweep of 5,000 and one of 10,000 trials are harvested, saved, loaded, fitted and charted, each in a process of
its own. Their runs are copies of one real run, in the one table of events that Dagster's storages other than the
default SQLite have. The figures are the peak memory, and the CPU time per trial of the larger over that of the smaller.

Exits with 1 if the lower end of the history's interval, the memory or the time per trial is above its limit.
"""

import json
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import dagster as dg
from rich.console import Console

from bench_orchestrator import settings
from bench_orchestrator.analysis.summary import startup_fits
from bench_orchestrator.charts import charts_for, save
from bench_orchestrator.definitions import defs
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.tags import MEASUREMENTS_ASSET, Tag
from bench_orchestrator.results.schema import describe_contents
from bench_orchestrator.results.store import Store
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from bench_orchestrator.statistics import Estimate, median
from bench_orchestrator.sweeps.harvest import harvest_sweep
from bench_orchestrator.sweeps.planning import with_baselines_again
from benchmarks.harvesting import QUIET, launch, make_plan, make_sweep, record_journal

HISTORY_LIMIT = 1.2
"""How many times the harvest with a short history the one with a long history may cost."""

MEMORY_LIMIT_MIB = 1024
"""Of the process that works on the large sweep, Dagster and matplotlib included."""

LINEAR_LIMIT = 1.3
"""How many times the CPU time per trial of the small sweep that of the large one may be."""

TRIALS_IN_HISTORY = 36
MIX = ("monitor", "quick", "monitor", "all-locations", "monitor", "executors", "monitor", "assets-scaling")
"""What the sweeps of a history are about, in turn."""

INSTANCE = {
    "telemetry": {"enabled": False},
    "event_log_storage": {
        "module": "dagster._core.storage.event_log",
        "class": "ConsolidatedSqliteEventLogStorage",
        "config": {"base_dir": ""},
    },
}


def write_history(folder: Path, measured: Sweep, count: int) -> None:
    """Write results with this many earlier sweeps: copies of one, under the names and ids of many."""
    store = Store.in_directory(folder)
    variants = with_baselines_again(EXPERIMENTS["executors"].scenario.quick_variants)
    for scenario in dict.fromkeys(MIX):
        plan = replace(measured.plan, sweep_id=scenario, scenario=scenario, created_us=1)
        trials = measured.trials
        if scenario in EXPERIMENTS:
            sides = {number: variants[number % len(variants)].name for number in range(1, len(trials) + 1)}
            plan = replace(
                plan,
                variants=variants,
                trials=tuple(replace(trial, variant=sides[trial.number]) for trial in plan.trials),
            )
            trials = tuple(replace(trial, variant=sides[trial.number]) for trial in trials)
        store.save(Sweep(plan, "complete", tuple(replace(one, sweep_id=scenario, scenario=scenario) for one in trials)))
    with store.open(read_only=False) as connection:
        connection.execute(
            "CREATE TEMP TABLE copies AS SELECT i, ?[1 + i % ?] AS scenario FROM range(?) AS t(i)",
            [
                list(MIX),
                len(MIX),
                count,
            ],
        )
        for table, key in (("launches", ""), ("sweeps", ", 1 + i AS created_us")):
            connection.execute(
                f"CREATE TEMP TABLE copied AS SELECT {table}.* REPLACE (scenario || '-' || i AS sweep_id{key}) "
                f"FROM {table} JOIN copies USING (scenario)"
            )
            connection.execute(f"DELETE FROM {table}")
            connection.execute(f"INSERT INTO {table} BY NAME FROM copied")
            connection.execute("DROP TABLE copied")
        connection.execute("DELETE FROM contents")
        # The plan says the id as well.
        connection.execute(
            "UPDATE sweeps "
            "SET plan = json_merge_patch(plan, json_object('sweep_id', sweep_id, 'created_us', created_us))"
        )
        describe_contents(connection)


def harvest_cpu_s(instance: dg.DagsterInstance, run_id: str) -> float:
    """The CPU seconds of the harvest job."""
    config = {"ops": {MEASUREMENTS_ASSET: {"config": {"sweep_runs": [run_id]}}}, **QUIET}
    job = defs().resolve_job_def("harvest")
    start = time.process_time()
    result = job.execute_in_process(
        instance=instance, run_config=config, tags={Tag.KIND: "harvest", Tag.SCENARIO: "quick"}
    )
    assert result.success
    return time.process_time() - start


def measure_history(histories: Sequence[int], rounds: int, console: Console) -> dict[str, Any]:
    """The cost of a harvest by the number of sweeps that the results hold already."""
    samples_s: dict[int, list[float]] = {count: [] for count in histories}
    with tempfile.TemporaryDirectory() as folder, dg.instance_for_test(temp_dir=folder) as instance:
        run_id = make_sweep(instance, TRIALS_IN_HISTORY)
        measured = harvest_sweep(instance, run_id)
        assert measured is not None
        for count in histories:
            write_history(Path(folder) / str(count), measured, count)
        order = random.Random(1)
        for number in range(rounds + 1):
            for count in order.sample(list(histories), len(histories)):
                with tempfile.TemporaryDirectory() as copy:
                    shutil.copy(Path(folder) / str(count) / "bench.duckdb", copy)
                    os.environ[settings.RESULTS_DIR] = copy
                    cpu_s = harvest_cpu_s(instance, run_id)
                if number:  # the first round loads what the others find loaded
                    samples_s[count].append(cpu_s)
    short, long = histories
    ratio = median([b / a for a, b in zip(samples_s[short], samples_s[long], strict=True)])
    for count, samples in samples_s.items():
        taken = median(samples)
        console.print(f"harvest with {count:,} earlier sweeps: {taken.value:.2f} CPU s {_interval(taken)}")
    console.print(
        f"ratio {ratio.value:.3f} {_interval(ratio)}, limit {HISTORY_LIMIT}; n = {rounds}, interval covers "
        f"{100 * ratio.coverage:.0f} %"
    )
    return {"ratio": ratio.value, "low": ratio.low, "high": ratio.high, "cpu_s": samples_s}


def make_large_sweep(home: Path, trials: int) -> str:
    """Create an instance with a sweep whose runs are copies of one real run; return its run's id."""
    home.mkdir()
    overrides = json.loads(json.dumps(INSTANCE).replace('"base_dir": ""', f'"base_dir": "{home / "events"}"'))
    (home / "dagster.yaml").write_text(json.dumps(overrides))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        plan = make_plan(instance, trials)
        run_id = record_journal(instance, plan)
        first = launch(instance, plan, plan.trials[0])
    ids = [str(uuid.UUID(int=number)) for number in range(2, trials + 1)]
    with sqlite3.connect(next((home / "events").glob("*.db"))) as events:
        _copy_rows(events, "event_logs", first, ids)
    with sqlite3.connect(home / "history" / "runs.db") as runs:
        _copy_rows(runs, "runs", first, ids)
        _copy_rows(runs, "run_tags", first, ids)
    return run_id


def _copy_rows(connection: sqlite3.Connection, table: str, run_id: str, copies: Sequence[str]) -> None:
    """Copy the rows of the first trial's run for the trials after it."""
    read = connection.execute(f"SELECT * FROM {table} WHERE run_id = ?", [run_id])
    names = [column[0] for column in read.description]
    places = ", ".join("?" * len(names))
    tag = f'"{Tag.TRIAL}": "{{}}"'
    for row in read.fetchall():
        record = dict(zip(names, row, strict=True))
        for number, copy in enumerate(copies, start=2):
            fresh = {
                name: value.replace(run_id, copy).replace(tag.format(1), tag.format(number))
                if isinstance(value, str)
                else value
                for name, value in record.items()
            }
            if table == "run_tags" and record["key"] == Tag.TRIAL:
                fresh["value"] = str(number)
            fresh["id"] = None
            connection.execute(f"INSERT INTO {table} VALUES ({places})", list(fresh.values()))


def work_on(home: Path, run_id: str) -> dict[str, float]:
    """Harvest, save, load, fit and chart a sweep in this process."""
    start = time.process_time()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        sweep = harvest_sweep(instance, run_id)
    assert sweep is not None
    assert all(trial.measured for trial in sweep.trials)
    store = Store.in_directory(home / "results")
    store.save(sweep)
    loaded = store.load(sweep.plan.sweep_id)
    assert loaded == sweep
    assert startup_fits(loaded.trials)
    for chart in charts_for(loaded):
        save(chart.draw(loaded), home / "charts", chart.stem)
    return {
        "trials": len(sweep.trials),
        "cpu_s": time.process_time() - start,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measure_memory(trials: Sequence[int], console: Console) -> list[dict[str, float]]:
    """Peak memory and CPU time by the number of trials, each in a fresh process."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for count in trials:
            home = Path(folder) / str(count)
            run_id = make_large_sweep(home, count)
            code = (
                "import json, sys; from pathlib import Path; from benchmarks.history import work_on; "
                "print(json.dumps(work_on(Path(sys.argv[1]), sys.argv[2])))"
            )
            command = [sys.executable, "-c", code, str(home), run_id]
            ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found.append(json.loads(ended.stdout.splitlines()[-1]))
            console.print("{trials:,.0f} trials: peak {peak_mib:,.0f} MiB, {cpu_s:.1f} CPU s".format(**found[-1]))
            shutil.rmtree(home)
    return found


def _interval(estimate: Estimate) -> str:
    return f"[{estimate.low:.3f}, {estimate.high:.3f}]" if estimate.low is not None else "[no interval]"


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--rounds", default=7, help="Harvests with each history; 6 or more give 95 %.")
@click.option("--histories", default="30,3000", help="Earlier sweeps of the short and of the long history.")
@click.option("--trials", default="5000,10000", help="Trials of the small and of the large sweep.")
@click.option("--json", "as_json", is_flag=True)
def main(rounds: int, histories: str, trials: str, as_json: bool) -> None:
    console = Console(stderr=True, highlight=False, markup=False)
    history = measure_history([int(count) for count in histories.split(",")], rounds, console)
    small, large = measure_memory([int(count) for count in trials.split(",")], console)
    per_trial = large["cpu_s"] / large["trials"] / (small["cpu_s"] / small["trials"])
    console.print(f"CPU per trial, large over small: {per_trial:.2f}, limit {LINEAR_LIMIT}")
    console.print(f"peak memory {large['peak_mib']:,.0f} MiB, limit {MEMORY_LIMIT_MIB:,}")
    if as_json:
        click.echo(json.dumps({"history": history, "memory": [small, large], "per_trial": per_trial}))
    missed = (history["low"] or 0) > HISTORY_LIMIT or per_trial > LINEAR_LIMIT or large["peak_mib"] > MEMORY_LIMIT_MIB
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
