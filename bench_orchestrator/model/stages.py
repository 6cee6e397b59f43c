"""The stages of a launch, the instants that bound them, and what names them: its origin and its workers."""

from collections.abc import Mapping
from enum import StrEnum


class Boundary(StrEnum):
    """The instants that bound the stages of a launch, in chronological order."""

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
        """The displayed name: `worker load`."""
        return self.value.replace("_", " ")

    @property
    def row_label(self) -> str:
        """The label of a table row; pieces of a stage are marked."""
        return self.label

    @property
    def process(self) -> str:
        """The process in which its time is spent."""
        return _PROCESS[self]


class Stage(_Part):
    """The contiguous stages between the request and the first line of user code, in order."""

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
        """The instant at which this stage begins."""
        return _BOUNDARIES[_STAGES.index(self)]

    @property
    def end(self) -> Boundary:
        """The instant at which this stage ends: the next one's start."""
        return _BOUNDARIES[_STAGES.index(self) + 1]


_BOUNDARIES = tuple(Boundary)

_STAGES = tuple(Stage)

QUEUE_STAGES = (Stage.QUEUE_WAIT, Stage.WORKER_BOOT, Stage.WORKER_LOAD)
"""The stages of the queue time, RUN_ENQUEUED to RUN_START."""

INIT_STAGES = (Stage.EXECUTOR_START, Stage.STEP_BOOT, Stage.STEP_LOAD, Stage.STEP_INIT)
"""The stages of the init time, RUN_START to the first STEP_START."""

LAG_STAGES = (*QUEUE_STAGES, *INIT_STAGES)
"""The stages that the launch lag consists of."""

STARTUP_STAGES = tuple(stage for stage in LAG_STAGES if stage is not Stage.QUEUE_WAIT)
"""The stages of the startup time: the launch lag without the queue wait."""


class BootStage(_Part):
    """The pieces of worker boot if the run worker is a pod, in order. All but the last are Kubernetes' own."""

    CREATE_JOB = "create_job"
    SCHEDULE_POD = "schedule_pod"
    PULL_IMAGE = "pull_image"
    START_CONTAINER = "start_container"
    START_PYTHON = "start_python"

    @property
    def row_label(self) -> str:
        """The label, marked as a piece of the stage above."""
        return f"\N{MIDDLE DOT} {self.label}"


KUBERNETES_STAGES = tuple(stage for stage in BootStage if stage is not BootStage.START_PYTHON)
"""Kubernetes' part of a launch: until the container of the run's pod has started."""

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


class Origin(StrEnum):
    """What asked for a run, which decides where its launch begins."""

    REQUEST = "request"
    SCHEDULE = "schedule"
    SENSOR = "sensor"
    """Also the ticks of automation conditions."""
    BACKFILL = "backfill"

    @property
    def instant(self) -> str:
        """The beginning of the launch in words: `the scheduled time`."""
        return _ORIGINS[self][0]

    @property
    def label(self) -> str:
        """The displayed name of the first stage, which ends when the run is created."""
        return _ORIGINS[self][1]

    @property
    def process(self) -> str:
        """The process in which the first stage's time is spent."""
        return _ORIGINS[self][2]


_ORIGINS: Mapping[Origin, tuple[str, str, str]] = {
    Origin.REQUEST: ("the request", Stage.SUBMIT.label, Stage.SUBMIT.process),
    Origin.SCHEDULE: ("the scheduled time", "tick", "daemon and code server"),
    Origin.SENSOR: ("the sensor's tick", "tick", "daemon and code server"),
    Origin.BACKFILL: ("the backfill's request", "backfill", "daemon and code server"),
}


class RunWorker(StrEnum):
    """The process that runs a run, where its launcher names it; Dagster's default launcher does not."""

    POD = "pod"
    CONTAINER = "container"
    ECS_TASK = "ecs_task"
    CELERY = "celery"

    @property
    def boot_process(self) -> str:
        """Where the time of worker boot is spent."""
        return _RUN_WORKERS[self]


_RUN_WORKERS: Mapping[RunWorker, str] = {
    RunWorker.POD: "run worker (new pod)",
    RunWorker.CONTAINER: "run worker (new container)",
    RunWorker.ECS_TASK: "run worker (new ECS task)",
    RunWorker.CELERY: "waiting for a Celery worker",
}


class StepWorker(StrEnum):
    """The process that runs a step, by the run's executor."""

    IN_PROCESS = "in_process"
    """The run worker itself."""
    MULTIPROCESS = "multiprocess"
    PODS = "pods"
    DOCKER = "docker"
    ECS = "ecs"
    CELERY = "celery"
    CELERY_DOCKER = "celery_docker"
    """A Celery worker starts a container for the step."""
    CELERY_PODS = "celery_pods"
    """A Celery worker starts a pod for the step."""
    OTHER = "other"

    @classmethod
    def _missing_(cls, _: object) -> "StepWorker":
        """Accept a name that another release has stored."""
        return cls.OTHER

    @property
    def boot_process(self) -> str:
        """Where the time of step boot is spent."""
        return _STEP_WORKERS[self][0]

    @property
    def process(self) -> str:
        """The process that loads the definitions and starts the step."""
        return _STEP_WORKERS[self][1]


_STEP_WORKERS: Mapping[StepWorker, tuple[str, str]] = {
    StepWorker.IN_PROCESS: (Stage.WORKER_LOAD.process, Stage.WORKER_LOAD.process),
    StepWorker.MULTIPROCESS: (Stage.STEP_BOOT.process, Stage.STEP_LOAD.process),
    StepWorker.PODS: ("step worker (new pod)", Stage.STEP_LOAD.process),
    StepWorker.DOCKER: ("step worker (new container)", Stage.STEP_LOAD.process),
    StepWorker.ECS: ("step worker (new ECS task)", Stage.STEP_LOAD.process),
    StepWorker.CELERY: ("waiting for a Celery worker", "Celery worker"),
    StepWorker.CELERY_DOCKER: ("Celery queue, new container", Stage.STEP_LOAD.process),
    StepWorker.CELERY_PODS: ("Celery queue, new pod", Stage.STEP_LOAD.process),
    StepWorker.OTHER: (Stage.STEP_LOAD.process, Stage.STEP_LOAD.process),
}

Piece = Stage | BootStage

PIECES: tuple[Piece, ...] = tuple(
    piece for stage in Stage for piece in (stage, *(BootStage if stage is Stage.WORKER_BOOT else ()))
)
"""Every part of a launch, in order; the pieces of worker boot follow it."""
