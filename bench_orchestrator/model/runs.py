"""One run as its event log tells of it: events, steps, pod."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RunEvent:
    """One event of a run's log, as far as a timeline needs it."""

    type: str
    """A DagsterEventType's value; runs are still called pipelines there: `PIPELINE_START`."""
    time_us: int
    step_key: str | None = None
    message: str = ""


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
    """Up to the first line of user code, and the run's end."""
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
