"""What does the warm code server save and cost, side by side with Dagster's own?

    python -m benchmarks.warm_server [--launches 10] [--figure NAME ...] [--json]

Both servers run at the same time in separate deployments, and launches alternate in blocks of random order. Every
figure is a ratio with its 95 % interval and a limit:

- `launch`: RUN_STARTING to STEP_START, of one asset, with the multiprocess executor: stock over warm at 10,000 assets,
  warm at 10,000 over warm at 10, warm at 10,000 over stock at 10; each block has four warm launches.
  Time to code, from the request to STEP_START: stock with Dagster's own settings over warm without a queue.
- `steps`: RUN_STARTING to the end of the run, of six serial steps that do nothing, at 2,004 assets.
- `load`: from the start of the server until it answers, at 10,000 assets; for the warm one, with its template prepared.
- `memory`: proportional set size of a run's processes while eight runs wait in their steps, at 10,000 assets.
- `throughput`: runs per minute, of a hundred submitted as fast as the webserver accepts them, eight at a time, at 2,000
  assets. The samples are the times in which ten consecutive runs ended, the first ten from the first request.

Exits with 1 if an interval lies entirely beyond its limit.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import dagster as dg
import psutil
import yaml
from rich.console import Console
from rich.table import Table

from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.deployment import STOCK_SERVER, WARM_SERVER, Deployment, shape_location
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.stages import Boundary
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sources.instance import get_run, read_run_log
from bench_orchestrator.statistics import Estimate, median, paired_ratio, ratio
from bench_orchestrator.timeline.stages import Timeline, timeline
from bench_orchestrator.webserver import ASSET_JOB, Webserver

LARGE, SMALL = "a10k", "a10"
CHAINS, CHAIN = "a2004_chains6_sleep0ms", 6
WARM_LAUNCHES = 4
WAITING = "a10k_sleep600000ms"
BUSY, RUNS, AT_ONCE, TENTH = "a2k_sleep0ms", 100, 8, 10

SERVERS = {"stock": STOCK_SERVER, "warm": WARM_SERVER}
SERVED = ("--module-name", "synthetic_locations.catalog", "--attribute", LARGE)
QUIET: Mapping[str, Any] = {"telemetry": {"enabled": False}, "freshness": {"enabled": False}}
NO_QUEUE: Mapping[str, Any] = {
    "run_coordinator": {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"}
}
EIGHT: Mapping[str, Any] = {
    "concurrency": {"runs": {"max_concurrent_runs": AT_ONCE}},
    "run_coordinator": {
        "module": "dagster.core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {"dequeue_interval_seconds": 1, "dequeue_use_threads": True, "dequeue_num_workers": AT_ONCE},
    },
}
"""Used for both: what the remedies recommend for a deployment that keeps its queue."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Figure:
    """A ratio and its limit."""

    name: str
    estimate: Estimate
    bar: float
    at_least: bool
    medians: str

    @property
    def holds(self) -> bool:
        """Whether the estimate is within the limit."""
        return self.estimate.value >= self.bar if self.at_least else self.estimate.value <= self.bar

    @property
    def is_missed(self) -> bool:
        """Whether the whole interval is beyond the limit."""
        low, high = self.estimate.low or 0.0, self.estimate.high or float("inf")
        return high < self.bar if self.at_least else low > self.bar


@dataclass(frozen=True)
class Side:
    """One server's deployment."""

    name: str
    deployment: Deployment
    instance: dg.DagsterInstance

    @cached_property
    def webserver(self) -> Webserver:
        """The client of its webserver."""
        return Webserver(self.deployment.url)

    @cached_property
    def _repositories(self) -> dict[str, str]:
        return {name: status.repositories[0] for name, status in self.webserver.list_locations().items()}

    def submit(self, location: str, numbers: Sequence[int]) -> str:
        """Launch these assets of a location; return the run's id."""
        keys = [self._assets(location)[number] for number in numbers]
        return self.webserver.submit(
            location=location,
            repository=self._repositories[location],
            job=ASSET_JOB,
            asset_keys=keys,
            tags={Tag.REQUESTED_AT: str(now_us())},
        )

    def wait(self, run_id: str) -> None:
        """Wait until the run has ended.

        Raises:
            RuntimeError: it did not succeed.
        """
        while not (run := get_run(self.instance, run_id)) or not run.finished:
            time.sleep(0.2)
        if run.status is not RunStatus.SUCCESS:
            raise RuntimeError(f"{self.name}: run {run_id} ended as {run.status.value}")

    def times(self, run_id: str) -> Timeline:
        """Return the run's timeline."""
        run = get_run(self.instance, run_id)
        events = read_run_log(self.instance, run_id).events
        return timeline(events, requested_us=run.requested_us if run else None, created_us=None)

    def launch(self, location: str, numbers: Sequence[int]) -> Timeline:
        """Launch, wait, and return the timeline."""
        run_id = self.submit(location, numbers)
        self.wait(run_id)
        return self.times(run_id)

    def count(self, location: str) -> int:
        """Return the number of assets in a location."""
        return len(self._assets(location))

    def _assets(self, location: str) -> list[str]:
        if location not in _ASSETS:
            _ASSETS[location] = sorted(self.webserver.list_assets(location, self._repositories[location]))
        return _ASSETS[location]


