"""Turns the events of one run into the stages of its launch: pure and exact, for any source of events.

Three decisions are made here and nowhere else.

**Which events count.** The order of the log decides what came first, because each process stamps its events with its
own clock. The launch is the part of the log up to the first start of a step. The first PIPELINE_START divides it in
two. A launch may take several attempts: the run is queued again, or a worker dies before it starts. The user waits from
the first PIPELINE_ENQUEUED, but the stages are those of the last attempt, which succeeded. An attempt that begins
discards the instants of the one before it. A step whose first attempt died early starts with STEP_RESTARTED.

**What a missing instant means.** It takes the value of the next known instant: its stage is zero, and the time counts
in the stage before. That is correct for steps in the run worker's process, which boot and load no step worker, for
runs that never queued, and for runs that the process that created them executes. All other cases produce a warning. If
no earlier instant is known (most requests are not recorded), the stage is unknown rather than zero. Stages that a run
never finished are unknown too.

**How to resolve clocks that disagree.** No stage is ever negative, and corrections change the headline as little as
possible. The lag is always the step's start minus PIPELINE_ENQUEUED. PIPELINE_START, which divides it into queue and
init time, is clamped between the two. Every other instant is clamped between its neighbours among these three. The
request's clock is on another machine: an instant before the queue is moved back to the queue and never moves it. Every
backward step of a clock produces a warning, so corrected numbers never pass for clean ones. A request more than a day
away from the run's creation is not counted: the tag was copied from another run, or the daemon was away.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.runs import RunEvent
from bench_orchestrator.model.stages import QUEUE_STAGES, Boundary, Origin, Stage, StepWorker
from bench_orchestrator.timeline.workers import (
    WORKER_STARTED_MESSAGE,
    is_in_celery_worker,
    requests_celery_worker,
    step_worker_of,
)

STEP_STARTS = frozenset({"STEP_START", "STEP_RESTARTED"})
"""The event types that start a step; the latter alone if its first attempt died before it started."""

_BOUNDARY_OF_TYPE: Mapping[str, Boundary] = {
    "PIPELINE_ENQUEUED": Boundary.ENQUEUED,
    "PIPELINE_STARTING": Boundary.STARTING,
    "PIPELINE_START": Boundary.RUN_STARTED,
    "STEP_WORKER_STARTING": Boundary.STEP_WORKER_STARTING,
    "STEP_WORKER_STARTED": Boundary.STEP_WORKER_STARTED,
    "RESOURCE_INIT_STARTED": Boundary.RESOURCE_INIT_STARTED,
    **dict.fromkeys(STEP_STARTS, Boundary.STEP_STARTED),
}
TERMINAL_TYPES = frozenset({"PIPELINE_SUCCESS", "PIPELINE_FAILURE", "PIPELINE_CANCELED"})
"""The event types that end a run."""

EVENT_TYPES = frozenset(_BOUNDARY_OF_TYPE) | TERMINAL_TYPES | {"ENGINE_EVENT"}
"""The event types that affect a timeline; without all others, a log gives the same timeline."""

_RUN_ATTEMPT = (Boundary.STARTING, Boundary.WORKER_STARTED)
_STEP_ATTEMPT = (
    Boundary.STEP_WORKER_STARTING,
    Boundary.STEP_WORKER_STARTED,
    Boundary.RESOURCE_INIT_STARTED,
)
_BEFORE_THE_LOG = (Boundary.REQUESTED, Boundary.CREATED)
_QUEUE_ENDS = frozenset(stage.end for stage in QUEUE_STAGES)
_STEP_WORKER = frozenset({Boundary.STEP_WORKER_STARTING, Boundary.STEP_WORKER_STARTED})
_WORKER_EVENTS = frozenset({"ENGINE_EVENT", "STEP_WORKER_STARTING", "STEP_WORKER_STARTED"})

_HOUR_US = 60 * 60 * MICROSECONDS
_FARTHEST_REQUEST_US = 24 * _HOUR_US
"""The maximum distance of a request from its run's creation; one farther away belongs to another run."""


@dataclass(frozen=True)
class Timeline:
    """Where the time between the request and the first line of user code went. All times in microseconds."""

    at_us: Mapping[Boundary, int | None]
    """The instants chosen from the log, uncorrected; None if missing."""
    stages_us: Mapping[Stage, int | None]
    """Contiguous durations, never negative. None if the run never finished the stage, or, before the queue, if no
    instant marks its beginning."""
    queue_us: int | None
    """Enqueued to run started: the sum of QUEUE_STAGES. None if the run did not start."""
    init_us: int | None
    """Run started to the first step's start: the sum of INIT_STAGES. None if no step started."""
    lag_us: int | None
    """Queue plus init time: independent of the clocks of the request and the run record."""
    time_to_code_us: int | None
    """The sum of all stages. None if no step started or the time of the request is unknown."""
    executor: StepWorker | None
    """The worker of the measured step; IN_PROCESS if it started without one of its own, None if it had neither."""
    ended_us: int | None
    """When the run first succeeded, failed or was canceled; None until then."""
    warnings: tuple[str, ...]
    """Why these numbers may be wrong: missing instants, clocks that ran backwards, repeated queueing."""


