"""Workers are named as what they are, from the texts of Dagster's launchers and executors (1.13, 0.29)."""

import pytest

from bench_orchestrator.model.runs import RunEvent, RunLog
from bench_orchestrator.model.stages import Boundary, RunWorker, Stage, StepWorker
from bench_orchestrator.timeline.launches import launch_of
from bench_orchestrator.timeline.run_log import fold
from bench_orchestrator.timeline.stages import timeline
from bench_orchestrator.timeline.workers import process_of_run

S = 1_000_000
STARTING, STARTED, ENGINE = "STEP_WORKER_STARTING", "STEP_WORKER_STARTED", "ENGINE_EVENT"
EXECUTED = (STARTED, 'Step worker started for "a".')
SUBMITTED = (ENGINE, 'Submitting celery task for step "a" to queue "dagster".')

SAID = {
    StepWorker.MULTIPROCESS: (
        (STARTING, 'Launching subprocess for "a".'),
        (STARTED, 'Executing step "a" in subprocess.'),
    ),
    StepWorker.PODS: ((STARTING, 'Executing step "a" in Kubernetes job dagster-step-1.'), EXECUTED),
    StepWorker.DOCKER: ((STARTING, "Launching step in Docker container."), EXECUTED),
    StepWorker.ECS: ((STARTING, 'Executing step "a" in ECS task.'), EXECUTED),
    StepWorker.CELERY: (SUBMITTED, (ENGINE, "[CeleryExecutor] Executing steps a in celery worker")),
    StepWorker.CELERY_DOCKER: (
        SUBMITTED,
        (ENGINE, "[CeleryDockerExecutor] Executing steps a in Docker container dagster:1"),
        EXECUTED,
    ),
    StepWorker.CELERY_PODS: (
        SUBMITTED,
        (ENGINE, "[CeleryK8sJobExecutor] Task for step a picked up by Celery"),
        (ENGINE, '[CeleryK8sJobExecutor] Executing step "a" in Kubernetes job dagster-step-1.'),
        EXECUTED,
    ),
    StepWorker.OTHER: ((STARTING, "Asking the grid for a."), EXECUTED),
    StepWorker.IN_PROCESS: (),
}


def log_of(worker: StepWorker) -> list[RunEvent]:
    """Return the log of a run whose step asks for its worker at 4 s, has it at 64 s and starts at 64.3 s."""
    said = SAID[worker]
    times_s = [4 + 60 * number / (len(said) - 1) for number in range(len(said))]
    return [
        RunEvent("PIPELINE_ENQUEUED", 0),
        RunEvent("PIPELINE_STARTING", 1 * S),
        RunEvent(ENGINE, 2 * S, message="Started process for run (pid: 1)."),
        RunEvent("PIPELINE_START", 3 * S),
        RunEvent(ENGINE, 3 * S, message="Executing steps in process (pid: 1)"),
        *(RunEvent(kind, round(at_s * S), "a", text) for at_s, (kind, text) in zip(times_s, said, strict=True)),
        RunEvent("RESOURCE_INIT_STARTED", 64_200_000, "a"),
        RunEvent("STEP_START", 64_300_000, "a"),
        RunEvent("STEP_SUCCESS", 65 * S, "a"),
        RunEvent("PIPELINE_SUCCESS", 66 * S),
    ]


@pytest.mark.parametrize("worker", StepWorker)
def test_each_is_known_by_what_its_executor_writes(worker: StepWorker) -> None:
    times = timeline(log_of(worker), requested_us=0, created_us=0)
    assert (times.executor, times.lag_us, times.warnings) == (worker, 64_300_000, ())
    boot_us = 0 if worker is StepWorker.IN_PROCESS else 60 * S
    assert times.stages_us[Stage.STEP_BOOT] == boot_us
    assert times.stages_us[Stage.EXECUTOR_START] == (61_200_000 if worker is StepWorker.IN_PROCESS else 1 * S)


@pytest.mark.parametrize("worker", [worker for worker in StepWorker if worker is not StepWorker.IN_PROCESS])
def test_its_step_was_launched_when_it_was_asked_for(worker: StepWorker) -> None:
    (step,) = fold(log_of(worker)).steps
    assert (step.launched_us, step.started_us, step.ended_us) == (4 * S, 64_300_000, 65 * S)


def test_a_step_that_celery_never_took_up_shows_where_it_waits() -> None:
    events = [event for event in log_of(StepWorker.CELERY) if event.time_us <= 4 * S]
    times = timeline(events, requested_us=0, created_us=0)
    assert times.executor is StepWorker.CELERY
    assert times.at_us[Boundary.STEP_WORKER_STARTING] == 4 * S
    assert (times.stages_us[Stage.EXECUTOR_START], times.stages_us[Stage.STEP_BOOT]) == (1 * S, None)


def test_the_executor_of_other_steps_does_not_matter() -> None:
    other = [RunEvent(ENGINE, 3 * S, "b", SUBMITTED[1])]
    log = log_of(StepWorker.PODS)
    assert timeline([*log[:5], *other, *log[5:]], requested_us=0, created_us=0).executor is StepWorker.PODS


@pytest.mark.parametrize(
    ("said", "worker"),
    [
        ("[K8sRunLauncher] Creating Kubernetes run worker job", RunWorker.POD),
        ("[DockerRunLauncher] Launching run in a new container 4f2a with image dagster:1", RunWorker.CONTAINER),
        ("[EcsRunLauncher] Launching run in ECS task", RunWorker.ECS_TASK),
        ("[CeleryRunLauncher] Creating Celery run worker job task", RunWorker.CELERY),
        ("Started process for run (pid: 1).", None),
    ],
)
def test_a_runs_worker_is_known_by_what_its_launcher_writes(said: str, worker: RunWorker | None) -> None:
    events = (RunEvent(ENGINE, 1, message=said), RunEvent(ENGINE, 2, "a", SUBMITTED[1]))
    launch = launch_of("4f2a", RunLog(events), outcome=None, requested_us=None, created_us=0)
    assert launch.run_worker is worker


def test_a_name_that_another_release_stored_is_read() -> None:
    assert StepWorker("multiprocess") is StepWorker.MULTIPROCESS
    assert StepWorker("dask") is StepWorker.OTHER


@pytest.mark.parametrize(
    ("messages", "pid"),
    [
        ([], None),
        (["Launching run in a new container abc"], None),
        (["Started process for run (pid: 4711)."], 4711),
        (["Started process for run (pid: 1).", "Started process for run (pid: 22)."], 22),
        (["Started process for run (pid: 7).", "Started process for run."], 7),
        (["Executing steps in process (pid: 5)"], None),
    ],
)
def test_a_runs_process_is_the_last_that_reports_itself(messages: list[str], pid: int | None) -> None:
    assert process_of_run([RunEvent("ENGINE_EVENT", 0, message=message) for message in messages]) == pid