_ASSETS: dict[str, list[str]] = {}
"""Return a location's asset keys; they do not depend on the server."""


@contextmanager
def open_side(name: str, locations: Sequence[str], settings: Mapping[str, Any]) -> Iterator[Side]:
    """Yield a deployment that serves these locations with that server."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "dagster.yaml").write_text(yaml.safe_dump({**QUIET, **settings}))
        served = [shape_location(location, server=SERVERS[name]) for location in locations]
        with Deployment(home, served) as deployment:
            deployment.wait_until_loaded()
            with dg.DagsterInstance.from_config(folder) as instance:
                yield Side(name, deployment, instance)


@contextmanager
def open_sides(
    locations: Sequence[str], stock: Mapping[str, Any], warm: Mapping[str, Any]
) -> Iterator[tuple[Side, Side]]:
    """Yield both servers, side by side."""
    with ExitStack() as stack:
        yield (
            stack.enter_context(open_side("stock", locations, stock)),
            stack.enter_context(open_side("warm", locations, warm)),
        )


def between_s(times: Timeline, start: Boundary, end: Boundary) -> float:
    """Return the seconds between two instants."""
    begun, ended = times.at_us[start], times.at_us[end]
    assert begun is not None
    assert ended is not None
    return (ended - begun) / MICROSECONDS


def measure_launch(launches: int, rng: random.Random, say: Say) -> Iterator[Figure]:
    """Measure launches of one asset."""
    to_step: dict[str, list[float]] = {}
    to_code: dict[str, list[float]] = {}
    with open_sides([SMALL, LARGE], {}, NO_QUEUE) as sides:
        arms = [(side, location) for side in sides for location in (SMALL, LARGE)]
        # A warm launch is so short that background load matters more: it needs more samples.
        arms += [(side, location) for side, location in arms if side.name == "warm"] * (WARM_LAUNCHES - 1)
        for block in range(launches + 1):  # the first is a warm-up
            for side, location in rng.sample(arms, len(arms)):
                times = side.launch(location, [rng.randrange(side.count(location))])
                took_s = between_s(times, Boundary.STARTING, Boundary.STEP_STARTED)
                say(f"launch, block {block}/{launches}: {side.name} {location} {took_s:.2f} s")
                if block:
                    to_step.setdefault(f"{side.name} {location}", []).append(took_s)
                    to_code.setdefault(f"{side.name} {location}", []).append(
                        (times.time_to_code_us or 0) / MICROSECONDS
                    )
    stock, warm = f"stock {LARGE}", f"warm {LARGE}"
    yield figure("RUN_STARTING to STEP_START at 10,000 assets, stock ÷ warm", to_step, stock, warm, 30)
    yield figure("the same, warm at 10,000 ÷ warm at 10", to_step, warm, f"warm {SMALL}", 1.2, at_least=False)
    yield figure("the same, warm at 10,000 ÷ stock at 10", to_step, warm, f"stock {SMALL}", 0.25, at_least=False)
    yield figure("request to STEP_START at 10,000, Dagster's defaults ÷ warm without a queue", to_code, stock, warm, 10)


def measure_steps(launches: int, rng: random.Random, say: Say) -> Iterator[Figure]:
    """Measure serial steps."""
    took: dict[str, list[float]] = {}
    with open_sides([CHAINS], NO_QUEUE, NO_QUEUE) as sides:
        for block in range(launches + 1):
            for side in rng.sample(sides, len(sides)):
                first = CHAIN * rng.randrange(side.count(CHAINS) // CHAIN)
                times = side.launch(CHAINS, range(first, first + CHAIN))
                assert times.ended_us is not None
                took_s = (times.ended_us - (times.at_us[Boundary.STARTING] or 0)) / MICROSECONDS
                say(f"steps, block {block}/{launches}: {side.name} {took_s:.2f} s")
                if block:
                    took.setdefault(side.name, []).append(took_s)
    yield figure("six serial steps at 2,004 assets, the whole run, stock ÷ warm", took, "stock", "warm", 10)


def measure_load(launches: int, rng: random.Random, say: Say) -> Iterator[Figure]:
    """Measure the start of a server."""
    took: dict[str, list[float]] = {}
    for block in range(launches):
        for name in rng.sample(list(SERVERS), len(SERVERS)):
            took_s = start_server(name)
            say(f"load, block {block + 1}/{launches}: {name} {took_s:.2f} s")
            took.setdefault(name, []).append(took_s)
    yield figure("server ready at 10,000 assets, warm ÷ stock", took, "warm", "stock", 1.5, at_least=False)


def start_server(name: str) -> float:
    """Return the seconds until a server of that kind has its definitions and, if warm, its template."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "dagster.yaml").write_text(yaml.safe_dump(dict(QUIET)))
        socket = Path(folder) / "socket"
        begun = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-m", *SERVERS[name], "--socket", str(socket), "--location-name", LARGE, *SERVED],
            env={**os.environ, "DAGSTER_HOME": folder},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as server:
            while not socket.exists():
                if server.poll() is not None:
                    raise RuntimeError(f"The {name} server ended with {server.returncode}")
                time.sleep(0.01)
            took_s = time.monotonic() - begun
            server.terminate()
    return took_s


