"""Does the orchestrator disturb what it measures?

    python -m benchmarks.disturbance [--blocks 4] [--launches 5] [--location a10] [--json]

Launches the same assets in two arms, in blocks of random order, on one local deployment. `sweep`: through a sweep job
of the meta location, with its harvest sensor switched on. `bare`: by this process alone, with no run of the meta
location and its sensor switched off. Both pause equally long between launches. The figure is the shift of the launch
lag from bare to sweep with its 95 % interval (Hodges-Lehmann: the Theil-Sen slope between two groups). It is given for
the whole lag and for the lag without the queue wait, which mostly depends on chance: the phase of the daemon's
interval. Exits with 1 if even the lower end of the latter exceeds the limit.
"""

import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import click
import dagster as dg
from rich.console import Console
from rich.table import Table

from bench_orchestrator.deployment import Deployment, read_locations
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.model.tags import HARVEST_SENSOR, META_LOCATION, Tag
from bench_orchestrator.sources.instance import find_trial_runs, get_run, read_run_log
from bench_orchestrator.statistics import Estimate, fit_line, median
from bench_orchestrator.sweeps import client
from bench_orchestrator.sweeps.ending import POLL_S
from bench_orchestrator.timeline.stages import Timeline, timeline
from bench_orchestrator.webserver import ASSET_JOB, Webserver

LIMIT = 0.1
"""The share of the bare lag that the orchestrator may add."""

PAUSE_S, JITTER_S = 1.0, 5.0


def lag_s(times: Timeline) -> float:
    """Return the launch lag."""
    return (times.lag_us or 0) / MICROSECONDS


def lag_without_wait_s(times: Timeline) -> float:
    """Return the launch lag without the queue wait."""
    return ((times.lag_us or 0) - (times.stages_us[Stage.QUEUE_WAIT] or 0)) / MICROSECONDS


def launch_by_sweep(webserver: Webserver, instance: dg.DagsterInstance, location: str, launches: int) -> list[Timeline]:
    """Run a sweep with this many trials; return once it is harvested, so that no work is left over."""
    config = {"locations": [location], "repeats": launches, "warmups": 0, "pause_s": PAUSE_S, "jitter_s": JITTER_S}
    run_id = client.start_sweep(webserver, "quick", config)
    for _ in client.follow(webserver, run_id):
        pass
    sweep = client.fetch_sweep(webserver, run_id, timeout_s=300)
    return [read(instance, run.run_id) for run in find_trial_runs(instance, sweep.plan.sweep_id)]


def launch_bare(
    webserver: Webserver, instance: dg.DagsterInstance, location: str, launches: int, rng: random.Random
) -> list[Timeline]:
    """Make the same launches with only a client."""
    repository = webserver.list_locations()[location].repositories[0]
    assets = sorted(webserver.list_assets(location, repository))
    measured = []
    for _ in range(launches):
        time.sleep(PAUSE_S + rng.uniform(0, JITTER_S))
        run_id = webserver.submit(
            location=location,
            repository=repository,
            job=ASSET_JOB,
            asset_keys=[rng.choice(assets)],
            tags={Tag.KIND: "bare", Tag.REQUESTED_AT: str(now_us())},
        )
        while not (run := get_run(instance, run_id)) or not run.finished:
            time.sleep(POLL_S)
        measured.append(read(instance, run_id))
    return measured


def read(instance: dg.DagsterInstance, run_id: str) -> Timeline:
    """Return a run's timeline.

    Raises:
        RuntimeError: the launch failed.
    """
    times = timeline(read_run_log(instance, run_id).events, requested_us=None, created_us=None)
    if times.lag_us is None:
        raise RuntimeError(f"The launch of run {run_id} failed: {read_run_log(instance, run_id).failure}")
    return times


def switch_sensor(webserver: Webserver, on: bool) -> None:
    """Switch the harvest sensor on or off."""
    repository = webserver.list_locations()[META_LOCATION].repositories[0]
    selector = {
        "repositoryLocationName": META_LOCATION,
        "repositoryName": repository,
        "sensorName": HARVEST_SENSOR,
    }
    if on:
        webserver.query(_START_SENSOR, {"selector": selector})
    else:
        sensor = webserver.query(_SENSOR, {"selector": selector})["sensorOrError"]
        webserver.query(_STOP_SENSOR, {"id": sensor["id"]})
    state = webserver.query(_SENSOR, {"selector": selector})["sensorOrError"]["sensorState"]["status"]
    if state != ("RUNNING" if on else "STOPPED"):
        raise RuntimeError(f"The harvest sensor is {state}")


def describe(estimate: Estimate) -> str:
    """Format the value and its interval."""
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


@click.command()
@click.option("--blocks", default=4, show_default=True, help="Number of blocks; each has both arms in random order.")
@click.option("--launches", default=5, show_default=True, help="Launches per arm and block.")
@click.option("--location", default="a10", show_default=True, help="A shape. The smallest shows most.")
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(blocks: int, launches: int, location: str, seed: int, as_json: bool) -> None:
    """Compare launches through the orchestrator with launches by a bare client."""
    rng = random.Random(seed)
    arms: dict[str, list[Timeline]] = {"bare": [], "sweep": []}
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        shutil.copy("dagster.yaml", home)
        os.environ["DAGSTER_HOME"] = folder
        with (
            Deployment(home, read_locations(Path("workspace.yaml"), [location]), None) as deployment,
        ):
            deployment.wait_until_loaded()
            webserver = Webserver(deployment.url)
            with dg.DagsterInstance.get() as instance:
                launch_bare(webserver, instance, location, 1, rng)  # the first launch after a start is not comparable
                for block in range(1, blocks + 1):
                    for arm in rng.sample(list(arms), len(arms)):
                        console.print(f"block {block}/{blocks}: {arm}")
                        switch_sensor(webserver, on=arm == "sweep")
                        if arm == "sweep":
                            arms[arm] += launch_by_sweep(webserver, instance, location, launches)
                        else:
                            arms[arm] += launch_bare(webserver, instance, location, launches, rng)
    table = Table("seconds", "bare", "sweep", "shift", box=None)
    result: dict[str, dict[str, object]] = {}
    exceeded = False
    for name, figure in (("lag", lag_s), ("lag without queue wait", lag_without_wait_s)):
        bare, sweep = ([figure(times) for times in arms[arm]] for arm in ("bare", "sweep"))
        shift = fit_line([0.0] * len(bare) + [1.0] * len(sweep), bare + sweep).slope
        base = median(bare)
        table.add_row(name, describe(base), describe(median(sweep)), describe(shift))
        result[name] = {"bare_s": bare, "sweep_s": sweep, "shift_s": [shift.low, shift.value, shift.high]}
        if figure is lag_without_wait_s:
            exceeded = (shift.low or 0) > LIMIT * base.value
    console.print(table)
    console.print(f"n = {blocks * launches} launches an arm; 95 % intervals; limit {LIMIT:.0%} of the bare lag")
    if as_json:
        click.echo(json.dumps(result))
    sys.exit(1 if exceeded else 0)


_SENSOR = """
query Sensor($selector: SensorSelector!) {
  sensorOrError(sensorSelector: $selector) { ... on Sensor { id sensorState { status } } }
}
"""
_START_SENSOR = """
mutation StartSensor($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { __typename } }
"""
_STOP_SENSOR = """
mutation StopSensor($id: String!) { stopSensor(id: $id) { __typename } }
"""

if __name__ == "__main__":
    main()
