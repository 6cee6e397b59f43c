"""From the events of one run to the stages of its launch: pure, exact, whoever delivers the events.

Three decisions live here, and nowhere else.

**Which events count.** The order of the log decides what came before what, because each process stamps its
events with a clock of its own. The launch is the part of the log up to the first STEP_START, and it is cut in
two at the first PIPELINE_START. A launch may take several attempts (the run is queued again, a worker dies
before it starts): the user waits from the first PIPELINE_ENQUEUED, and the stages are those of the attempt
that got through, the last. An attempt that begins takes back whatever the one before it had reached.

**What a missing instant means.** It falls together with the next one that is known: its stage reads zero, and
the time is counted in the stage before. That is no flaw for steps that run in the run worker's process, which
have no step worker to boot and load, nor for runs that never queued; anything else leaves a warning. Where no
instant before it is known either (the time of the request was not recorded), the stage stays unknown rather
than zero. The stages that a run never finished stay unknown too.

**What to do with clocks that disagree.** No stage is ever negative, and mending moves as little of the
headline as can be: the lag is STEP_START minus PIPELINE_ENQUEUED, whatever the clocks in between say;
PIPELINE_START, which divides it into queue and init time, is held between the two; every other instant is
held between its neighbours of these three. The request's clock belongs to another machine, so an instant
before the queue is pulled back to it and never pushes it. Wherever a clock steps backwards there is a
warning, so mended numbers never pass for clean ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench_orchestrator.model.runs import RunEvent
from bench_orchestrator.model.stages import QUEUE_STAGES, Boundary, Stage

_BOUNDARY_OF_TYPE: Mapping[str, Boundary] = {
    "PIPELINE_ENQUEUED": Boundary.ENQUEUED,
    "PIPELINE_STARTING": Boundary.STARTING,
    "ENGINE_EVENT": Boundary.WORKER_STARTED,
    "PIPELINE_START": Boundary.RUN_STARTED,
    "STEP_WORKER_STARTING": Boundary.STEP_WORKER_STARTING,
    "STEP_WORKER_STARTED": Boundary.STEP_WORKER_STARTED,
    "RESOURCE_INIT_STARTED": Boundary.RESOURCE_INIT_STARTED,
    "STEP_START": Boundary.STEP_STARTED,
}
_WORKER_STARTED_MESSAGE = "Started process for run"
_IN_A_POD = "in Kubernetes job"
"""What dagster-k8s' executor says where it asks for a step's worker."""
TERMINAL_TYPES = frozenset({"PIPELINE_SUCCESS", "PIPELINE_FAILURE", "PIPELINE_CANCELED"})
"""Those that end a run."""

EVENT_TYPES = frozenset(_BOUNDARY_OF_TYPE) | TERMINAL_TYPES
"""The types of event that a timeline is made of; a log stripped of all others gives the same timeline."""

_RUN_ATTEMPT = (Boundary.STARTING, Boundary.WORKER_STARTED)
_STEP_ATTEMPT = (
    Boundary.STEP_WORKER_STARTING,
    Boundary.STEP_WORKER_STARTED,
    Boundary.RESOURCE_INIT_STARTED,
)
_BEFORE_THE_LOG = (Boundary.REQUESTED, Boundary.CREATED)
_QUEUE_ENDS = frozenset(stage.end for stage in QUEUE_STAGES)


@dataclass(frozen=True)
class Timeline:
    """Where the time between the request and the first line of user code went. All times in microseconds."""

    at_us: Mapping[Boundary, int | None]
    """The instants chosen from the log, unmended; None where there is none."""
    stages_us: Mapping[Stage, int | None]
    """Contiguous durations, never negative. None where the run never finished the stage, and, before the
    queue, where no instant tells when it began."""
    queue_us: int | None
    """Enqueued to run started: the sum of QUEUE_STAGES. None if the run did not start."""
    init_us: int | None
    """Run started to the first step's start: the sum of INIT_STAGES. None if no step started."""
    lag_us: int | None
    """Queue and init time: independent of the clocks of the request and the run record."""
    time_to_code_us: int | None
    """The sum of all stages. None if no step started or the time of the request is unknown."""
    executor: str | None
    """`multiprocess` if the measured step had a worker of its own, `pods` if that was a pod, `in_process` if it
    started without one, None if it did neither."""
    ended_us: int | None
    """When the run first succeeded, failed or was canceled; None while it has not."""
    warnings: tuple[str, ...]
    """What to doubt about these numbers: missing instants, clocks that ran backwards, repeated queueing."""


