"""Code servers that are away when a run is to be launched, during a deploy for instance."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun
from dagster._core.errors import DagsterCodeLocationLoadError, DagsterUserCodeUnreachableError
from dagster._core.events import EngineEventData
from dagster._utils.error import serializable_error_info_from_exc_info

ABSENCE_ERRORS = (DagsterUserCodeUnreachableError, DagsterCodeLocationLoadError)
"""The errors with which Dagster tells that a code server cannot be reached; the second one has other causes, too."""

_PAUSE_S = 2.0
"""How long a server that was found to be away is not asked again, so that the queue is not held up by each run."""


def is_absence(error: Exception) -> bool:
    """Return whether the error says that a code server is away, and not that its code does not load."""
    if not isinstance(error, DagsterCodeLocationLoadError):
        return isinstance(error, DagsterUserCodeUnreachableError)
    causes = (cause for info in error.load_error_infos for cause in _chain(info))
    return any(cause.cls_name == DagsterUserCodeUnreachableError.__name__ for cause in causes)


@dataclass
class _Absence:
    since_s: float
    noticed_s: float
    error: Exception
    explained: set[str] = field(default_factory=set)
    """The runs whose logs tell that they wait."""


class Absences:
    """The code servers that are away, by code location, as this process has noticed."""

    def __init__(self) -> None:
        self._known: dict[str, _Absence] = {}

    def attempt(self, location: str, launch: Callable[[bool], None]) -> None:
        """Launch a run.

        Args:
            launch: is told whether the server was away the last time.

        Raises:
            DagsterUserCodeUnreachableError, DagsterCodeLocationLoadError: the server is away, or was a moment ago.
        """
        known = self._known.get(location)
        if known is not None and time.monotonic() - known.noticed_s < _PAUSE_S:
            raise known.error
        try:
            launch(known is not None)
        except ABSENCE_ERRORS as error:
            if is_absence(error):
                now_s = time.monotonic()
                absence = self._known.setdefault(location, _Absence(now_s, now_s, error))
                absence.noticed_s, absence.error = now_s, error
            else:
                self._known.pop(location, None)
            raise
        self._known.pop(location, None)

    def duration_s(self, location: str) -> float:
        """Return for how long the location's server has been away, in seconds; zero if it is not."""
        absence = self._known.get(location)
        return time.monotonic() - absence.since_s if absence else 0

    def requeue(self, instance: DagsterInstance, run: DagsterRun, location: str, error: Exception) -> None:
        """Put a run that was being launched back into the queue, while the error is handled.

        As long as Dagster would do so itself, for `max_user_code_failure_retries`, that is left to it: it also lets
        runs of other code locations go first.

        Raises:
            Exception: the given error, if Dagster puts the run back, or if it was never in the queue.
        """
        queue = instance.get_concurrency_config().run_queue_config
        retries = queue.max_user_code_failure_retries if queue else 0
        enqueued = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.RUN_ENQUEUED, limit=retries + 1)
        if len(enqueued.records) <= retries:
            raise error
        absence = self._known.get(location)
        if absence is not None and run.run_id not in absence.explained:
            absence.explained.add(run.run_id)
            message = "Waits in the queue until its code server, which is away, is back."
            cause = EngineEventData.engine_error(serializable_error_info_from_exc_info(sys.exc_info()))
            instance.report_engine_event(message, run, cause)
        instance.report_dagster_event(DagsterEvent.job_enqueue(run), run_id=run.run_id)


def _chain(info: Any) -> Iterator[Any]:
    while info is not None:
        yield info
        info = info.cause
