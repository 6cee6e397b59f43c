"""What was read of a deployment over GraphQL: its locations, its instance, its queue, its runs.

Instants are in microseconds since the epoch, by the webserver's clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench_orchestrator.model.run_queue import Pool, QueuedRun, RunLimits
from bench_orchestrator.model.runs import Run
from bench_orchestrator.model.story import Story


@dataclass(frozen=True)
class Contents:
    """What a code location holds; None for what could not be read."""

    assets: int | None = None
    """Assets that it can materialize."""
    partitioned: int | None = None
    """How many of these have partitions."""
    partitions: int | None = None
    """The most partitions that one of the assets looked at has."""
    looked_at: int = 0
    """How many partitioned assets' partitions were counted."""
    jobs: int | None = None
    """Without the implicit job of all assets."""
    checks: int | None = None


@dataclass(frozen=True)
class ReadLocation:
    """A code location."""

    name: str
    state: str
    """`loaded`, `loading` or `error`."""
    error: str = ""
    since_us: int | None = None
    """Since when it is in this state; None if unknown."""
    contents: Contents = field(default_factory=Contents)


@dataclass(frozen=True)
class Daemon:
    """A daemon, as the deployment's page of daemons has it."""

    name: str
    required: bool
    healthy: bool | None
    heartbeat_us: int | None
    """When it last said that it runs; None if it never did."""
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class InstanceSettings:
    """The settings of the instance that matter here; None for what the webserver does not tell."""

    launcher: str = ""
    coordinator: str = ""
    """The class of the run coordinator; empty if unknown."""
    interval_s: float | None = None
    """Seconds between two looks of the daemon at the queue; 0 if it looks at each change."""
    section: str = "concurrency.runs"
    """The section of dagster.yaml that limits runs."""
    shown: bool = False
    """Whether the webserver shows its dagster.yaml."""
    free_slots_after_s: int | None = None
    """`run_monitoring.free_slots_after_run_end_seconds`; None if it is not set."""


@dataclass(frozen=True)
class FailedTick:
    """A tick of a schedule or a sensor that failed."""

    location: str
    kind: str
    """`schedule` or `sensor`."""
    name: str
    at_us: int
    error: str


@dataclass(frozen=True)
class LatestTick:
    """The latest tick of a schedule or a sensor that is switched on."""

    location: str
    kind: str
    """`schedule` or `sensor`."""
    name: str
    at_us: int | None
    """None if there was none yet."""
    failed: bool
    least_interval_s: int | None = None
    """A sensor's minimum interval; None for schedules."""


@dataclass(frozen=True)
class QueueDepth:
    """How many runs wait and are in progress at one instant."""

    queued: int
    oldest_us: int | None
    """When the oldest queued run was created; None if none is queued."""
    in_progress: tuple[QueuedRun, ...]
    limits: RunLimits | None
    """None if the instance has no run queue."""


@dataclass(frozen=True)
class ReadRun:
    """A run of a code location, with its log if there was time to read it."""

    run: Run
    location: str
    story: Story | None = None


@dataclass(frozen=True)
class QueueState:
    """The queue at the instant of the reading."""

    limits: RunLimits | None = None
    """None if the instance has no run queue."""
    limits_known: bool = True
    """Whether the webserver told the limits."""
    queued: tuple[QueuedRun, ...] = ()
    """Oldest first."""
    more: bool = False
    """Whether there are more queued runs than were read; then the oldest are missing."""
    in_progress: tuple[QueuedRun, ...] = ()
    pools: Mapping[str, Pool] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What a reading cost the webserver."""

    requests: int = 0
    waited_s: float = 0.0
    received_bytes: int = 0
    took_s: float = 0.0
    """From the beginning of the reading to its end."""


@dataclass(frozen=True)
class DeploymentReading:
    """What was read of a deployment."""

    url: str
    at_us: int
    version: str = ""
    locations: tuple[ReadLocation, ...] = ()
    daemons: tuple[Daemon, ...] = ()
    settings: InstanceSettings = field(default_factory=InstanceSettings)
    queue: QueueState = field(default_factory=QueueState)
    runs: tuple[ReadRun, ...] = ()
    """The latest runs of each location, in the order of their creation."""
    ticks: tuple[FailedTick, ...] = ()
    missing: tuple[str, ...] = ()
    """What the webserver did not answer, each with the reason, in one line."""
    budget_s: float = 0.0
    """The seconds that it was allowed to take."""
    cost: Cost = field(default_factory=Cost)

    @property
    def logs_read(self) -> int:
        """How many runs' logs were read."""
        return sum(run.story is not None for run in self.runs)
