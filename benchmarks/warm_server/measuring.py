"""The figures: each function measures both servers in blocks and yields a sample as soon as it has it."""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, TypeVar

import dagster as dg
import psutil
import yaml

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.stages import Boundary
from bench_orchestrator.sources.instance import get_run
from bench_orchestrator.sweeps.environment import describe_environment
from bench_orchestrator.timeline.stages import Timeline
from benchmarks.warm_server.samples import Quantity, Sample
from benchmarks.warm_server.sides import EIGHT, NO_QUEUE, QUIET, SERVERS, WARM, Side, open_sides
from synthetic_locations.shape import parse_shape

_Arm = TypeVar("_Arm")

WARM_LAUNCHES = 4


@dataclass(frozen=True)
class Size:
    """What is launched."""

    small: str
    large: str
    chains: str
    light: str
    busy: str
    busy_runs: int
    waiting: str
    waiting_runs: int


FULL = Size("a10", "a10k", "a2004_chains6_sleep0ms", "a40_chain_sleep0ms", "a2k_sleep0ms", 8, "a10k_sleep600000ms", 8)
TINY = Size("a10", "a250", "a12_chains6_sleep0ms", "a3_chain_sleep0ms", "a20_sleep0ms", 2, "a20_sleep600000ms", 2)
"""To see whether the benchmark works; its figures mean nothing."""


