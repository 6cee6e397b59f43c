"""Exporters of simulated deployments, and the pages that a scrape of them answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from ending_runs import EndingRuns
from prometheus_client import CollectorRegistry, generate_latest

from bench_orchestrator.exporter import Exporter, exporter
from bench_orchestrator.sources import ended_runs


class Scraped:
    """An exporter of a deployment that is read and scraped here."""

    def __init__(self, deployment: EndingRuns, **settings: Any) -> None:
        self.registry = CollectorRegistry()
        self.said: list[str] = []
        self.exporter = Exporter(
            deployment.webserver, self.registry, say=self.said.append, clock=deployment.clock, **settings
        )

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample of the page; None if it has none."""
        return self.registry.get_sample_value(name, labels)

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of all samples with these labels."""
        return sum(
            sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def page(self) -> str:
        """Return what a scrape answers."""
        return generate_latest(self.registry).decode()


@contextmanager
def by_the_clock_of(deployment: EndingRuns) -> Iterator[None]:
    """Let the exporter have the deployment's wall clock."""
    with (
        mock.patch.object(exporter, "now_us", deployment.now_us),
        mock.patch.object(ended_runs, "now_us", deployment.now_us),
    ):
        yield
