"""The end of a code server: its runs get a grace period, then they end with a reason that names the deploy."""

import logging
import threading
import time

from dagster_warm import internals
from dagster_warm.launcher import LEAVING_TAG

ENDING_LIMIT_S = 5.0
"""How long a run may take to end once it has been interrupted, in seconds; then it is killed."""
_TICK_S = 0.2


class Drain:
    """Waits for the runs of a server that was told to stop, and ends those that take too long."""

    def __init__(self, servicer: internals.DagsterApiServer, grace_s: float, logger: logging.Logger) -> None:
        self._servicer = servicer
        self._grace_s = grace_s
        self._logger = logger
        self._is_over = threading.Event()
        self._announced: set[str] = set()
        self._interrupted_at_s: dict[str, float] = {}
        self._thread = threading.Thread(target=self._drain, name="drain", daemon=True)

    def start(self) -> None:
        """Begin the grace period, unless the server has no runs and has stopped."""
        self._thread.start()

    def hurry(self) -> None:
        """End the grace period now."""
        self._is_over.set()

    def _drain(self) -> None:
        stopped = internals.termination_of(self._servicer)
        deadline_s = time.monotonic() + self._grace_s
        if not stopped.is_set() and (executions := internals.executions_of(self._servicer)):
            self._logger.info("%d runs are in progress; they have %g s to end.", len(executions), self._grace_s)
        while not stopped.wait(_TICK_S):
            is_over = self._is_over.is_set() or time.monotonic() >= deadline_s
            for execution in internals.executions_of(self._servicer):
                if execution.run_id not in self._announced:
                    self._announce(execution)
                if is_over:
                    self._end(execution)

    def _announce(self, execution: internals.Execution) -> None:
        """Tell run monitoring that the run goes on, although its server may no longer be found at its address."""
        self._announced.add(execution.run_id)
        until_s = time.time() + self._grace_s + 2 * ENDING_LIMIT_S
        try:
            internals.add_run_tag(execution, LEAVING_TAG, str(until_s))
        except Exception:
            self._logger.exception("Run %s could not be told to leave.", execution.run_id)

    def _end(self, execution: internals.Execution) -> None:
        now_s = time.monotonic()
        since_s = self._interrupted_at_s.get(execution.run_id)
        if since_s is None:
            self._interrupted_at_s[execution.run_id] = now_s
            message = (
                "The code server was told to stop, as a deploy does, "
                f"and the run had not ended within the grace period of {self._grace_s:g} s."
            )
            self._logger.warning("Run %s is ended: %s", execution.run_id, message)
            try:  # first of all, so that this is the reason that the run gets
                internals.report_end(execution, message)
            except Exception:
                self._logger.exception("The end of run %s could not be reported.", execution.run_id)
            execution.interruption.set()
        elif now_s - since_s > ENDING_LIMIT_S:
            execution.process.kill()
