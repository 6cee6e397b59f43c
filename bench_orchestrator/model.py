"""The bench's nouns as plain data: stages, outcomes, scenarios' plans, measured launches.

Everything else computes with, stores or draws these. No Dagster, no DuckDB, no matplotlib in here.
All instants are integer microseconds since the epoch and all durations integer microseconds (`_us`), so that sums
of stages are exact; seconds appear only where a person reads them.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MICROSECONDS = 1_000_000


def now_us() -> int:
    """The wall clock in microseconds since the epoch, which is what Dagster's processes stamp events with."""
    return time.time_ns() // 1_000


def one_line(text: str, longest: int = 500) -> str:
    """A text in a single line, cut off where it is too long."""
    return " ".join(text.split())[:longest]


class UnusableError(Exception):
    """Something that the bench needs (deployment, webserver, results) cannot be used; the message says what to do."""


class PreflightError(Exception):
    """A sweep cannot begin; the message lists why, and what to do."""


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


class _Part(StrEnum):
    """A part of a launch."""

    @property
    def label(self) -> str:
        """The name a person reads: `worker load`."""
        return self.value.replace("_", " ")

    @property
    def row_label(self) -> str:
        """The same at the head of a row, where pieces of a stage stand below it."""
        return self.label

    @property
    def process(self) -> str:
        """Where its time is spent."""
        return _PROCESS[self]


class Stage(_Part):
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


_BOUNDARIES = tuple(Boundary)
_STAGES = tuple(Stage)

QUEUE_STAGES = (Stage.QUEUE_WAIT, Stage.WORKER_BOOT, Stage.WORKER_LOAD)
"""The stages of the queue time, RUN_ENQUEUED to RUN_START."""

INIT_STAGES = (Stage.EXECUTOR_START, Stage.STEP_BOOT, Stage.STEP_LOAD, Stage.STEP_INIT)
"""The stages of the init time, RUN_START to the first STEP_START."""


class BootStage(_Part):
    """The pieces of worker boot where the run worker is a pod: in order, all but the last Kubernetes' own."""

    CREATE_JOB = "create_job"
    SCHEDULE_POD = "schedule_pod"
    PULL_IMAGE = "pull_image"
    START_CONTAINER = "start_container"
    START_PYTHON = "start_python"

    @property
    def row_label(self) -> str:
        """Marked as a piece of the stage above it."""
        return f"\N{MIDDLE DOT} {self.label}"


KUBERNETES_STAGES = tuple(stage for stage in BootStage if stage is not BootStage.START_PYTHON)
"""Kubernetes' own part of a launch: until the container of the run's pod is started."""

_PROCESS: Mapping[_Part, str] = {
    Stage.SUBMIT: "webserver and code server",
    Stage.PLAN_EVENTS: "webserver",
    Stage.QUEUE_WAIT: "daemon",
    Stage.WORKER_BOOT: "run worker (new process)",
    BootStage.CREATE_JOB: "daemon and API server",
    BootStage.SCHEDULE_POD: "Kubernetes' controllers",
    BootStage.PULL_IMAGE: "kubelet",
    BootStage.START_CONTAINER: "kubelet",
    BootStage.START_PYTHON: "run worker (new process)",
    Stage.WORKER_LOAD: "run worker",
    Stage.EXECUTOR_START: "run worker",
    Stage.STEP_BOOT: "step worker (new process)",
    Stage.STEP_LOAD: "step worker",
    Stage.STEP_INIT: "step worker",
}

Piece = Stage | BootStage

PIECES: tuple[Piece, ...] = tuple(
    piece for stage in Stage for piece in (stage, *(BootStage if stage is Stage.WORKER_BOOT else ()))
)
"""Everything that a launch can be split into, in order: the pieces of worker boot follow it."""


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
    HARVEST_AS_OF = "bench/harvest_as_of_us"
    """When that sweep's run had last changed."""


def again(baseline: str) -> str:
    """The name of the variant that launches a baseline a second time: the A/A arm, whose difference is the noise."""
    return f"{baseline}, again"


SWEEPS_ASSET = "sweeps"
"""The asset a sweep records itself under: its plan as a materialization, its trials as observations."""

MEASUREMENTS_ASSET = "launch_measurements"


@dataclass(frozen=True)
class Prediction:
    """A value that was expected before it was measured, with its interval."""

    value: float
    low: float | None
    high: float | None
    basis: str
    """What it was predicted from, in words."""


class LaunchPath(StrEnum):
    """How a trial's run comes to be launched."""

    GRAPHQL = "graphql"
    """As by the button in the UI."""
    SCHEDULE = "schedule"
    SENSOR = "sensor"
    BACKFILL = "backfill"
    """A backfill whose partitions are one run."""


class ServerState(StrEnum):
    """What is done to the code server of a trial's location before the trial."""

    AS_IT_IS = "as it is"
    REPLACED = "replaced"
    """It is ended, and another is up and loaded again when the launch is requested."""
    FROM_ZERO = "from zero"
    """It is down, and the request counts from when another is asked to come up."""


