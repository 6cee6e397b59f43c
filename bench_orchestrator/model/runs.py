"""One run as its record and its event log tell of it: status, events, steps, pod."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bench_orchestrator.model.tags import Tag


class RunStatus(StrEnum):
    """How far a run is, in Dagster's words."""

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
    """When its worker began to execute it; None before that."""

    @property
    def finished(self) -> bool:
        """Whether the run has reached its last status."""
        return self.status in FINISHED

    @property
    def requested_us(self) -> int | None:
        """When its request was sent, by the sender's clock; None where the sender did not record it."""
        return int(self.tags[Tag.REQUESTED_AT]) if Tag.REQUESTED_AT in self.tags else None


@dataclass(frozen=True)
class RunError:
    """An exception that an event reports, and the one that caused it."""

    message: str
    class_name: str = ""
    cause: "RunError | None" = None


LOG_MESSAGE = "LOG_MESSAGE"
"""The type of an event that is a line of a log: of `context.log`, not one of Dagster's own."""


@dataclass(frozen=True)
class RunEvent:
    """One event of a run's log, whichever source delivers it."""

    type: str
    """A DagsterEventType's value, in which runs are still called pipelines: `PIPELINE_START`; or `LOG_MESSAGE`."""
    time_us: int
    step_key: str | None = None
    message: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Of engine events, materializations and observations: plain values, those of JSON decoded."""
    error: RunError | None = None
    description: str = ""
    """What the code that made a materialization, an observation or a failure says of it."""


@dataclass(frozen=True)
class StepSpan:
    """When one step of a run was launched, ran, and ended; None for what the log does not have."""

    key: str
    launched_us: int | None
    """When the executor began to make its process; None in the run worker's own process."""
    started_us: int | None
    ended_us: int | None


@dataclass(frozen=True)
class Pod:
    """What Kubernetes says of the pod of a run worker. Its instants are whole seconds, cut off, in microseconds."""

    name: str = ""
    node: str = ""
    created_us: int | None = None
    scheduled_us: int | None = None
    pulled_us: int | None = None
    """When its image was there: pulled, or found on the node."""
    started_us: int | None = None
    """When its container was."""
    trouble: str = ""
    """Why it does not run, or how it ended, as a person says it; empty where all is well."""
    unknown: str = ""
    """Why nothing more is known of it: rights that are missing, an API that does not answer."""


@dataclass(frozen=True)
class RunLog:
    """What one run's event log says: its timeline's events, why it failed, what it materialized."""

    events: tuple[RunEvent, ...] = ()
    """Up to the first line of user code, and the run's end; without metadata and errors."""
    failure: str = ""
    step_process: Mapping[str, Any] = field(default_factory=dict)
    """What the first asset to be materialized reported of its process."""
    steps: tuple[StepSpan, ...] = ()
    """In the order in which they were launched."""
    materializations: int = 0
    work: int = 0
    """Units of work materialized: as many as the assets report of themselves, else one each."""
    materialized_us: int | None = None
    """When the last asset was materialized."""
    template: Mapping[str, float] = field(default_factory=dict)
    """What a warm code server says of the process that it forked the run from; empty for a run that was not."""
    kubernetes_job: tuple[str, str] | None = None
    """The namespace and the name of the job that is the run's worker; None where it is not one."""