def timeline(events: Sequence[RunEvent], *, requested_us: int | None, created_us: int | None) -> Timeline:
    """Read the stages of a launch off its run's log, in linear time. Any log gives a timeline; none raises.

    `events` are the run's events in log order; types not in EVENT_TYPES are ignored. `requested_us` is when
    the client sent the request, `created_us` the run record's creation, in microseconds since the epoch.

    The instants are chosen so that they belong to the launch that led to the first line of user code:

    - enqueued: the first PIPELINE_ENQUEUED before PIPELINE_START, as the user waits from there on, however
      often the run is queued again;
    - starting, worker_started: the last PIPELINE_STARTING before PIPELINE_START, and the last "Started
      process for run" after it, as an attempt that died before led to nothing;
    - run_started: the first PIPELINE_START;
    - step_worker_starting, step_worker_started, resource_init_started: likewise the last ones before
      STEP_START of the step that is first to start. In-process executors start the resources once for the
      run, with no step's key;
    - step_started: the first STEP_START. Without one, the first step of which anything is logged is measured
      instead, so that a failed run shows how far it got.
    """
    step_start = _first(events, "STEP_START")
    launch = events[:step_start]
    run_start = _first(launch, "PIPELINE_START")
    before_run, before_step = launch[:run_start], launch[run_start:]
    step_key = events[step_start].step_key if step_start is not None else _first_step(before_step)
    enqueued_us = [event.time_us for event in before_run if event.type == "PIPELINE_ENQUEUED"]

    at_us: dict[Boundary, int | None] = {
        Boundary.REQUESTED: requested_us,
        Boundary.CREATED: created_us,
        Boundary.ENQUEUED: enqueued_us[0] if enqueued_us else None,
        **_last_attempt(before_run, _RUN_ATTEMPT),
        Boundary.RUN_STARTED: launch[run_start].time_us if run_start is not None else None,
        **_last_attempt([event for event in before_step if _concerns(event, step_key)], _STEP_ATTEMPT),
        Boundary.STEP_STARTED: events[step_start].time_us if step_start is not None else None,
    }
    warnings = [*_missing_instants(at_us), *_backward_clocks(at_us)]
    if len(enqueued_us) > 1:
        warnings.append(f"the run was enqueued {len(enqueued_us)} times: queue time counts from the first")

    mended_us = _filled(_mended(at_us))
    lag_us = _elapsed_us(mended_us, Boundary.ENQUEUED, Boundary.STEP_STARTED)
    return Timeline(
        at_us=at_us,
        stages_us={stage: _elapsed_us(mended_us, stage.start, stage.end) for stage in Stage},
        queue_us=_elapsed_us(mended_us, Boundary.ENQUEUED, Boundary.RUN_STARTED),
        init_us=_elapsed_us(mended_us, Boundary.RUN_STARTED, Boundary.STEP_STARTED),
        lag_us=lag_us,
        time_to_code_us=_elapsed_us(mended_us, Boundary.REQUESTED, Boundary.STEP_STARTED),
        executor=_executor(at_us, before_step),
        ended_us=_ended_us(events),
        warnings=tuple(warnings),
    )


def _ended_us(events: Sequence[RunEvent]) -> int | None:
    """The first of its ends; but its success, where it was taken for dead before."""
    ends = (event for event in events if event.type in TERMINAL_TYPES)
    end = min(ends, key=lambda event: event.type != "PIPELINE_SUCCESS", default=None)
    return end.time_us if end else None


def _first(events: Sequence[RunEvent], event_type: str) -> int | None:
    return next((index for index, event in enumerate(events) if event.type == event_type), None)


def _boundary(event: RunEvent) -> Boundary | None:
    """The instant that an event marks; of all the engine's events only one does."""
    if event.type == "ENGINE_EVENT" and not event.message.startswith(_WORKER_STARTED_MESSAGE):
        return None
    return _BOUNDARY_OF_TYPE.get(event.type)


def _first_step(events: Sequence[RunEvent]) -> str | None:
    """The first step that has got anywhere."""
    return next((event.step_key for event in events if event.step_key and _boundary(event) in _STEP_ATTEMPT), None)


def _concerns(event: RunEvent, step_key: str | None) -> bool:
    return event.step_key == step_key or (event.step_key is None and event.type == "RESOURCE_INIT_STARTED")


