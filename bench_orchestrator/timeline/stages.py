"""Turns the events of one run into the stages of its launch: pure and exact, for any source of events.

Three decisions are made here and nowhere else.

**Which events count.** The order of the log decides what came first, because each process stamps its events with its
own clock. The launch is the part of the log up to the first STEP_START. The first PIPELINE_START divides it in two. A
launch may take several attempts: the run is queued again, or a worker dies before it starts. The user waits from the
first PIPELINE_ENQUEUED, but the stages are those of the last attempt, which succeeded. An attempt that begins
discards the instants of the one before it.

**What a missing instant means.** It takes the value of the next known instant: its stage is zero, and the time counts
in the stage before. That is correct for steps in the run worker's process, which boot and load no step worker, and
for runs that never queued. All other cases produce a warning. If no earlier instant is known (the time of the request
was not recorded), the stage is unknown rather than zero. Stages that a run never finished are unknown too.

**How to resolve clocks that disagree.** No stage is ever negative, and corrections change the headline as little as
possible. The lag is always STEP_START minus PIPELINE_ENQUEUED. PIPELINE_START, which divides it into queue and init
time, is clamped between the two. Every other instant is clamped between its neighbours among these three. The
request's clock is on another machine: an instant before the queue is moved back to the queue and never moves it. Every
backward step of a clock produces a warning, so corrected numbers never pass for clean ones.
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
"""What dagster-k8s' executor logs when it requests a step's worker."""
TERMINAL_TYPES = frozenset({"PIPELINE_SUCCESS", "PIPELINE_FAILURE", "PIPELINE_CANCELED"})
"""The event types that end a run."""

EVENT_TYPES = frozenset(_BOUNDARY_OF_TYPE) | TERMINAL_TYPES
"""The event types that affect a timeline; without all others, a log gives the same timeline."""

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
    executor: str | None
    """`multiprocess` if the measured step had its own worker, `pods` if that was a pod, `in_process` if it started
    without one, None if it had neither."""
    ended_us: int | None
    """When the run first succeeded, failed or was canceled; None until then."""
    warnings: tuple[str, ...]
    """Why these numbers may be wrong: missing instants, clocks that ran backwards, repeated queueing."""


def timeline(events: Sequence[RunEvent], *, requested_us: int | None, created_us: int | None) -> Timeline:
    """Compute the stages of a launch from its run's log, in linear time. Accepts any log; raises nothing.

    The instants are those of the attempt that led to the first line of user code:

    - enqueued: the first PIPELINE_ENQUEUED before PIPELINE_START, since the user waits from there, even if the
      run is queued again;
    - starting, worker_started: the last PIPELINE_STARTING before PIPELINE_START, and the last "Started process for run"
      after it, since earlier attempts died;
    - run_started: the first PIPELINE_START;
    - step_worker_starting, step_worker_started, resource_init_started: likewise the last ones before the STEP_START of
      the first step to start. In-process executors start the resources once for the run, without a step key;
    - step_started: the first STEP_START. Without one, the first step with any event is measured instead, so
      that a failed run shows how far it got.

    Args:
        events: the run's events in log order; types not in EVENT_TYPES are ignored.
        requested_us: when the client sent the request, in microseconds since the epoch; None if unknown.
        created_us: when the run record was created, likewise.
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
        # A run that is queued again waits: its last attempt is over.
        **_last_attempt(before_run, (Boundary.ENQUEUED, *_RUN_ATTEMPT)),
        Boundary.ENQUEUED: enqueued_us[0] if enqueued_us else None,
        Boundary.RUN_STARTED: launch[run_start].time_us if run_start is not None else None,
        **_last_attempt([event for event in before_step if _concerns(event, step_key)], _STEP_ATTEMPT),
        Boundary.STEP_STARTED: events[step_start].time_us if step_start is not None else None,
    }
    warnings = [*_missing_instants(at_us), *_backward_clocks(at_us)]
    if len(enqueued_us) > 1:
        warnings.append(f"the run was enqueued {len(enqueued_us)} times: queue time counts from the first")

    clamped_us = _filled(_clamped(at_us))
    lag_us = _elapsed_us(clamped_us, Boundary.ENQUEUED, Boundary.STEP_STARTED)
    return Timeline(
        at_us=at_us,
        stages_us={stage: _elapsed_us(clamped_us, stage.start, stage.end) for stage in Stage},
        queue_us=_elapsed_us(clamped_us, Boundary.ENQUEUED, Boundary.RUN_STARTED),
        init_us=_elapsed_us(clamped_us, Boundary.RUN_STARTED, Boundary.STEP_STARTED),
        lag_us=lag_us,
        time_to_code_us=_elapsed_us(clamped_us, Boundary.REQUESTED, Boundary.STEP_STARTED),
        executor=_executor(at_us, before_step),
        ended_us=_ended_us(events),
        warnings=tuple(warnings),
    )


def _ended_us(events: Sequence[RunEvent]) -> int | None:
    """Return the first end of the run; its success takes precedence, if the run was presumed dead earlier."""
    ends = (event for event in events if event.type in TERMINAL_TYPES)
    end = min(ends, key=lambda event: event.type != "PIPELINE_SUCCESS", default=None)
    return end.time_us if end else None


def _first(events: Sequence[RunEvent], event_type: str) -> int | None:
    return next((index for index, event in enumerate(events) if event.type == event_type), None)


def _boundary(event: RunEvent) -> Boundary | None:
    """Return the instant that an event marks; only one of the engine events marks any."""
    if event.type == "ENGINE_EVENT" and not event.message.startswith(_WORKER_STARTED_MESSAGE):
        return None
    return _BOUNDARY_OF_TYPE.get(event.type)


def _first_step(events: Sequence[RunEvent]) -> str | None:
    """Return the first step with any event."""
    return next((event.step_key for event in events if event.step_key and _boundary(event) in _STEP_ATTEMPT), None)


def _concerns(event: RunEvent, step_key: str | None) -> bool:
    return event.step_key == step_key or (event.step_key is None and event.type == "RESOURCE_INIT_STARTED")


def _last_attempt(events: Sequence[RunEvent], boundaries: Sequence[Boundary]) -> dict[Boundary, int | None]:
    """Return the instants of the last pass through `boundaries`: reaching one again discards those after it."""
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
    """Yield a warning for each missing instant that precedes a known one, with the stage that includes its time."""
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
