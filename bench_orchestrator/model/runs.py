"""One run as its record and its event log describe it: status, events, steps, pod."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from bench_orchestrator.model.instants import datetime_us, read_instant_us
from bench_orchestrator.model.stages import Origin
from bench_orchestrator.model.tags import COPYING_TAGS, SCHEDULED_TIME_TAG, Tag


class RunStatus(StrEnum):
    """Dagster's run statuses."""

    QUEUED = "QUEUED"
    NOT_STARTED = "NOT_STARTED"
    MANAGED = "MANAGED"
    STARTING = "STARTING"
    STARTED = "STARTED"
    SUSPENDED = "SUSPENDED"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CANCELING = "CANCELING"
    CANCELED = "CANCELED"


IN_PROGRESS = (RunStatus.STARTING, RunStatus.STARTED, RunStatus.CANCELING)
FINISHED = (RunStatus.SUCCESS, RunStatus.FAILURE, RunStatus.CANCELED)
UNFINISHED = tuple(status for status in RunStatus if status not in FINISHED)


@dataclass(frozen=True)
class Request:
    """What asked for a run, and when, in microseconds since the epoch."""

    at_us: int
    origin: Origin


@dataclass(frozen=True)
class Run:
    """The record of one run. All times are microseconds since the epoch."""

    run_id: str
    status: RunStatus
    job: str
    tags: Mapping[str, str]
    created_us: int
    updated_us: int
    started_us: int | None = None
    """When its worker started to execute it; None before that."""
    location: str = ""
    """Its code location; empty if the source does not tell it."""

    @property
    def finished(self) -> bool:
        """Whether the run has reached its last status."""
        return self.status in FINISHED

    @property
    def reexecuted(self) -> bool:
        """Whether it repeats an earlier run or backfill, whose tags it may have copied: ours and Dagster's."""
        return not COPYING_TAGS.isdisjoint(self.tags)

    @property
    def of_bench(self) -> bool:
        """Whether the bench launched it, or launched it for itself: a sweep, a trial, a harvest."""
        return Tag.KIND in self.tags and not self.reexecuted

    @property
    def requested_us(self) -> int | None:
        """When the request was sent, by the sender's clock; None if the sender did not record it, or no instant."""
        if not self.reexecuted:
            with suppress(ValueError):
                return read_instant_us(self.tags.get(Tag.REQUESTED_AT))
        return None

    @property
    def request(self) -> Request | None:
        """The request as its tags tell it: the sender's record, or else the time for which a schedule meant it."""
        if self.requested_us is not None:
            return Request(self.requested_us, Origin.REQUEST)
        if SCHEDULED_TIME_TAG in self.tags and not self.reexecuted:
            with suppress(ValueError):
                scheduled = datetime.fromisoformat(self.tags[SCHEDULED_TIME_TAG])
                if scheduled.tzinfo is not None:
                    return Request(datetime_us(scheduled), Origin.SCHEDULE)
        return None


@dataclass(frozen=True)
class RunError:
    """An exception in an event, with its explicit cause."""

    message: str
    class_name: str = ""
    cause: "RunError | None" = None


LOG_MESSAGE = "LOG_MESSAGE"
"""The type of an event that user code logged with `context.log`."""


@dataclass(frozen=True)
class RunEvent:
    """One event of a run's log, the same from every source."""

    type: str
    """A DagsterEventType value, or LOG_MESSAGE; the former still call runs pipelines: `PIPELINE_START`."""
    time_us: int
    step_key: str | None = None
    message: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Plain values of engine events, materializations and observations; JSON is decoded."""
    error: RunError | None = None
    description: str = ""
    """The user code's description of a materialization, an observation or a failure."""


@dataclass(frozen=True)
class StepSpan:
    """When one step of a run was launched, started and ended; None for what the log does not have."""

    key: str
    launched_us: int | None
    """When the executor began to start its process; None for steps in the run worker's process."""
    started_us: int | None
    ended_us: int | None


@dataclass(frozen=True)
class Pod:
    """The pod of a run's or a step's worker, as Kubernetes reports it.

    Instants are truncated to whole seconds; here in microseconds.
    """

    name: str = ""
    node: str = ""
    created_us: int | None = None
    scheduled_us: int | None = None
    pulled_us: int | None = None
    """When its image was available: pulled, or found on the node."""
    started_us: int | None = None
    """When its container was created."""
    trouble: str = ""
    """Why it does not run, or how it ended, as readable text; empty if nothing is wrong."""
    unknown: str = ""
    """Why the pod could not be read: missing permissions, an API that does not answer."""


@dataclass(frozen=True)
class RunLog:
    """The contents of one run's event log: its timeline's events, its failure, its materializations."""

    events: tuple[RunEvent, ...] = ()
    """Up to the first line of user code, and the run's end; without metadata and errors."""
    failure: str = ""
    step_process: Mapping[str, Any] = field(default_factory=dict)
    """What the first materialized asset reported about its process."""
    steps: tuple[StepSpan, ...] = ()
    """In launch order."""
    materializations: int = 0
    work: int = 0
    """Units of work materialized: the number that each asset reports, or one each."""
    materialized_us: int | None = None
    """When the last asset was materialized."""
    template: Mapping[str, float] = field(default_factory=dict)
    """What a warm code server reported about the template; empty for a run that was not forked."""
    kubernetes_job: tuple[str, str] | None = None
    """The namespace and name of the run worker's Kubernetes job; None if it is not one."""
    step_jobs: Mapping[str, str] = field(default_factory=dict)
    """The name of the Kubernetes job of each step that has one, of its last attempt."""
