"""What was read last of a deployment, as gauges: queue, daemons, ticks, code locations."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from bench_orchestrator.exporter.run_metrics import JobNames
from bench_orchestrator.model.deployment_reading import Daemon, LatestTick, QueueDepth
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.text import legible
from bench_orchestrator.webserver import LocationEntry

Samples = Iterable[tuple[Sequence[str], float]]
"""The values of the labels, and the sample's."""


class LatestGauges(Collector):
    """The gauges of the latest reading, by what collected them: all of one, or none if it failed."""

    def __init__(self) -> None:
        self._shown: dict[str, Sequence[Metric]] = {}

    def show(self, collector: str, gauges: Sequence[Metric]) -> None:
        """Show these gauges in place of the collector's former ones."""
        self._shown[collector] = gauges

    def hide(self, collector: str) -> None:
        """Show none of the collector: what was read before may hold no longer."""
        self._shown.pop(collector, None)

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges; called by the threads that answer scrapes."""
        for gauges in list(self._shown.values()):
            yield from gauges


def queue_gauges(queue: QueueDepth, now_us: int, jobs: JobNames) -> list[Metric]:
    """Return the gauges of the queue at this instant, by the webserver's clock."""
    age_us = 0 if queue.oldest_us is None else max(0, now_us - queue.oldest_us)
    running = Counter(dict.fromkeys(jobs.known, 0))
    running.update(jobs.of(run.location, run.job) for run in queue.in_progress)
    gauges = [
        _gauge("dagster_runs_queued", "Runs in the queue.", (), [((), queue.queued)]),
        _gauge(
            "dagster_oldest_queued_run_age_seconds",
            "Since when the oldest run in the queue waits; 0 if none does.",
            (),
            [((), age_us / MICROSECONDS)],
        ),
        _gauge(
            "dagster_runs_in_progress",
            "Runs that start, are executed or are canceled.",
            ("location", "job"),
            running.items(),
        ),
    ]
    if queue.limits is not None and queue.limits.max_concurrent_runs >= 0:
        limit = queue.limits.max_concurrent_runs
        text = "How many runs may be in progress (max_concurrent_runs); absent if any number may."
        gauges.append(_gauge("dagster_max_concurrent_runs", text, (), [((), limit)]))
    return gauges


def daemon_gauges(daemons: Iterable[Daemon]) -> list[Metric]:
    """Return the gauges of the daemons that the deployment needs."""
    return [
        _gauge(
            "dagster_daemon_last_heartbeat_timestamp_seconds",
            "When a daemon that the deployment needs last said that it runs; 0 if it never did.",
            ("daemon",),
            [((legible(one.name),), (one.heartbeat_us or 0) / MICROSECONDS) for one in daemons if one.required],
        )
    ]


def tick_gauges(ticks: Iterable[LatestTick]) -> list[Metric]:
    """Return the gauges of schedules and sensors."""
    of_kind: dict[str, dict[tuple[str, str], LatestTick]] = {"schedule": {}, "sensor": {}}
    for tick in ticks:
        of_kind[tick.kind][legible(tick.location), legible(tick.name)] = tick
    gauges = []
    for kind, found in of_kind.items():
        times = [(names, tick.at_us / MICROSECONDS) for names, tick in found.items() if tick.at_us is not None]
        failed = [(names, float(tick.failed)) for names, tick in found.items()]
        labels = ("location", kind)
        prefix, what = f"dagster_{kind}_last_tick", f"a {kind} that is switched on"
        gauges += [
            _gauge(f"{prefix}_timestamp_seconds", f"When the last tick of {what} began.", labels, times),
            _gauge(f"{prefix}_failed", f"Whether the last tick of {what} failed.", labels, failed),
        ]
    intervals = [
        (names, float(tick.least_interval_s))
        for names, tick in of_kind["sensor"].items()
        if tick.least_interval_s is not None
    ]
    text = "The least time between two ticks of a sensor that is switched on."
    return [*gauges, _gauge("dagster_sensor_minimum_interval_seconds", text, ("location", "sensor"), intervals)]


def location_gauges(entries: Mapping[str, LocationEntry]) -> list[Metric]:
    """Return the gauges of the code locations."""
    loaded = {legible(name): float(entry.state == "loaded") for name, entry in entries.items()}
    return [
        _gauge(
            "dagster_code_location_loaded",
            "Whether a code location is loaded: 0 while it loads, and if it failed to.",
            ("location",),
            [((name,), value) for name, value in loaded.items()],
        )
    ]


def _gauge(name: str, what: str, labels: Sequence[str], samples: Samples) -> Metric:
    gauge = GaugeMetricFamily(name, what, labels=labels)
    for values, value in samples:
        gauge.add_metric(values, value)
    return gauge
