"""The two servers, each in a deployment of its own."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from bench_orchestrator.deployment import STOCK_SERVER, WARM_SERVER, CodeLocation, Deployment, shape_location
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sources.instance import get_run, read_run_log
from bench_orchestrator.timeline.stages import Timeline, timeline
from bench_orchestrator.webserver import ASSET_JOB, Webserver

STOCK, WARM = "stock", "warm"
SERVERS = {STOCK: STOCK_SERVER, WARM: WARM_SERVER}

QUIET: Mapping[str, Any] = {"telemetry": {"enabled": False}, "freshness": {"enabled": False}}
NO_QUEUE: Mapping[str, Any] = {
    "run_coordinator": {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"}
}
LAUNCHERS: Mapping[str, Mapping[str, Any]] = {
    STOCK: {},
    WARM: {"run_launcher": {"module": "dagster_warm.launcher", "class": "WarmRunLauncher"}},
}
"""What dagster-warm replaces beside the code server."""
AT_ONCE = 8
EIGHT: Mapping[str, Any] = {
    "concurrency": {"runs": {"max_concurrent_runs": AT_ONCE}},
    "run_coordinator": {
        "module": "dagster.core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {"dequeue_interval_seconds": 1, "dequeue_use_threads": True, "dequeue_num_workers": AT_ONCE},
    },
}
"""Used for both: what the remedies recommend for a deployment that keeps its queue."""


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
        return self.submit_assets(location, [self._assets(location)[number] for number in numbers], {})

    def submit_assets(self, location: str, keys: Sequence[str], tags: Mapping[str, str]) -> str:
        """Launch the assets with these keys, as the UI does; return the run's id."""
        return self.webserver.submit(
            location=location,
            repository=self._repositories[location],
            job=ASSET_JOB,
            asset_keys=keys,
            tags={Tag.REQUESTED_AT: str(now_us()), **tags},
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
        assert run is not None
        events = read_run_log(self.instance, run_id).events
        return timeline(events, requested_us=run.requested_us, created_us=run.created_us)

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
def open_side(name: str, locations: Sequence[CodeLocation], settings: Mapping[str, Any]) -> Iterator[Side]:
    """Yield a deployment of these locations with these settings, under a name."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "dagster.yaml").write_text(yaml.safe_dump({**QUIET, **settings}))
        with Deployment(home, locations) as deployment:
            deployment.wait_until_loaded()
            with dg.DagsterInstance.from_config(folder) as instance:
                yield Side(name, deployment, instance)


@contextmanager
def open_sides(
    locations: Sequence[str], stock: Mapping[str, Any], warm: Mapping[str, Any]
) -> Iterator[tuple[Side, Side]]:
    """Yield both servers, side by side."""
    with ExitStack() as stack:

        def enter(name: str, settings: Mapping[str, Any]) -> Side:
            served = [shape_location(location, server=SERVERS[name]) for location in locations]
            return stack.enter_context(open_side(name, served, {**LAUNCHERS[name], **settings}))

        yield enter(STOCK, stock), enter(WARM, warm)
