"""The bench's nouns as plain data: stages, outcomes, scenarios' plans, measured launches.

Everything else computes with, stores or draws these. No Dagster, no DuckDB, no matplotlib in here.
All instants are integer microseconds since the epoch and all durations integer microseconds (`_us`), so that sums
of stages are exact; seconds appear only where a person reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MICROSECONDS = 1_000_000


class UnusableError(Exception):
    """Something that the bench needs (deployment, webserver, results) cannot be used; the message says what to do."""


class Boundary(StrEnum):
    """The instants that bound the stages of a launch, in the order in which they happen."""

    REQUESTED = "requested"
    CREATED = "created"
    ENQUEUED = "enqueued"
    STARTING = "starting"
    WORKER_STARTED = "worker_started"
    RUN_STARTED = "run_started"
    STEP_WORKER_STARTING = "step_worker_starting"
    STEP_WORKER_STARTED = "step_worker_started"
    RESOURCE_INIT_STARTED = "resource_init_started"
    STEP_STARTED = "step_started"


class Stage(StrEnum):
    """The contiguous pieces between the request and the first line of user code, in order."""

    SUBMIT = "submit"
    PLAN_EVENTS = "plan_events"
    QUEUE_WAIT = "queue_wait"
    WORKER_BOOT = "worker_boot"
    WORKER_LOAD = "worker_load"
    EXECUTOR_START = "executor_start"
    STEP_BOOT = "step_boot"
    STEP_LOAD = "step_load"
    STEP_INIT = "step_init"

    @property
    def start(self) -> Boundary:
        """The instant this stage begins."""
        return _BOUNDARIES[_STAGES.index(self)]

    @property
    def end(self) -> Boundary:
        """The instant this stage ends: the next one's start."""
        return _BOUNDARIES[_STAGES.index(self) + 1]

    @property
    def label(self) -> str:
        """The name a person reads: `worker load`."""
        return self.value.replace("_", " ")

    @property
    def process(self) -> str:
        """Where the stage's time is spent."""
        return _PROCESS[self]


_BOUNDARIES = tuple(Boundary)
_STAGES = tuple(Stage)
_PROCESS: Mapping[Stage, str] = {
    Stage.SUBMIT: "webserver and code server",
    Stage.PLAN_EVENTS: "webserver",
    Stage.QUEUE_WAIT: "daemon",
    Stage.WORKER_BOOT: "run worker (new process)",
    Stage.WORKER_LOAD: "run worker",
    Stage.EXECUTOR_START: "run worker",
    Stage.STEP_BOOT: "step worker (new process)",
    Stage.STEP_LOAD: "step worker",
    Stage.STEP_INIT: "step worker",
}

QUEUE_STAGES = (Stage.QUEUE_WAIT, Stage.WORKER_BOOT, Stage.WORKER_LOAD)
"""The stages of the queue time, RUN_ENQUEUED to RUN_START."""

INIT_STAGES = (Stage.EXECUTOR_START, Stage.STEP_BOOT, Stage.STEP_LOAD, Stage.STEP_INIT)
"""The stages of the init time, RUN_START to the first STEP_START."""


class Outcome(StrEnum):
    """How a trial ended. Every planned trial has exactly one."""

    OK = "ok"
    REJECTED = "rejected"
    """The deployment refused the launch: no run exists."""
    FAILED = "failed"
    CANCELED = "canceled"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    """Nobody knows: planned and never launched, or launched and its events are gone."""


class Tag(StrEnum):
    """The run tags by which the bench knows its runs; they are also how a person filters the runs page."""

    KIND = "bench/kind"
    """`sweep`, `trial` or `harvest`."""
    SCENARIO = "bench/scenario"
    SWEEP = "bench/sweep"
    VARIANT = "bench/variant"
    TRIAL = "bench/trial"
    WARMUP = "bench/warmup"
    REQUESTED_AT = "bench/requested_at_us"
    HARVEST_OF = "bench/harvest_of"
    """The run id of the sweep that a harvest run reads."""


SWEEPS_ASSET = "sweeps"
"""The asset a sweep records itself under: its plan as a materialization, its trials as observations."""

MEASUREMENTS_ASSET = "launch_measurements"


@dataclass(frozen=True)
class Scenario:
    """A named question: which code locations are launched, and how often by default."""

    name: str
    question: str
    locations: tuple[str, ...]
    repeats: int = 5
    warmups: int = 1


@dataclass(frozen=True)
class Location:
    """What preflight found out about a code location: where to launch, and its size."""

    name: str
    repository: str
    job: str
    asset_count: int
    partition_count: int
    """Partitions of the chosen assets; 0 where they have none."""


@dataclass(frozen=True)
class PlannedTrial:
    """One launch of the plan: exactly one run, if all goes well."""

    number: int
    """1 for the first launch of the sweep; unique in it."""
    block: int
    """Blocks launch each location once, in shuffled order; counted from 1, warm-up blocks first."""
    location: str
    variant: str
    warmup: bool
    asset_key: str
    """As Dagster prints it to users: parts joined with `/`."""
    partition_key: str | None = None


@dataclass(frozen=True)
class SweepPlan:
    """Everything a sweep is going to do, recorded before its first launch."""

    sweep_id: str
    scenario: str
    seed: int
    created_us: int
    locations: tuple[Location, ...]
    trials: tuple[PlannedTrial, ...]
    settings: Mapping[str, Any]
    """The knobs that shaped it: repeats, warmups, timeout_s, pause_s, jitter_s, and what else its job was given."""
    environment: Mapping[str, Any]
    """What the numbers depend on: versions, CPU, launcher, coordinator, storage, limits."""


@dataclass(frozen=True)
class TrialNote:
    """What the sweep itself knows of a trial and the run's own log cannot tell."""

    number: int
    outcome: Outcome
    reason: str = ""
    run_id: str | None = None
    requested_us: int | None = None


@dataclass(frozen=True)
class Launch:
    """One row of `launch_measurements`: a planned trial and what became of it."""

    sweep_id: str
    trial: int
    scenario: str
    variant: str
    location: str
    asset_count: int
    partition_count: int
    block: int
    warmup: bool
    asset_key: str
    partition_key: str | None
    outcome: Outcome
    reason: str
    """One line a human understands; empty when the outcome is ok."""
    run_id: str | None
    executor: str | None
    """`multiprocess` or `in_process`, as the run's events show it."""
    at_us: Mapping[Boundary, int | None]
    """The raw instants as the log has them, before any mending."""
    ended_us: int | None
    stages_us: Mapping[Stage, int | None]
    queue_us: int | None
    init_us: int | None
    lag_us: int | None
    time_to_code_us: int | None
    warnings: tuple[str, ...] = ()
    step_process: Mapping[str, Any] = field(default_factory=dict)
    """What the asset reported of its own process: import and build seconds, CPU, memory, throttling."""

    @property
    def measured(self) -> bool:
        """Whether this launch counts in the statistics."""
        return self.outcome is Outcome.OK and not self.warmup


@dataclass(frozen=True)
class Sweep:
    """A sweep as the results database holds it: its plan and the launches it led to, in trial order."""

    plan: SweepPlan
    status: str
    """`complete`: every planned trial was launched or refused; `canceled`; `failed`: it ended early."""
    launches: tuple[Launch, ...]
