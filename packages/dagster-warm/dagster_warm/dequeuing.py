"""Dagster's daemon of the run queue, which looks at the queue when it has changed. Only the daemon imports it.

What is launched, and when, is decided by Dagster's class. Only its waiting is replaced. Like `internals`, this module
uses Dagster's private API, which contract tests pin.
"""

import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import ConcurrencySlotsTable, PendingStepsTable
from dagster._daemon import controller
from dagster._daemon.daemon import DaemonIterator, SpanMarker
from dagster._daemon.run_coordinator import queued_run_coordinator_daemon as stock
from sqlalchemy import select

from dagster_warm.changes import StorageChanges, changes_of
from dagster_warm.queue import PromptRunCoordinator

if TYPE_CHECKING:
    from dagster._core.workspace.context import IWorkspaceProcessContext  # generic in newer releases

ACTIVE_STATUSES = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
"""The runs that Dagster's limits count."""

_SLICE_S = 0.5
"""How long to wait before Dagster's loop may send a heartbeat, as it does itself."""
_REST_S = 0.05
"""How long to rest at least after a look, or after a change that called for none; otherwise, the CPU time of that."""

_NO_CHANGES = (
    "The storage of this instance does not tell its changes. As with Dagster's QueuedRunCoordinator, the run queue is"
    " looked at every `dequeue_interval_seconds`."
)


def install() -> None:
    """Have this process create this module's daemon in the place of Dagster's."""
    controller.QueuedRunCoordinatorDaemon = QueuedRunCoordinatorDaemon  # type: ignore[attr-defined]


@dataclass(frozen=True)
class QueueState:
    """What decides which runs may be launched. The default is an empty queue."""

    queued: frozenset[str] = frozenset()
    active: frozenset[str] = frozenset()
    pending_steps: frozenset[tuple[str, str]] = frozenset()
    """The steps that hold or await a slot of a pool, by run and key."""
    slots: frozenset[int] = frozenset()
    """The slots of all pools, by their id."""

    @classmethod
    def read(cls, instance: dg.DagsterInstance, with_pools: bool) -> "QueueState":
        """Read the state; without queued runs, nothing else."""
        queued = instance.get_run_ids(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))
        if not queued:
            return cls()
        active = instance.get_run_ids(dg.RunsFilter(statuses=ACTIVE_STATUSES))
        return cls(frozenset(queued), frozenset(active), *(_read_pools(instance) if with_pools else ()))

    def lets_more_run_than(self, before: "QueueState") -> bool:
        """Return whether a run was queued, a run has ended, or a pool has room, since an earlier state."""
        return not (
            self.queued <= before.queued
            and before.queued | before.active <= self.queued | self.active
            and before.pending_steps <= self.pending_steps
            and self.slots <= before.slots
        )


def _read_pools(instance: dg.DagsterInstance) -> tuple[frozenset[tuple[str, str]], frozenset[int]]:
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return frozenset(), frozenset()
    with storage.index_connection() as connection:
        steps = connection.execute(select(PendingStepsTable.c.run_id, PendingStepsTable.c.step_key)).all()
        slots = connection.execute(select(ConcurrencySlotsTable.c.id).filter_by(deleted=False)).scalars().all()
    return frozenset((run_id, step_key) for run_id, step_key in steps), frozenset(slots)


class QueuedRunCoordinatorDaemon(stock.QueuedRunCoordinatorDaemon):
    """Looks at the queue as soon as it has changed, and at the coordinator's interval.

    Its name is that of Dagster's class, because its logger is named after it.
    """

    _interval_s = 0.0
    _has_changes = True
    """Whether the storage tells its changes; otherwise the interval decides, as with Dagster."""
    _state = QueueState()
    """The state when the queue was last looked at, or a later one that lets no more run."""
    _due_s = 0.0
    """When the interval is over, on the monotonic clock."""
    _rest_s = 0.0

    def core_loop(
        self, workspace_process_context: "IWorkspaceProcessContext[Any]", shutdown_event: Event
    ) -> DaemonIterator:
        """Do as Dagster does, with another way to wait between two looks."""
        instance = workspace_process_context.instance
        coordinator = instance.run_coordinator
        assert isinstance(coordinator, QueuedRunCoordinator)
        self._interval_s = self.interval_seconds = coordinator.dequeue_interval_seconds
        self._state, self._due_s = QueueState(), 0.0
        is_prompt = isinstance(coordinator, PromptRunCoordinator)
        with changes_of(instance, self._logger) if is_prompt else nullcontext() as changes:
            if is_prompt and changes is None and self._has_changes:
                self._logger.warning(_NO_CHANGES)
            self._has_changes = changes is not None
            if changes is not None:
                self.interval_seconds = 0
            with closing(super().core_loop(workspace_process_context, shutdown_event)) as loop:
                for item in loop:
                    yield item
                    if changes is not None and item is SpanMarker.END_SPAN:
                        yield from self._wait(changes, shutdown_event)

    def _wait(self, changes: StorageChanges, shutdown_event: Event) -> Iterator[None]:
        """Rest, then wait for a change or the end of the interval."""
        shutdown_event.wait(self._rest_s)
        while (left_s := self._due_s - time.monotonic()) > 0 and not shutdown_event.is_set():
            if changes.wait(shutdown_event, min(left_s, _SLICE_S), self._is_blocked_by_pools):
                return
            yield None

    def run_iteration(
        self, workspace_process_context: "IWorkspaceProcessContext[Any]", fixed_iteration_time: float | None = None
    ) -> DaemonIterator:
        """Look at the queue as Dagster does, unless nothing waits, or no more can run than at the last look."""
        started_s = time.thread_time()
        if not self._has_changes or self._calls_for_a_look(workspace_process_context.instance):
            yield from super().run_iteration(workspace_process_context, fixed_iteration_time)
        self._rest_s = min(max(_REST_S, time.thread_time() - started_s), self._interval_s)

    def _calls_for_a_look(self, instance: dg.DagsterInstance) -> bool:
        now_s = time.monotonic()
        is_due = now_s >= self._due_s
        if is_due:
            self._due_s = now_s + self._interval_s  # also if the storage fails now
        before, self._state = self._state, QueueState.read(instance, self._is_blocked_by_pools)
        return bool(self._state.queued) and (is_due or self._state.lets_more_run_than(before))

    @property
    def _is_blocked_by_pools(self) -> bool:
        """Whether a run waits for room in a pool."""
        return not self._state.queued.isdisjoint(self._global_concurrency_blocked_runs)
