"""What do launches cost a cluster's API server, depending on the number of concurrent runs?

    python -m benchmarks.load_guard --namespace dagster [--release bench] [--limits 2,5,10,20] [--runs 20] [--rounds 3]

Measures a release of helm/ on kubectl's current cluster, which should be yours and idle. Each round applies every limit
in random order (`queue.maxConcurrentRuns`, by `helm upgrade`), then submits the runs as fast as the webserver accepts
them. Until all of them have ended, and for a while before the first, it writes an object twice a second, as a launch
writes its job. It reports how long the API server takes for these requests, at rest and with the runs, and how many of
them failed. Exits with 1 if any request or run failed.
"""

import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from rich.console import Console
from rich.table import Table
from urllib3.exceptions import HTTPError

from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.statistics import median
from bench_orchestrator.webserver import ASSET_JOB, Webserver

AT_REST_S = 20.0
BETWEEN_WRITES_S = 0.5
WRITTEN = "bench-load-guard"
CHART = Path(__file__).parents[1] / "helm"
LIMIT = "queue.maxConcurrentRuns"

_RUNS = """
query LoadGuardRuns($tags: [ExecutionTag!]) {
  runsOrError(filter: { tags: $tags }) { ... on Runs { results { status } } }
}
"""
_OVER = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass
class Arm:
    """One limit, with the results of all of its rounds."""

    at_rest_ms: list[float] = field(default_factory=list)
    with_runs_ms: list[float] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    """Seconds from the first request to the end of the last run, in each round."""
    failed_writes: int = 0
    failed_runs: int = 0


class Writer(threading.Thread):
    """Writes an object repeatedly and records how long the API server takes."""

    def __init__(self, namespace: str) -> None:
        super().__init__(daemon=True)
        self.took_ms: list[float] = []
        self.failed = 0
        self._namespace = namespace
        self._core = client.CoreV1Api()
        self._stopped = threading.Event()

    def run(self) -> None:
        """Write until stopped."""
        while not self._stopped.wait(BETWEEN_WRITES_S):
            begun_s = time.perf_counter()
            try:
                self._core.patch_namespaced_config_map(
                    WRITTEN, self._namespace, {"data": {"written": str(time.time_ns())}}, _request_timeout=30
                )
            except (ApiException, HTTPError):
                self.failed += 1
            else:
                self.took_ms.append(1000 * (time.perf_counter() - begun_s))

    @contextmanager
    def at_work(self) -> Iterator["Writer"]:
        """Keep the thread running within this context."""
        self.start()
        try:
            yield self
        finally:
            self._stopped.set()
            self.join()


@contextmanager
def written(namespace: str) -> Iterator[None]:
    """Create the written object, and delete it afterwards."""
    core = client.CoreV1Api()
    core.create_namespaced_config_map(namespace, {"metadata": {"name": WRITTEN}, "data": {}})
    try:
        yield
    finally:
        core.delete_namespaced_config_map(WRITTEN, namespace)


@contextmanager
def forwarded(namespace: str, service: str) -> Iterator[Webserver]:
    """Yield the webserver, forwarded to a local port."""
    command = ["kubectl", "--namespace", namespace, "port-forward", f"service/{service}", ":80"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            said = process.stdout.readline()
            port = re.search(r"127\.0\.0\.1:(\d+)", said)
            if port is None:
                raise click.ClickException(f"kubectl does not forward a port: {said}")
            # kubectl writes a line per connection; discard them.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield Webserver(f"http://127.0.0.1:{port[1]}")
        finally:
            process.terminate()


def launch_all(webserver: Webserver, location: str, runs: int, batch: str) -> tuple[float, int]:
    """Submit the runs and wait for all of them; return the seconds that it took and the number that did not succeed."""
    while (status := webserver.list_locations()[location]).state != "loaded":
        time.sleep(1)
    repository = status.repositories[0]
    keys = sorted(webserver.list_assets(location, repository))
    begun_s = time.monotonic()
    for number in range(runs):
        webserver.submit(
            location=location,
            repository=repository,
            job=ASSET_JOB,
            asset_keys=[keys[number % len(keys)]],
            tags={"load_guard": batch},
        )
    while True:
        answer = webserver.query(_RUNS, {"tags": [{"key": "load_guard", "value": batch}]})["runsOrError"]
        statuses = [run["status"] for run in answer["results"]]
        if len(statuses) == runs and set(statuses) <= _OVER:
            return time.monotonic() - begun_s, sum(status != "SUCCESS" for status in statuses)
        time.sleep(2)


def measure(arm: Arm, namespace: str, release: str, location: str, limit: int, runs: int) -> None:
    """Measure one limit for one round."""
    settings = [f"--namespace={namespace}", "--reuse-values", f"--set={LIMIT}={limit}", "--wait", "--timeout=10m"]
    subprocess.run(["helm", "upgrade", release, str(CHART), *settings], check=True, stdout=subprocess.DEVNULL)
    with forwarded(namespace, f"{release}-webserver") as webserver:
        with Writer(namespace).at_work() as at_rest:
            time.sleep(AT_REST_S)
        with Writer(namespace).at_work() as with_runs:
            took_s, failed = launch_all(webserver, location, runs, str(time.time_ns()))
    arm.at_rest_ms += at_rest.took_ms
    arm.with_runs_ms += with_runs.took_ms
    arm.took_s.append(took_s)
    arm.failed_writes += at_rest.failed + with_runs.failed
    arm.failed_runs += failed


def whole_numbers(_context: click.Context, _parameter: click.Parameter, text: str) -> Sequence[int]:
    """Parse `2,5,10` as numbers."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a list of whole numbers such as 2,5,10") from error


@click.command()
@click.option("--namespace", required=True)
@click.option("--release", default="bench", show_default=True)
@click.option("--location", default="a10", show_default=True)
@click.option("--limits", default="2,5,10,20", show_default=True, callback=whole_numbers)
@click.option("--runs", default=20, show_default=True, help="Submitted at once.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(namespace: str, release: str, location: str, limits: Sequence[int], runs: int, rounds: int, seed: int) -> None:
    """Measure the cost of launches for an API server."""
    config.load_kube_config()
    console = Console(stderr=True, highlight=False)
    arms = {limit: Arm() for limit in limits}
    rng = random.Random(seed)
    with written(namespace):
        for block in range(1, rounds + 1):
            for limit in rng.sample(limits, len(limits)):
                measure(arms[limit], namespace, release, location, limit, runs)
                console.print(f"round {block}/{rounds}, limit {limit}: {runs} runs in {arms[limit].took_s[-1]:.0f} s")
    columns = ("runs at once", "a write at rest, ms", "a write with runs, ms", "longest, ms", f"{runs} runs, s")
    table = Table(*columns, "writes failed", "runs failed", box=None)
    for limit, arm in arms.items():
        table.add_row(
            str(limit),
            describe_estimate(median(arm.at_rest_ms), ""),
            describe_estimate(median(arm.with_runs_ms), ""),
            f"{max(arm.with_runs_ms):.0f}",
            ", ".join(f"{took_s:.0f}" for took_s in arm.took_s),
            f"{arm.failed_writes} of {arm.failed_writes + len(arm.at_rest_ms) + len(arm.with_runs_ms)}",
            f"{arm.failed_runs} of {runs * rounds}",
        )
    Console().print(table)
    sys.exit(1 if any(arm.failed_writes or arm.failed_runs for arm in arms.values()) else 0)


if __name__ == "__main__":
    main()
