"""Read how many runs of a deployment wait and are in progress, and since when the oldest waits, over GraphQL."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench_orchestrator.model.deployment_reading import QueueDepth
from bench_orchestrator.model.runs import IN_PROGRESS, RunStatus
from bench_orchestrator.sources.deployment_instance import read_queued_runs, read_run_limits
from bench_orchestrator.sources.graphql import count_runs, list_runs, run_of
from bench_orchestrator.webserver import Webserver

MOST_IN_PROGRESS = 1_000
"""How many runs in progress are read, the newest."""

_FEW = 100
"""A page: so many of the oldest queued runs are listed each time."""
_QUEUED: Mapping[str, Any] = {"statuses": [RunStatus.QUEUED]}


@dataclass
class QueueReader:
    """Reads the queue again and again.

    A webserver lists the newest runs first. Of a deep queue, it is listed once which run is a page before the oldest
    one, and afterwards only what is older than that, until nothing is.
    """

    webserver: Webserver
    _mark: str | None = field(default=None, init=False)
    """The run before which the oldest ones are listed; None for all."""

    def read(self) -> QueueDepth:
        """Read the queue.

        Raises:
            WebserverError: the webserver did not answer.
        """
        queued = count_runs(self.webserver, _QUEUED)
        return QueueDepth(
            queued=queued,
            oldest_us=self._find_oldest_us() if queued else None,
            in_progress=tuple(
                read_queued_runs(self.webserver, list(IN_PROGRESS), most=MOST_IN_PROGRESS, with_pools=False)
            ),
            limits=read_run_limits(self.webserver, ""),
        )

    def _find_oldest_us(self) -> int | None:
        """Return when the oldest queued run was created; None if the last one has just left the queue."""
        oldest = list_runs(self.webserver, _QUEUED, before=self._mark)
        if not oldest and self._mark is not None:
            self._mark = None
            oldest = list_runs(self.webserver, _QUEUED)
        if len(oldest) > _FEW:
            self._mark = str(oldest[-_FEW - 1]["runId"])
        with self.webserver.understanding():
            return min((run_of(answer).created_us for answer in oldest), default=None)