def timeline(
    events: Sequence[RunEvent],
    *,
    requested_us: int | None,
    created_us: int | None,
    origin: Origin = Origin.REQUEST,
) -> Timeline:
    """Compute the stages of a launch from its run's log, in linear time. Accepts any log; raises nothing.

    The instants are those of the attempt that led to the first line of user code:

    - enqueued: the first PIPELINE_ENQUEUED before PIPELINE_START, since the user waits from there, even if the
      run is queued again;
    - starting, worker_started: the last PIPELINE_STARTING before PIPELINE_START, and the last "Started process for run"
      after it, since earlier attempts died;
    - run_started: the first PIPELINE_START;
    - step_worker_starting, step_worker_started, resource_init_started: likewise the last ones before the first step to
      start does. In-process executors start the resources once for the run, without a step key;
    - step_started: the first of STEP_STARTS. Without one, the first step with any event is measured instead, so
      that a failed run shows how far it got.

    Args:
        events: the run's events in log order; types not in EVENT_TYPES are ignored.
        requested_us: when the run was asked for, in microseconds since the epoch; None if unknown.
        created_us: when the run record was created, likewise.
        origin: what asked for it.
    """
    step_start = _first(events, STEP_STARTS)
    launch = events[:step_start]
    run_start = _first(launch, {"PIPELINE_START"})
    before_run, before_step = launch[:run_start], launch[run_start:]
    step_key = events[step_start].step_key if step_start is not None else _first_step(before_step)
    of_step = [event for event in before_step if _concerns(event, step_key)]
    enqueued_us = [event.time_us for event in before_run if event.type == "PIPELINE_ENQUEUED"]
    mistaken = list(_far_request(origin, requested_us, created_us))

    at_us: dict[Boundary, int | None] = {
        Boundary.REQUESTED: None if mistaken else requested_us,
        Boundary.CREATED: created_us,
        # A run that is queued again waits: its last attempt is over.
        **_last_attempt(before_run, (Boundary.ENQUEUED, *_RUN_ATTEMPT)),
        Boundary.ENQUEUED: enqueued_us[0] if enqueued_us else None,
        Boundary.RUN_STARTED: launch[run_start].time_us if run_start is not None else None,
        **_last_attempt(of_step, _STEP_ATTEMPT),
        Boundary.STEP_STARTED: events[step_start].time_us if step_start is not None else None,
    }
    warnings = [*mistaken, *_missing_instants(at_us), *_backward_clocks(at_us)]
    if len(enqueued_us) > 1:
        warnings.append(f"the run was enqueued {len(enqueued_us)} times: queue time counts from the first")
    if step_start is not None and events[step_start].type == "STEP_RESTARTED":
        warnings.append(f"{step_key} was retried: its first attempt ended before STEP_START; timed to the retry")

    clamped_us = _filled(_clamped(at_us))
    lag_us = _elapsed_us(clamped_us, Boundary.ENQUEUED, Boundary.STEP_STARTED)
    return Timeline(
        at_us=at_us,
        stages_us={stage: _elapsed_us(clamped_us, stage.start, stage.end) for stage in Stage},
        queue_us=_elapsed_us(clamped_us, Boundary.ENQUEUED, Boundary.RUN_STARTED),
        init_us=_elapsed_us(clamped_us, Boundary.RUN_STARTED, Boundary.STEP_STARTED),
        lag_us=lag_us,
        time_to_code_us=_elapsed_us(clamped_us, Boundary.REQUESTED, Boundary.STEP_STARTED),
        executor=_executor(at_us, of_step),
        ended_us=_ended_us(events),
        warnings=tuple(warnings),
    )


def _ended_us(events: Sequence[RunEvent]) -> int | None:
    """Return the first end of the run; its success takes precedence, if the run was presumed dead earlier."""
    ends = (event for event in events if event.type in TERMINAL_TYPES)
    end = min(ends, key=lambda event: event.type != "PIPELINE_SUCCESS", default=None)
    return end.time_us if end else None


def _first(events: Sequence[RunEvent], event_types: Container[str]) -> int | None:
    return next((index for index, event in enumerate(events) if event.type in event_types), None)


def boundary_of(event: RunEvent) -> Boundary | None:
    """Return the instant that an event marks; few of the engine events mark any."""
    if event.type != "ENGINE_EVENT":
        return _BOUNDARY_OF_TYPE.get(event.type)
    if event.message.startswith(WORKER_STARTED_MESSAGE):
        return Boundary.WORKER_STARTED
    if requests_celery_worker(event):
        return Boundary.STEP_WORKER_STARTING
    return Boundary.STEP_WORKER_STARTED if is_in_celery_worker(event) else None