@dataclass(frozen=True)
class Variant:
    """One side of a comparison: what each of its trials asks for, and of what deployment."""

    name: str
    locations: tuple[str, ...]
    """Each trial launches in one of them, chosen at random."""
    assets: int = 1
    """How many assets a trial selects."""
    stride: int = 1
    """From one selected asset to the next: 1 for neighbours; beyond that, the first asset is the location's first."""
    partitions: int = 1
    """How many of the latest partitions a trial launches as one range, where there are partitions."""
    work: int | None = None
    """Units of work that a trial has to materialize, so that sides can be held to the same; None: not checked."""
    path: LaunchPath = LaunchPath.GRAPHQL
    instance: Mapping[str, Any] = field(default_factory=dict)
    """Entries of dagster.yaml that this side needs: it then runs in a deployment of its own."""
    cpus: float | None = None
    """CPUs that its code servers, with their runs, may use: a deployment of its own again, or locations that are served
    so (`sites.served_name`), as on Kubernetes. None: all."""
    warm: bool | None = None
    """Whether its code servers are the warm ones, likewise. None: whatever serves its locations."""
    server: ServerState = ServerState.AS_IT_IS
    against: str = ""
    """The variant that it is compared with, which is a baseline and names itself; empty: the experiment's first."""
    in_turn: bool = False
    """Launched once in each of its locations, in their order, after all blocks; not compared."""


@dataclass(frozen=True)
class Scenario:
    """A named question: which code locations are launched, and how often by default.

    An experiment has variants in place of locations, the first of which is its baseline.
    """

    name: str
    question: str
    locations: tuple[str, ...] = ()
    repeats: int = 5
    warmups: int = 1
    variants: tuple[Variant, ...] = ()
    quick_variants: tuple[Variant, ...] = ()
    """The same experiment at a size for laptops and tests."""
    holds_equal: str = ""
    """What the sides of an experiment have in common, in words."""


@dataclass(frozen=True)
class Location:
    """What preflight found out about a code location: where to launch, and its size."""

    name: str
    repository: str
    job: str
    asset_count: int
    partition_count: int
    """Partitions of the chosen assets; 0 where they have none."""
    deployment: str = ""
    """The deployment that serves it, by its name in the plan; empty: the one that the sweep itself runs in."""
    load_s: float | None = None
    """How long its code server took to start until it answered, where that is known."""


@dataclass(frozen=True)
class PlannedTrial:
    """One launch of the plan: exactly one run, if all goes well."""

    number: int
    """1 for the first launch of the sweep; unique in it."""
    block: int
    """Blocks launch each variant once, in shuffled order; counted from 1, warm-up blocks first."""
    location: str
    variant: str
    warmup: bool
    asset_keys: tuple[str, ...]
    """As Dagster prints them to users: parts joined with `/`."""
    partition_key: str | None = None
    """The partition, or the first of a range."""
    last_partition_key: str | None = None
    """The last of a range; None where it is one partition."""
    work: int | None = None
    """Units of work that it has to materialize; None where nobody counts."""
    deployment: str = ""
    path: LaunchPath = LaunchPath.GRAPHQL
    server: ServerState = ServerState.AS_IT_IS


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
    variants: tuple[Variant, ...] = ()
    """An experiment's sides, its baseline first, each baseline followed by its A/A arm; empty for other sweeps."""
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of each deployment of the plan's own, by its name: the environment, and its dagster.yaml."""
    predictions_s: Mapping[str, Prediction] = field(default_factory=dict)
    """What each variant's lag was expected to be, before its first launch, from an earlier fit."""
    resumes: str | None = None
    """The run id of the interrupted sweep that this one continues: the same plan, and its notes count."""

    @property
    def places(self) -> dict[tuple[str, str], Location]:
        """The locations by their deployment and their name."""
        return {(location.deployment, location.name): location for location in self.locations}

    def environment_of(self, deployment: str) -> Mapping[str, Any]:
        """The environment of one of its deployments, or of the one that the sweep itself runs in."""
        return self.environments.get(deployment, self.environment)


@dataclass(frozen=True)
class Event:
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

    events: tuple[Event, ...] = ()
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


@dataclass(frozen=True)
class TrialNote:
    """What the sweep itself knows of a trial and the run's own log cannot tell."""

    number: int
    outcome: Outcome
    reason: str = ""
    run_id: str | None = None
    requested_us: int | None = None
    created_us: int | None = None
    """When its run was created, by a deployment that is gone once the sweep is over."""
    log: RunLog | None = None
    """Its run's log, likewise; None where the run stays in the instance of the sweep."""
    usage: Mapping[str, float] = field(default_factory=dict)
    """What the trial cost, by `usage.MEASURES`; empty where the processes are not on the sweep's machine."""
    pod: Pod | None = None
    """Of its run's worker, where that is a Kubernetes job."""


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
    """The first of the assets selected."""
    partition_key: str | None
    outcome: Outcome
    reason: str
    """One line a human understands; empty when the outcome is ok."""
    run_id: str | None
    executor: str | None
    """`multiprocess`, `pods` or `in_process`, as the run's events show it."""
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
    deployment: str = ""
    path: LaunchPath = LaunchPath.GRAPHQL
    assets: int = 1
    """How many were selected."""
    work: int = 0
    """Units of work materialized."""
    materialized_us: int | None = None
    """When the last asset was materialized."""
    work_us: int | None = None
    """From the request until then: the whole of what was asked for is there."""
    steps: tuple[StepSpan, ...] = ()
    usage: Mapping[str, float] = field(default_factory=dict)
    template: Mapping[str, float] = field(default_factory=dict)
    """Of a run that was forked: `fork_ms`, and the `template_generation`, `_age_s` and `_assets` it came from."""
    boot_us: Mapping[BootStage, int] = field(default_factory=dict)
    """The pieces of worker boot, which they sum to; empty where it is whole."""
    pod: Pod | None = None

    @property
    def processes(self) -> int:
        """How many processes the run had: its worker, and one for each step that was given its own."""
        return 1 + sum(step.launched_us is not None for step in self.steps)

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