@dataclass(frozen=True)
class Measuring:
    """One execution of the benchmark."""

    size: Size
    blocks: int
    rng: random.Random

    def launch(self) -> Iterator[Sample]:
        """Measure launches of one asset, after a warm-up of each location."""
        locations = {Quantity.SMALL_STARTUP: self.size.small, Quantity.STARTUP: self.size.large}
        with open_sides(list(locations.values()), {}, NO_QUEUE) as sides:
            arms = [(side, quantity) for side in sides for quantity in locations]
            for block in range(self.blocks + 1):
                for side, quantity in self._shuffled(arms):
                    location = locations[quantity]
                    launches = WARM_LAUNCHES if side.name == WARM and block else 1
                    times = [side.launch(location, [self._any(side, location)]) for _ in range(launches)]
                    if not block:
                        continue
                    count = side.count(location)
                    startup_s = median(_between_s(one, Boundary.STARTING, Boundary.STEP_STARTED) for one in times)
                    yield Sample(quantity, count, side.name, block, startup_s)
                    if quantity is Quantity.STARTUP:
                        to_code_s = median((one.time_to_code_us or 0) / MICROSECONDS for one in times)
                        yield Sample(Quantity.TIME_TO_CODE, count, side.name, block, to_code_s)

    def steps(self) -> Iterator[Sample]:
        """Measure a few serial steps, of a chain among many."""
        yield from self._serial(Quantity.STEPS, self.size.chains)

    def light(self) -> Iterator[Sample]:
        """Measure many serial steps, of the only chain."""
        yield from self._serial(Quantity.LIGHT_STEPS, self.size.light)

    def _serial(self, quantity: Quantity, chains: str) -> Iterator[Sample]:
        """Measure the serial steps of a chain, after a warm-up of one step."""
        shape = parse_shape(chains)
        length = shape.span or shape.assets
        with open_sides([chains], NO_QUEUE, NO_QUEUE) as sides:
            for side in sides:
                side.launch(chains, [0])
            for block in range(1, self.blocks + 1):
                for side in self._shuffled(sides):
                    first = length * self.rng.randrange(side.count(chains) // length)
                    times = side.launch(chains, range(first, first + length))
                    assert times.ended_us is not None
                    took_s = (times.ended_us - (times.at_us[Boundary.STARTING] or 0)) / MICROSECONDS
                    yield Sample(quantity, side.count(chains), side.name, block, took_s)

    def throughput(self) -> Iterator[Sample]:
        """Measure concurrent runs, after a warm-up of one."""
        busy = self.size.busy
        with open_sides([busy], EIGHT, EIGHT) as sides:
            for side in sides:
                side.launch(busy, [0])
            for block in range(1, self.blocks + 1):
                for side in self._shuffled(sides):
                    begun_s = time.time()
                    run_ids = [side.submit(busy, [self._any(side, busy)]) for _ in range(self.size.busy_runs)]
                    for run_id in run_ids:
                        side.wait(run_id)
                    ended_s = max((side.times(run_id).ended_us or 0) / MICROSECONDS for run_id in run_ids)
                    yield Sample(Quantity.AT_ONCE, side.count(busy), side.name, block, ended_s - begun_s)

    def memory(self) -> Iterator[Sample]:
        """Measure runs that wait in their steps."""
        waiting = self.size.waiting
        with open_sides([waiting], EIGHT, EIGHT) as sides:
            for block in range(1, self.blocks + 1):
                for side in self._shuffled(sides):
                    run_ids = [side.submit(waiting, [self._any(side, waiting)]) for _ in range(self.size.waiting_runs)]
                    processes = [_wait_for_step(side, run_id) for run_id in run_ids]
                    sizes_mib = [sum(process.memory_full_info().pss for process in run) / 2**20 for run in processes]
                    yield Sample(Quantity.MEMORY, side.count(waiting), side.name, block, fmean(sizes_mib))
                    _end(side, run_ids)

    def load(self) -> Iterator[Sample]:
        """Measure the start of a server."""
        large = self.size.large
        count = int(large[1:].replace("k", "000"))
        for block in range(1, self.blocks + 1):
            for name in self._shuffled(list(SERVERS)):
                yield Sample(Quantity.LOAD, count, name, block, _start_server(name, large))

    def _any(self, side: Side, location: str) -> int:
        return self.rng.randrange(side.count(location))

    def _shuffled(self, arms: Sequence[_Arm]) -> list[_Arm]:
        return self.rng.sample(arms, len(arms))


FIGURES: Mapping[str, Callable[[Measuring], Iterator[Sample]]] = {
    "launch": Measuring.launch,
    "steps": Measuring.steps,
    "light": Measuring.light,
    "throughput": Measuring.throughput,
    "memory": Measuring.memory,
    "load": Measuring.load,
}


def describe_machine() -> dict[str, Any]:
    """Return the versions and the machine."""
    with dg.DagsterInstance.ephemeral() as instance:
        environment = describe_environment(instance)
    return {name: environment[name] for name in ("dagster", "python", "cpu_count", "cpu_model")}


def _between_s(times: Timeline, start: Boundary, end: Boundary) -> float:
    """Return the seconds between two instants."""
    begun, ended = times.at_us[start], times.at_us[end]
    assert begun is not None
    assert ended is not None
    return (ended - begun) / MICROSECONDS


def _wait_for_step(side: Side, run_id: str) -> list[psutil.Process]:
    """Return the processes of a run and its step, as soon as the step has started."""
    kinds = (dg.DagsterEventType.RUN_START, dg.DagsterEventType.STEP_START)
    while True:
        events = [entry.get_dagster_event() for entry in side.instance.all_logs(run_id, of_type=set(kinds))]
        if len(events) == len(kinds):
            return [psutil.Process(pid) for pid in {event.pid for event in events} if pid]
        time.sleep(0.2)


def _end(side: Side, run_ids: Sequence[str]) -> None:
    for run_id in run_ids:
        side.webserver.terminate(run_id)
    for run_id in run_ids:
        while not (run := get_run(side.instance, run_id)) or not run.finished:
            time.sleep(0.2)


def _start_server(name: str, location: str) -> float:
    """Return the seconds until a server of that kind has its definitions and, if warm, its template."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "dagster.yaml").write_text(yaml.safe_dump(dict(QUIET)))
        socket = Path(folder) / "socket"
        served = ("--module-name", "synthetic_locations.catalog", "--attribute", location)
        begun = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-m", *SERVERS[name], "--socket", str(socket), "--location-name", location, *served],
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
