"""Hand-made deployments as `bench doctor` reads them. Times are in seconds from `BEGIN_US`."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

from samples import CREATED_US

from bench_orchestrator.model.deployment_reading import (
    Contents,
    DeploymentReading,
    InstanceSettings,
    QueueState,
    ReadLocation,
    ReadRun,
)
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.run_queue import QueuedRun, RunLimits
from bench_orchestrator.model.runs import Run, RunError, RunEvent, RunStatus
from bench_orchestrator.model.story import Story
from bench_orchestrator.timeline.story import StoryFold

BEGIN_US = CREATED_US
"""2026-07-14 09:30 in UTC."""

_IN_PROCESS: Mapping[str, str] = {}
_MULTIPROCESS = {"STEP_WORKER_STARTING": 'Launching subprocess for "a".', "STEP_WORKER_STARTED": "in subprocess"}
PODS = {
    "ENGINE_EVENT": "[K8sRunLauncher] Creating Kubernetes run worker job",
    "STEP_WORKER_STARTING": 'Executing step "a" in Kubernetes job dagster-step-1.',
}

_numbers = count(1)


def at(seconds: float) -> int:
    """Return an instant in microseconds since the epoch."""
    return BEGIN_US + round(seconds * MICROSECONDS)


def event(kind: str, at_s: float, step: str | None = None, message: str = "", error: str = "") -> RunEvent:
    """Return an event."""
    return RunEvent(kind, at(at_s), step, message, error=RunError(error) if error else None)


def launch_events(
    at_s: float = 0.0,
    *,
    plan: float = 0.1,
    wait: float = 2.0,
    boot: float = 0.5,
    load: float = 0.2,
    start: float = 0.1,
    step_boot: float = 0.5,
    step_load: float = 0.2,
    init: float = 0.1,
    work: float = 5.0,
    planned: Sequence[tuple[str, str]] = (("a", "a"),),
    workers: Mapping[str, str] = _MULTIPROCESS,
    between: Iterable[RunEvent] = (),
) -> list[RunEvent]:
    """Return the events of a run that succeeds, with these seconds of each stage.

    Args:
        planned: the step and the asset of each planned event.
        between: further events after the step's start.
    """
    events = [event("ASSET_MATERIALIZATION_PLANNED", at_s, step, f"job intends to {asset}") for step, asset in planned]
    at_s += plan
    events.append(event("PIPELINE_ENQUEUED", at_s))
    at_s += wait
    events.append(event("PIPELINE_STARTING", at_s))
    if "ENGINE_EVENT" in workers:
        events.append(event("ENGINE_EVENT", at_s, message=workers["ENGINE_EVENT"]))
    at_s += boot
    events.append(event("ENGINE_EVENT", at_s, message="Started process for run (pid: 7)."))
    at_s += load
    events.append(event("PIPELINE_START", at_s))
    at_s += start
    if "STEP_WORKER_STARTING" in workers:
        events.append(event("STEP_WORKER_STARTING", at_s, "a", workers["STEP_WORKER_STARTING"]))
        at_s += step_boot
        events.append(event("STEP_WORKER_STARTED", at_s, "a", workers.get("STEP_WORKER_STARTED", "")))
        at_s += step_load
    events.append(event("RESOURCE_INIT_STARTED", at_s, "a"))
    at_s += init
    events.append(event("STEP_START", at_s, "a"))
    events += between
    at_s += work
    return [*events, event("STEP_SUCCESS", at_s, "a"), event("PIPELINE_SUCCESS", at_s)]


def story_of(events: Iterable[RunEvent]) -> Story:
    """Return what these events tell."""
    fold = StoryFold()
    for one in events:
        fold.take(one)
    return fold.story()


def read_run(
    at_s: float = 0.0,
    *,
    location: str = "sales",
    job: str = "nightly",
    tags: Mapping[str, str] | None = None,
    run_id: str = "",
    read: bool = True,
    status: RunStatus = RunStatus.SUCCESS,
    **launch: Any,
) -> ReadRun:
    """Return a run that was created then, with the events of such a launch."""
    events = launch_events(at_s, **launch)
    started = next(one.time_us for one in events if one.type == "PIPELINE_START")
    run = Run(
        run_id or f"run-{next(_numbers):05d}", status, job, dict(tags or {}), at(at_s), events[-1].time_us, started
    )
    return ReadRun(run, location, story_of(events) if read else None)


def queued_run(run_id: str, since_s: float, status: RunStatus = RunStatus.QUEUED, **known: Any) -> QueuedRun:
    """Return a run as the queue counts it."""
    return QueuedRun(run_id, "nightly", status, known.pop("tags", {}), at(since_s), **known)


def make_reading(*runs: ReadRun, at_s: float = 3_600.0, **known: Any) -> DeploymentReading:
    """Return a healthy deployment with the location `sales` and these runs, unless told otherwise."""
    told: dict[str, Any] = {
        "locations": (ReadLocation("sales", "loaded", contents=Contents(2_000, 10, 365, 3, 4, 40)),),
        "settings": InstanceSettings("DefaultRunLauncher", "QueuedRunCoordinator", 5.0, shown=True),
        "queue": QueueState(RunLimits(10)),
        "version": "1.13.27",
        "budget_s": 120.0,
        **known,
    }
    in_order = sorted(runs, key=lambda one: (one.run.created_us, one.run.run_id))
    return DeploymentReading("http://127.0.0.1:3000", at(at_s), runs=tuple(in_order), **told)
