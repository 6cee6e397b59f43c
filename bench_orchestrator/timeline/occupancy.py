"""Counts the runs or steps in progress at every instant of the event log, and finds where a limit was not kept.

Pure, in O(n log n) of the number of spans. All times are in microseconds.
"""

import heapq
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Launch
from bench_orchestrator.model.stages import Boundary
from bench_orchestrator.model.workload import Limit, Unit


@dataclass(frozen=True)
class Span:
    """The time in which a run or a step holds a slot."""

    start_us: int
    end_us: int | None
    """Exclusive; None: it has not ended."""
    run_id: str
    step: str = ""
    ready_us: int | None = None
    """Since when it waited: its run was in the queue, and the run's step before it had ended; None if unknown."""


@dataclass(frozen=True)
class Breach:
    """A limit or an order that was not kept, and the run by which."""

    run_id: str
    what: str
    """In one line."""


def spans_of(limit: Limit, launches: Iterable[Launch]) -> list[Span]:
    """Return the spans that a limit counts, in the order of their starts."""
    counted = (launch for launch in launches if limit.holds(launch.role) and launch.run_id is not None)
    spans = (span for launch in counted for span in _SPANS[limit.unit](launch))
    return sorted(spans, key=attrgetter("start_us"))


def _run(launch: Launch) -> Iterator[Span]:
    """Yield the time in which Dagster's daemon counts the run: from the moment it takes it to its end."""
    return _since(launch, Boundary.STARTING)


def _run_and_queue(launch: Launch) -> Iterator[Span]:
    """Yield the time in which the run exists and is not over."""
    return _since(launch, Boundary.CREATED)


def _since(launch: Launch, boundary: Boundary) -> Iterator[Span]:
    start_us = launch.at_us[boundary]
    if start_us is not None:
        yield Span(start_us, launch.ended_us, launch.run_id or "", ready_us=launch.at_us[Boundary.ENQUEUED])


def _steps(launch: Launch) -> Iterator[Span]:
    ready_us = launch.at_us[Boundary.ENQUEUED]
    for step in launch.steps:
        if step.started_us is not None:
            # A killed step has no end of its own.
            yield Span(step.started_us, step.ended_us or launch.ended_us, launch.run_id or "", step.key, ready_us)
            ready_us = step.ended_us


_SPANS = {Unit.RUNS: _run, Unit.RUNS_AND_QUEUED: _run_and_queue, Unit.STEPS: _steps}


def breaches(limit: Limit, launches: Iterable[Launch], raised: Sequence[tuple[int, int]] = ()) -> Iterator[Breach]:
    """Yield each run or step that started while all slots of the limit were taken.

    Args:
        raised: when the limit was raised, in order, and to how many slots.
    """
    slots, rises = limit.slots, deque(raised)
    ends: list[float] = []
    for span in spans_of(limit, launches):
        while rises and rises[0][0] <= span.start_us:
            _, slots = rises.popleft()
        while ends and ends[0] <= span.start_us:
            heapq.heappop(ends)
        if len(ends) >= slots:
            who = f"step {span.step} of run {span.run_id}" if span.step else f"run {span.run_id}"
            what = f"{limit.name} was not kept: {who} started beside {len(ends)} others under a limit of {slots}"
            yield Breach(span.run_id, what)
        heapq.heappush(ends, math.inf if span.end_us is None else span.end_us)


def empty_times_s(limit: Limit, launches: Iterable[Launch]) -> list[float]:
    """Return how long each slot stayed empty, in seconds: from the end of its holder to the start of one that waited.

    The next to start takes the slot that has been empty for longest. It counts if it already waited when that slot
    became empty; thus a run's next step does not. Nor do slots that a limit has at first, or gets when it is raised.
    """
    empty_since: list[float] = [-math.inf] * limit.slots
    ends: list[int] = []
    times_s: list[float] = []
    for span in spans_of(limit, launches):
        while ends and ends[0] <= span.start_us:
            heapq.heappush(empty_since, heapq.heappop(ends))
        since_us = heapq.heappop(empty_since) if empty_since else -math.inf
        if since_us > -math.inf and span.ready_us is not None and span.ready_us < since_us:
            times_s.append((span.start_us - since_us) / MICROSECONDS)
        if span.end_us is not None:
            heapq.heappush(ends, span.end_us)
    return times_s


def most_at_once(spans: Iterable[Span]) -> int:
    """Return how many spans there are at most at one instant. One that ends when another starts is over."""
    counts = count_over_time((span.start_us, span.end_us) for span in spans)
    return max((number for _, number in counts), default=0)


def count_over_time(spans: Iterable[tuple[int, int | None]]) -> list[tuple[int, int]]:
    """Return each instant at which the number of spans changes, in order, with the number from then on.

    Args:
        spans: the start of each, and its end, at which it is over; None if it has not ended.
    """
    by_us: Counter[int] = Counter()
    for start_us, end_us in spans:
        by_us[start_us] += 1
        if end_us is not None:
            by_us[end_us] -= 1
    instants = sorted(us for us, change in by_us.items() if change)
    return list(zip(instants, accumulate(by_us[us] for us in instants), strict=True))


def in_progress_s(spans: Sequence[Span]) -> float:
    """Return the total time of all spans that have ended, in seconds."""
    return sum(span.end_us - span.start_us for span in spans if span.end_us is not None) / MICROSECONDS
