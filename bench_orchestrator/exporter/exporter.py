"""Read a deployment at intervals, one request at a time, and keep its metrics. Scrapes cause no reading."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import NoReturn

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from bench_orchestrator.exporter.gauges import (
    LatestGauges,
    daemon_gauges,
    location_gauges,
    queue_gauges,
    tick_gauges,
)
from bench_orchestrator.exporter.own_metrics import OwnMetrics
from bench_orchestrator.exporter.run_metrics import MOST_JOBS, JobNames, RunMetrics
from bench_orchestrator.model.deployment_reading import ReadRun
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.sources.cost_meter import CostMeter
from bench_orchestrator.sources.deployment_contents import read_latest_ticks
from bench_orchestrator.sources.deployment_instance import read_daemons
from bench_orchestrator.sources.ended_runs import LOGS_AT_ONCE, EndedRuns, read_launches
from bench_orchestrator.sources.queue_depth import QueueReader
from bench_orchestrator.webserver import AccessDeniedError, Webserver, WebserverError, WebserverUnreachableError


class Exporter:
    """Reads a deployment into a registry of metrics.

    A reading begins `every_s` seconds after the one before, and pauses at least as long as that one took, so that a
    webserver is busy with it half of the time at most. Logs are read for half of the interval; the others wait for the
    next reading.

    Args:
        since_us: only runs that end after this instant count; None: after now.
        most_jobs: how many jobs have series of their own.
        say: is told when a collector begins to fail, and when it succeeds again.
    """

    def __init__(
        self,
        webserver: Webserver,
        registry: CollectorRegistry,
        *,
        every_s: float = 15.0,
        since_us: int | None = None,
        most_jobs: int = MOST_JOBS,
        say: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._webserver = webserver
        self._every_s = every_s
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._jobs = JobNames(most_jobs)
        self._runs = RunMetrics(registry, self._jobs)
        self._gauges = LatestGauges()
        registry.register(self._gauges)
        self._collectors: Mapping[str, Callable[[], Sequence[Metric]]] = {
            "locations": self._read_locations,
            "daemons": self._read_daemons,
            "queue": self._read_queue,
            "ticks": self._read_ticks,
            "runs": self._read_runs,
        }
        self._own = OwnMetrics(registry, self._collectors)
        self._failing: list[str] = []
        self._queue = QueueReader(webserver)
        self._ended = EndedRuns(webserver, now_us() if since_us is None else since_us)
        self._pending: deque[ReadRun] = deque()

    def run(self) -> NoReturn:
        """Read the deployment again and again."""
        while True:
            began_s = self._clock()
            self.read()
            took_s = self._clock() - began_s
            self._sleep(max(self._every_s - took_s, took_s))

    def read(self) -> None:
        """Read the deployment once. What fails has no gauges; a webserver that does not answer is asked no more."""
        away: WebserverError | None = None
        errors: dict[str, str] = {}
        for name, read in self._collectors.items():
            meter = CostMeter(self._webserver, self._clock)
            error = away
            if away is None:
                try:
                    self._gauges.show(name, read())
                except (WebserverUnreachableError, AccessDeniedError) as failure:
                    error = away = failure
                except WebserverError as failure:
                    error = failure
            self._own.tell(name, meter.read(), succeeded_at_s=time.time() if error is None else None)
            if error is not None:
                self._gauges.hide(name)
                errors[name] = str(error)
        self._say_what_changed(errors)

    def _say_what_changed(self, errors: Mapping[str, str]) -> None:
        """Say which collectors begin to fail, and why, and which succeed again."""
        new = {name: error for name, error in errors.items() if name not in self._failing}
        for why in dict.fromkeys(new.values()):
            self._say(f"{', '.join(name for name, error in new.items() if error == why)}: {why}")
        again = [name for name in self._failing if name not in errors]
        if again:
            self._say(f"{', '.join(again)}: read again")
        self._failing = list(errors)

    def _read_locations(self) -> Sequence[Metric]:
        return location_gauges(self._webserver.list_locations())

    def _read_daemons(self) -> Sequence[Metric]:
        return daemon_gauges(read_daemons(self._webserver))

    def _read_queue(self) -> Sequence[Metric]:
        queue = self._queue.read()
        for run in queue.in_progress:
            self._runs.begin(run.location, run.job)
        at_us = now_us() + round(self._webserver.ahead_s * MICROSECONDS)
        return queue_gauges(queue, at_us, self._jobs)

    def _read_ticks(self) -> Sequence[Metric]:
        return tick_gauges(read_latest_ticks(self._webserver))

    def _read_runs(self) -> Sequence[Metric]:
        """Count the runs that have ended, and read the logs of as many as the time allows, in that order."""
        ends_s = self._clock() + self._every_s / 2
        for ended in self._ended.look():
            self._runs.count(ended)
            self._pending.append(ended)
        try:
            while self._pending and self._clock() < ends_s:
                batch = list(islice(self._pending, LOGS_AT_ONCE))
                launches = read_launches(self._webserver, batch)
                for ended, launch in launches:
                    self._runs.measure(ended, launch)
                self._own.unread.inc(len(batch) - len(launches))
                for _ in batch:
                    self._pending.popleft()
        finally:
            self._own.pending.set(len(self._pending))
        return ()