def _last_attempt(events: Sequence[RunEvent], boundaries: Sequence[Boundary]) -> dict[Boundary, int | None]:
    """The instants of the last pass through `boundaries`: reaching one again undoes those after it."""
    reached_us: dict[Boundary, int | None] = dict.fromkeys(boundaries)
    for event in events:
        boundary = _boundary(event)
        if boundary in reached_us:
            reached_us |= dict.fromkeys(boundaries[boundaries.index(boundary) :])
            reached_us[boundary] = event.time_us
    return reached_us


def _executor(at_us: Mapping[Boundary, int | None], before_step: Sequence[RunEvent]) -> str | None:
    if _has_step_worker(at_us):
        pods = any(event.type == "STEP_WORKER_STARTING" and _IN_A_POD in event.message for event in before_step)
        return "pods" if pods else "multiprocess"
    return "in_process" if at_us[Boundary.STEP_STARTED] is not None else None


def _has_step_worker(at_us: Mapping[Boundary, int | None]) -> bool:
    return at_us[Boundary.STEP_WORKER_STARTING] is not None or at_us[Boundary.STEP_WORKER_STARTED] is not None


def _missing_instants(at_us: Mapping[Boundary, int | None]) -> Iterator[str]:
    """A warning for each instant that should be known, as a later one is, and where its time is counted."""
    normal = {Boundary.ENQUEUED}
    if not _has_step_worker(at_us):
        normal |= {Boundary.STEP_WORKER_STARTING, Boundary.STEP_WORKER_STARTED}
    reached = max((position for position, b in enumerate(Boundary) if at_us[b] is not None), default=0)
    absorber: Stage | None = None
    for stage in tuple(Stage)[:reached]:
        if at_us[stage.start] is not None:
            absorber = stage
        elif stage.start not in normal:
            where = f"counted as {absorber.label}" if absorber else "not counted"
            yield f"{stage.start} is not known: {stage.label} is {where}"


def _backward_clocks(at_us: Mapping[Boundary, int | None]) -> Iterator[str]:
    """A warning for each place where a known instant is before the known one that it follows."""
    known = list(_known(at_us).items())
    for (earlier, earlier_us), (later, later_us) in pairwise(known):
        if later_us < earlier_us:
            yield f"clocks disagree: {later} is {(earlier_us - later_us) / 1000:,.3f} ms before {earlier}"


def _known(at_us: Mapping[Boundary, int | None]) -> dict[Boundary, int]:
    return {boundary: us for boundary in Boundary if (us := at_us[boundary]) is not None}


def _mended(at_us: Mapping[Boundary, int | None]) -> dict[Boundary, int]:
    """The known instants, moved by the module's rule so that none is before its predecessor."""
    known = _known(at_us)
    in_log = [boundary for boundary in known if boundary not in _BEFORE_THE_LOG]
    latest_us = max(known.values(), default=0)
    begin_us = known[in_log[0]] if in_log else latest_us
    end_us = max(begin_us, known.get(Boundary.STEP_STARTED, latest_us))
    run_started_us = min(max(begin_us, known.get(Boundary.RUN_STARTED, end_us)), end_us)

    mended: dict[Boundary, int] = {}
    floor_us = begin_us
    for boundary in in_log:
        ceiling_us = run_started_us if boundary in _QUEUE_ENDS else end_us
        floor_us = mended[boundary] = min(max(known[boundary], floor_us), ceiling_us)
    ceiling_us = begin_us
    for boundary in reversed(_BEFORE_THE_LOG):
        if boundary in known:
            ceiling_us = mended[boundary] = min(known[boundary], ceiling_us)
    return mended


def _filled(known_us: Mapping[Boundary, int]) -> dict[Boundary, int]:
    """The instants with each missing one put at the next known one.

    Before the log, an instant is only put in where one before it is known: with none, no stage would hold its
    time.
    """
    filled: dict[Boundary, int] = {}
    following_us: int | None = None
    for boundary in reversed(Boundary):
        following_us = known_us.get(boundary, following_us)
        if following_us is not None:
            filled[boundary] = following_us
    for boundary in _BEFORE_THE_LOG:
        if boundary in known_us:
            break
        filled.pop(boundary, None)
    return filled


def _elapsed_us(at_us: Mapping[Boundary, int], start: Boundary, end: Boundary) -> int | None:
    return at_us[end] - at_us[start] if start in at_us and end in at_us else None
