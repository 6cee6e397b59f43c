"""The stages of a launch, the instants that bound them, and the pieces of worker boot on Kubernetes."""

from collections.abc import Mapping
from enum import StrEnum


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
