"""Measures what a reading of a deployment costs its webserver."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bench_orchestrator.model.deployment_reading import Cost
from bench_orchestrator.webserver import Webserver
from bench_orchestrator.webserver.connection import Traffic


@dataclass
class CostMeter:
    """Measures from its making on."""

    webserver: Webserver
    clock: Callable[[], float]
    _before: Traffic = field(init=False)
    _began_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._before = replace(self.webserver.traffic)
        self._began_s = self.clock()

    def read(self) -> Cost:
        """Return the cost so far."""
        spent = self.webserver.traffic
        return Cost(
            requests=spent.requests - self._before.requests,
            waited_s=spent.waited_s - self._before.waited_s,
            received_bytes=spent.received_bytes - self._before.received_bytes,
            took_s=self.clock() - self._began_s,
        )