def _far_request(origin: Origin, requested_us: int | None, created_us: int | None) -> Iterator[str]:
    """Yield a warning if the request is too far from the run's creation to be a part of its launch."""
    apart_us = 0 if requested_us is None or created_us is None else created_us - requested_us
    if abs(apart_us) > _FARTHEST_REQUEST_US:
        where = f"{abs(apart_us) / _HOUR_US:,.0f} h {'before' if apart_us > 0 else 'after'} the run's creation"
        yield f"{origin.instant} is {where}: it is not counted"


def _first_step(events: Sequence[RunEvent]) -> str | None:
    """Return the first step with any event."""
    return next((event.step_key for event in events if event.step_key and boundary_of(event) in _STEP_ATTEMPT), None)


def _concerns(event: RunEvent, step_key: str | None) -> bool:
    return event.step_key == step_key or (event.step_key is None and event.type == "RESOURCE_INIT_STARTED")


def _last_attempt(events: Sequence[RunEvent], boundaries: Sequence[Boundary]) -> dict[Boundary, int | None]:
    """Return the instants of the last pass through `boundaries`: reaching one again discards those after it."""
    reached_us: dict[Boundary, int | None] = dict.fromkeys(boundaries)
    for event in events:
        boundary = boundary_of(event)
        if boundary in reached_us:
            reached_us |= dict.fromkeys(boundaries[boundaries.index(boundary) :])
            reached_us[boundary] = event.time_us
    return reached_us


def _executor(at_us: Mapping[Boundary, int | None], of_step: Sequence[RunEvent]) -> StepWorker | None:
    if _has(at_us, _STEP_WORKER):
        return step_worker_of(event for event in of_step if event.type in _WORKER_EVENTS)
    return StepWorker.IN_PROCESS if at_us[Boundary.STEP_STARTED] is not None else None


def _has(at_us: Mapping[Boundary, int | None], boundaries: Iterable[Boundary]) -> bool:
    return any(at_us[boundary] is not None for boundary in boundaries)


def _missing_instants(at_us: Mapping[Boundary, int | None]) -> Iterator[str]:
    """Yield a warning for each missing instant that precedes a known one, with the stage that includes its time."""
    normal = {Boundary.REQUESTED, Boundary.ENQUEUED}
    if not _has(at_us, _STEP_WORKER):
        normal |= _STEP_WORKER
    if not _has(at_us, (Boundary.ENQUEUED, *_RUN_ATTEMPT)):  # executed by the process that created it
        normal |= set(_RUN_ATTEMPT)
    reached = max((position for position, b in enumerate(Boundary) if at_us[b] is not None), default=0)
    absorber: Stage | None = None
    for stage in tuple(Stage)[:reached]:
        if at_us[stage.start] is not None:
            absorber = stage
        elif stage.start not in normal:
            where = f"counted as {absorber.label}" if absorber else "not counted"
            yield f"{stage.start} is not known: {stage.label} is {where}"


def _backward_clocks(at_us: Mapping[Boundary, int | None]) -> Iterator[str]:
    """Yield a warning for each known instant that is earlier than its known predecessor."""
    known = list(_known(at_us).items())
    for (earlier, earlier_us), (later, later_us) in pairwise(known):
        if later_us < earlier_us:
            yield f"clocks disagree: {later} is {(earlier_us - later_us) / 1000:,.3f} ms before {earlier}"


def _known(at_us: Mapping[Boundary, int | None]) -> dict[Boundary, int]:
    return {boundary: us for boundary in Boundary if (us := at_us[boundary]) is not None}


def _clamped(at_us: Mapping[Boundary, int | None]) -> dict[Boundary, int]:
    """Return the known instants, clamped by the module's rules so that none is before its predecessor."""
    known = _known(at_us)
    in_log = [boundary for boundary in known if boundary not in _BEFORE_THE_LOG]
    latest_us = max(known.values(), default=0)
    begin_us = known[in_log[0]] if in_log else latest_us
    end_us = max(begin_us, known.get(Boundary.STEP_STARTED, latest_us))
    run_started_us = min(max(begin_us, known.get(Boundary.RUN_STARTED, end_us)), end_us)

    clamped: dict[Boundary, int] = {}
    floor_us = begin_us
    for boundary in in_log:
        ceiling_us = run_started_us if boundary in _QUEUE_ENDS else end_us
        floor_us = clamped[boundary] = min(max(known[boundary], floor_us), ceiling_us)
    ceiling_us = begin_us
    for boundary in reversed(_BEFORE_THE_LOG):
        if boundary in known:
            ceiling_us = clamped[boundary] = min(known[boundary], ceiling_us)
    return clamped


def _filled(known_us: Mapping[Boundary, int]) -> dict[Boundary, int]:
    """Set each missing instant to the next known one.

    Before the log, this requires an earlier known instant: without one, no stage would include its time.
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
