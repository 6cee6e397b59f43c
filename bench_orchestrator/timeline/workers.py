"""Tells what runs a run and its step, from what launcher and executor write into the log: pure, for any source.

Dagster's executors report a step's worker with events of their own. dagster-celery reports it with engine events only,
which are read here: the task's submission, and its start in a Celery worker. That start is logged after the worker has
loaded the definitions, so step boot includes the load.
"""

import re
from collections.abc import Iterable, Mapping

from bench_orchestrator.model.runs import RunEvent
from bench_orchestrator.model.stages import RunWorker, StepWorker

_RUN_WORKER_OF_TEXT: Mapping[str, RunWorker] = {
    "Kubernetes run worker job": RunWorker.POD,
    "Launching run in a new container": RunWorker.CONTAINER,
    "Launching run in ECS task": RunWorker.ECS_TASK,
    "Creating Celery run worker job task": RunWorker.CELERY,
}
"""What the launchers of Dagster's libraries write when they request a run's worker."""

WORKER_STARTED_MESSAGE = "Started process for run"
"""What a run worker writes first, with the id of its process: `Started process for run (pid: 123).`"""
_PID = re.compile(r"\(pid: ([0-9]+)\)")

_SUBMITTED_TO_CELERY = "Submitting celery task for step "
_IN_A_CELERY_WORKER = " in celery worker"

_STEP_WORKER_OF_TEXT: Mapping[str, StepWorker] = {
    "Launching subprocess for ": StepWorker.MULTIPROCESS,
    " in subprocess": StepWorker.MULTIPROCESS,
    " in Kubernetes job ": StepWorker.PODS,
    " in Docker container": StepWorker.DOCKER,
    " in ECS task": StepWorker.ECS,
    _SUBMITTED_TO_CELERY: StepWorker.CELERY,
    _IN_A_CELERY_WORKER: StepWorker.CELERY,
}
"""What the executors of Dagster and its libraries write when they request a step's worker, or when it is up."""

_STARTED_BY_CELERY: Mapping[StepWorker, StepWorker] = {
    StepWorker.DOCKER: StepWorker.CELERY_DOCKER,
    StepWorker.PODS: StepWorker.CELERY_PODS,
}


def run_worker_of(events: Iterable[RunEvent]) -> RunWorker | None:
    """Return the worker that the launcher's events name; the last one, if a run was launched again."""
    messages = [event.message for event in events if event.type == "ENGINE_EVENT" and event.step_key is None]
    named = [worker for message in messages for text, worker in _RUN_WORKER_OF_TEXT.items() if text in message]
    return named[-1] if named else None


def process_of_run(events: Iterable[RunEvent]) -> int | None:
    """Return the id of the run worker's process, as it reports it itself; None if it has not."""
    found = [_PID.search(event.message) for event in events if event.message.startswith(WORKER_STARTED_MESSAGE)]
    return next((int(match[1]) for match in reversed(found) if match), None)


def requests_celery_worker(event: RunEvent) -> bool:
    """Return whether an engine event puts a step into Celery's queue."""
    return event.message.startswith(_SUBMITTED_TO_CELERY)


def is_in_celery_worker(event: RunEvent) -> bool:
    """Return whether an engine event says that a Celery worker starts a step."""
    return "Executing steps " in event.message and event.message.endswith(_IN_A_CELERY_WORKER)


def step_worker_of(events: Iterable[RunEvent]) -> StepWorker:
    """Return the worker that the executor's events about a step name; OTHER if they name none."""
    named = [worker for event in events for text, worker in _STEP_WORKER_OF_TEXT.items() if text in event.message]
    if StepWorker.CELERY in named:
        return next((whole for started, whole in _STARTED_BY_CELERY.items() if started in named), StepWorker.CELERY)
    return named[-1] if named else StepWorker.OTHER
