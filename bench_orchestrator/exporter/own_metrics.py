"""The exporter's metrics of itself: what each collector did, and what it cost the webserver."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from bench_orchestrator.model.deployment_reading import Cost


class OwnMetrics:
    """Metrics of the collectors, and of the runs whose logs are still to be read."""

    def __init__(self, registry: CollectorRegistry, collectors: Iterable[str]) -> None:
        def counter(name: str, what: str) -> Counter:
            return Counter(f"dagster_exporter_collector_{name}_total", what, ("collector",), registry=registry)

        def gauge(name: str, what: str) -> Gauge:
            return Gauge(f"dagster_exporter_collector_{name}", what, ("collector",), registry=registry)

        self._success = gauge("success", "Whether the collector's latest reading succeeded.")
        self._duration = gauge("duration_seconds", "How long the collector's latest reading took.")
        self._latest = gauge("last_success_timestamp_seconds", "When the collector last succeeded; 0 if it never did.")
        self._errors = counter("errors", "Readings of the collector that failed.")
        self._requests = counter("requests", "Requests of the collector to the webserver.")
        self._waited = counter("request_seconds", "How long the collector's requests took, in total.")
        self._received = counter("received_bytes", "What the webserver answered to the collector, unpacked.")
        self.pending = Gauge(
            "dagster_exporter_pending_runs", "Runs that ended and whose logs are still to be read.", registry=registry
        )
        self.unread = Counter(
            "dagster_exporter_unread_runs_total",
            "Runs that ended and whose logs are gone or cannot be read: counted, and in no histogram of the launch.",
            registry=registry,
        )
        gauges = (self._success, self._duration, self._latest)
        counters = (self._errors, self._requests, self._waited, self._received)
        for collector in collectors:
            for metric in (*gauges, *counters):
                metric.labels(collector)  # shown from the beginning

    def tell(self, collector: str, cost: Cost, *, succeeded_at_s: float | None) -> None:
        """Tell of a reading.

        Args:
            succeeded_at_s: when it succeeded, in seconds since the epoch; None if it failed.
        """
        self._success.labels(collector).set(succeeded_at_s is not None)
        self._duration.labels(collector).set(cost.took_s)
        if succeeded_at_s is None:
            self._errors.labels(collector).inc()
        else:
            self._latest.labels(collector).set(succeeded_at_s)
        self._requests.labels(collector).inc(cost.requests)
        self._waited.labels(collector).inc(cost.waited_s)
        self._received.labels(collector).inc(cost.received_bytes)
