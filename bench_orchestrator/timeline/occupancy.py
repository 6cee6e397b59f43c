"""Counts the runs or steps in progress at every instant of the event log, and finds where a limit was not kept.

Pure, in O(n log n) of the number of spans. All times are in microseconds.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

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
        yield Span(start_us, launch.ended_us, launch.run_id or "")


def _steps(launch: Launch) -> Iterator[Span]:
    for step in launch.steps:
        if step.started_us is not None:
            # A killed step has no end of its own.
            yield Span(step.started_us, step.ended_us or launch.ended_us, launch.run_id or "", step.key)


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


def most_at_once(spans: Iterable[Span]) -> int:
    """Return how many spans there are at most at one instant. One that ends when another starts is over."""
    count = most = 0
    for _, change in _changes(spans):
        count += change
        most = max(most, count)
    return most


def in_progress_s(spans: Sequence[Span]) -> float:
    """Return the total time of all spans that have ended, in seconds."""
    return sum(span.end_us - span.start_us for span in spans if span.end_us is not None) / 1_000_000


def _changes(spans: Iterable[Span]) -> list[tuple[float, int]]:
    """Return by how much the count changes at which instant, ends first."""
    changes: list[tuple[float, int]] = []
    for span in spans:
        changes.append((span.start_us, 1))
        if span.end_us is not None:
            changes.append((span.end_us, -1))
    return sorted(changes)