def measure_memory(launches: int, rng: random.Random, say: Say) -> Iterator[Figure]:
    """Measure runs that wait in their steps."""
    used_mib: dict[str, list[float]] = {"stock": [], "warm": []}
    for name in rng.sample(list(SERVERS), len(SERVERS)):
        with open_side(name, [WAITING], EIGHT) as side:
            while len(used_mib[name]) < launches:
                run_ids = [side.submit(WAITING, [rng.randrange(side.count(WAITING))]) for _ in range(AT_ONCE)]
                processes = [wait_for_step(side, run_id) for run_id in run_ids]
                sizes_mib = [sum(process.memory_full_info().pss for process in run) / 2**20 for run in processes]
                used_mib[name] += sizes_mib
                say(f"memory: {name} {sum(sizes_mib):,.0f} MiB for {AT_ONCE} runs")
                for run_id in run_ids:
                    side.webserver.terminate(run_id)
                for run_id in run_ids:
                    while not (run := get_run(side.instance, run_id)) or not run.finished:
                        time.sleep(0.2)
    yield figure("memory of a run at 10,000 assets (MiB), of eight at once, stock ÷ warm", used_mib, "stock", "warm", 3)


def wait_for_step(side: Side, run_id: str) -> list[psutil.Process]:
    """Return the processes of a run and its step, as soon as the step has started."""
    kinds = (dg.DagsterEventType.RUN_START, dg.DagsterEventType.STEP_START)
    while True:
        events = [entry.get_dagster_event() for entry in side.instance.all_logs(run_id, of_type=set(kinds))]
        if len(events) == len(kinds):
            return [psutil.Process(pid) for pid in {event.pid for event in events} if pid]
        time.sleep(0.2)


def measure_throughput(launches: int, rng: random.Random, say: Say) -> Iterator[Figure]:
    """Measure many concurrent runs."""
    del launches
    took: dict[str, list[float]] = {}
    rates = []
    for name in rng.sample(list(SERVERS), len(SERVERS)):
        with open_side(name, [BUSY], EIGHT) as side:
            side.launch(BUSY, [0])
            begun_s = time.time()
            run_ids = [side.submit(BUSY, [rng.randrange(side.count(BUSY))]) for _ in range(RUNS)]
            for run_id in run_ids:
                side.wait(run_id)
            ended_s = sorted((side.times(run_id).ended_us or 0) / MICROSECONDS for run_id in run_ids)
            marks = [begun_s, *ended_s[TENTH - 1 :: TENTH]]
            took[name] = [later - earlier for earlier, later in pairwise(marks)]
            rates.append(f"{name} {60 * RUNS / (ended_s[-1] - begun_s):.0f} runs a minute")
            say(f"throughput: {rates[-1]}")
    yield figure("runs per minute, of 100 at 2,000 assets, eight at once, warm ÷ stock", took, "stock", "warm", 5)


def figure(
    name: str, samples: Mapping[str, Sequence[float]], over: str, under: str, bar: float, *, at_least: bool = True
) -> Figure:
    """Return the ratio of two arms; paired if they have equally many samples, which then share their blocks."""
    above, below = samples[over], samples[under]
    estimate = paired_ratio(above, below) if len(above) == len(below) else ratio(above, below)
    return Figure(name, estimate, bar, at_least, f"{over} {_median(above)}, {under} {_median(below)}")


def _median(samples: Sequence[float]) -> str:
    return describe_estimate(median(samples), "", None)


FIGURES: Mapping[str, Callable[[int, random.Random, Say], Iterator[Figure]]] = {
    "launch": measure_launch,
    "steps": measure_steps,
    "load": measure_load,
    "memory": measure_memory,
    "throughput": measure_throughput,
}


@click.command()
@click.option("--launches", default=10, show_default=True, help="Of each arm.")
@click.option("--figure", "names", type=click.Choice(list(FIGURES)), multiple=True, help="Repeatable. Default: all.")
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(launches: int, names: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Compare the warm code server with Dagster's own."""
    rng = random.Random(seed)
    console = Console(stderr=True, highlight=False)
    measured = [one for name in names or FIGURES for one in FIGURES[name](launches, rng, console.print)]
    table = Table("figure", "ratio", "bar", "", "medians", box=None)
    for one in measured:
        bar = f"{'at least' if one.at_least else 'at most'} {one.bar:g}"
        table.add_row(
            one.name, describe_estimate(one.estimate, "", None), bar, "" if one.holds else "missed", one.medians
        )
    console.print(table)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in measured]))
    sys.exit(1 if any(one.is_missed for one in measured) else 0)


if __name__ == "__main__":
    main()
