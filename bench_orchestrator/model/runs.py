"""One run as its event log describes it: events, steps, pod."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RunEvent:
    """One event of a run's log, with what a timeline needs."""

    type: str
    """A DagsterEventType value; these still call runs pipelines: `PIPELINE_START`."""
    time_us: int
    step_key: str | None = None
    message: str = ""


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
    """A run worker's pod, as Kubernetes reports it. Instants are truncated to whole seconds; here in microseconds."""

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
    """Up to the first line of user code, and the run's end."""
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
