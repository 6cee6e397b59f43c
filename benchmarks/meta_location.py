"""How much does serving the meta location warm save, and does it disturb more or less?

    python -m benchmarks.meta_location [--blocks 6] [--location a10] [--json]

Two deployments run side by side. They differ only in the meta location's server: Dagster's, and the warm one. A block
carries out a one-launch sweep in each, in random order, while the other deployment is idle.

Measured for each sweep: the time from its request to its first trial's, the time from its end to the end of its
harvest, and the CPU of all processes of its deployment from the request to that end. Measured for each deployment at
rest, before and after the sweeps: the memory of the meta location's server and the processes that it forks from, and
their CPU. Differences have 95 % intervals (Hodges-Lehmann).
"""

import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import click
import dagster as dg
import psutil
from rich.console import Console
from rich.table import Table

from bench_orchestrator.deployment import STOCK_SERVER, WARM_SERVER, CodeLocation, Deployment, read_locations
from bench_orchestrator.deployment.processes import processes_of
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.runs import Run, RunStatus
from bench_orchestrator.model.tags import META_LOCATION, Tag
from bench_orchestrator.sources.instance import find_runs, get_run
from bench_orchestrator.sources.processes import server_memory
from bench_orchestrator.statistics import Estimate, fit_line, median
from bench_orchestrator.sweeps import client
from bench_orchestrator.webserver import Webserver

ARMS: Mapping[str, tuple[str, ...]] = {"stock": STOCK_SERVER, "warm": WARM_SERVER}

SWEEP = {"repeats": 1, "warmups": 0, "pause_s": 0, "jitter_s": 0, "settle_s": 0}
IDLE_S = 30.0
REST_S = 20.0
"""Seconds to wait after a harvest until the deployment is at rest."""

FIGURES = {
    "begin_s": "from the sweep's request to its first trial's, s",
    "end_s": "from the sweep's end to the end of its harvest, s",
    "cpu_s": "CPU of the deployment for both and the trial, s",
}


@dataclass(frozen=True)
class Arm:
    """A running deployment."""

    deployment: Deployment
    webserver: Webserver
    instance: dg.DagsterInstance

    def sweep(self, location: str) -> dict[str, float]:
        """Carry out a one-launch sweep; return the values of FIGURES."""
        cpu_s = self._cpu_s()
        run_id = client.start_sweep(self.webserver, "quick", {**SWEEP, "locations": [location]})
        ended = self._end({}, run_id)
        harvest = self._end({Tag.HARVEST_OF: run_id}, None)
        (trial,) = find_runs(self.instance, {Tag.SWEEP: f"quick-{run_id[:8]}", Tag.KIND: "trial"})
        return {
            "begin_s": ((trial.requested_us or 0) - ended.created_us) / MICROSECONDS,
            "end_s": (harvest.updated_us - ended.updated_us) / MICROSECONDS,
            "cpu_s": self._cpu_s() - cpu_s,
        }

    def idle(self) -> tuple[float, float]:
        """Return the resting memory of the meta location's server in MiB, and its CPU in percent of one core."""
        began_s, server_cpu_s = time.monotonic(), self._cpu_s(META_LOCATION)
        time.sleep(IDLE_S)
        share = 100 * (self._cpu_s(META_LOCATION) - server_cpu_s) / (time.monotonic() - began_s)
        return server_memory(self.deployment.home)[META_LOCATION] / (1 << 20), share

    def _end(self, tags: dict[str, str], run_id: str | None) -> Run:
        """Wait until the run with this id, or with these tags, has succeeded; return it."""
        while True:
            found = [get_run(self.instance, run_id)] if run_id else find_runs(self.instance, tags)
            for run in found:
                if run is not None and run.finished:
                    if run.status is not RunStatus.SUCCESS:
                        raise RuntimeError(f"Run {run.run_id} ended as {run.status}")
                    return run
            time.sleep(0.5)

    def _cpu_s(self, location: str | None = None) -> float:
        """Return the CPU seconds of the deployment's servers, or of one code server, with ended children."""
        total_s = 0.0
        for process in processes_of(self.deployment.id):
            with suppress(psutil.Error):
                if location is None or location in process.cmdline():
                    times = process.cpu_times()
                    total_s += times.user + times.system + times.children_user + times.children_system
        return total_s


@contextmanager
def served(server: tuple[str, ...], home: Path, location: str) -> Iterator[Arm]:
    """Yield a deployment whose meta location uses that server."""
    home.mkdir()
    shutil.copy("dagster.yaml", home)
    meta, other = read_locations(Path("workspace.yaml"), [location])
    assert isinstance(meta, CodeLocation)
    with Deployment(home, [replace(meta, server=server), other]) as deployment:
        deployment.wait_until_loaded()
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield Arm(deployment, Webserver(deployment.url), instance)


def describe(estimate: Estimate) -> str:
    """Format the value and its interval, if there is one."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


@click.command()
@click.option("--blocks", default=6, show_default=True, help="Number of blocks; each has a sweep in both deployments.")
@click.option("--location", default="a10", show_default=True, help="The shape to launch in.")
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(blocks: int, location: str, seed: int, as_json: bool) -> None:
    """Compare sweeps with the meta location served warm and served by Dagster."""
    rng = random.Random(seed)
    console = Console(highlight=False, stderr=as_json, width=140)
    measured: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    idle: dict[str, list[tuple[float, float]]] = {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        os.environ.pop("DAGSTER_HOME", None)
        arms = {
            name: stack.enter_context(served(server, Path(folder) / name, location)) for name, server in ARMS.items()
        }
        for arm in arms.values():
            arm.sweep(location)  # the first sweep after a start is not comparable
        time.sleep(REST_S)
        for name in arms:
            idle[name].append(arms[name].idle())
        for block in range(1, blocks + 1):
            for name in rng.sample(list(arms), len(arms)):
                measured[name].append(arms[name].sweep(location))
                print(f"block {block}/{blocks}: {name} {measured[name][-1]}", file=sys.stderr, flush=True)
                time.sleep(rng.uniform(2, 12))  # out of phase with the sensor's interval
        time.sleep(REST_S)
        for name in arms:
            idle[name].append(arms[name].idle())
    table = Table("", *ARMS, "warm - stock", box=None)
    for figure, label in FIGURES.items():
        stock, warm = ([sweep[figure] for sweep in measured[name]] for name in ARMS)
        shift = fit_line([0.0] * len(stock) + [1.0] * len(warm), stock + warm).slope
        table.add_row(label, describe(median(stock)), describe(median(warm)), describe(shift))
    for index, label in enumerate(("memory at rest, MiB, before and after", "CPU at rest, %, before and after")):
        table.add_row(label, *(" ".join(f"{reading[index]:.1f}" for reading in idle[name]) for name in ARMS))
    console.print(table)
    console.print(f"n = {blocks} sweeps an arm; medians and differences with 95 % intervals")
    if as_json:
        click.echo(json.dumps({"sweeps": measured, "idle": idle}))


if __name__ == "__main__":
    main()
