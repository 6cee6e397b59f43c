"""Batches of a run that takes each through the same stages: what is in flight, when the first is loaded, inversions.

Pure, in O(n log n) of the number of steps. All times are in microseconds.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from bench_orchestrator.model.launch import Launch
from bench_orchestrator.model.runs import StepSpan
from bench_orchestrator.timeline.occupancy import Span

LOAD = "load"
"""The last stage of every batch."""

_STEP = re.compile(r"(?P<stage>.+)(?:\[(?P<mapped>batch_\d+)\]|_(?P<batch>batch_\d+))")


def split_step(key: str) -> tuple[str, str]:
    """Return a step's stage and batch: both of `load[batch_03]` and `load_batch_03` are `load` and `batch_03`.

    The batch of any other step is empty.
    """
    found = _STEP.fullmatch(key)
    return (found["stage"], found["mapped"] or found["batch"]) if found else (key, "")


def chains(launch: Launch) -> Mapping[str, Sequence[StepSpan]]:
    """Return the steps of each batch that an executor has begun, in the order of their beginnings."""
    found: defaultdict[str, list[StepSpan]] = defaultdict(list)
    begun = (step for step in launch.steps if _begun_us(step) is not None)
    for step in sorted(begun, key=lambda step: _begun_us(step) or 0):
        _, batch = split_step(step.key)
        if batch:
            found[batch].append(step)
    return found


def flights(launch: Launch) -> list[Span]:
    """Return the time in which each batch is in flight: from the start of its first step to the end of its load."""
    return [
        Span(steps[0].started_us, steps[-1].ended_us if _is_load(steps[-1]) else None, launch.run_id or "", batch)
        for batch, steps in chains(launch).items()
        if steps[0].started_us is not None
    ]


def first_load_us(launch: Launch) -> int | None:
    """Return when the first batch was loaded; None if none was."""
    return min((step.ended_us for step in launch.steps if _is_load(step) and step.ended_us is not None), default=None)


def inversions(launch: Launch) -> int:
    """Count the steps that were begun although a step of a later stage, of another batch, was ready and waited.

    A step is begun when the executor begins to start its process, or without one, when it starts. It is ready from the
    end of its batch's stage before it. An executor hears of that end milliseconds later: a step that it begins
    meanwhile counts, too.
    """
    # At one instant: ends before beginnings, later stages first.
    changes: list[tuple[int, bool, int]] = []
    for steps in chains(launch).values():
        for stage, step in enumerate(steps):
            ready_us, begun_us = steps[stage - 1].ended_us if stage else None, _begun_us(step)
            if ready_us is not None:
                changes.append((ready_us, False, -stage))
            if begun_us is not None:
                changes.append((begun_us, True, -stage))
    count, waiting = 0, Counter[int]()
    for _, begins, negated in sorted(changes):
        if not begins:
            waiting[-negated] += 1
            continue
        waiting[-negated] -= 1
        count += any(number > 0 for stage, number in waiting.items() if stage > -negated)
    return count


def _begun_us(step: StepSpan) -> int | None:
    return step.started_us if step.launched_us is None else step.launched_us


def _is_load(step: StepSpan) -> bool:
    stage, batch = split_step(step.key)
    return stage == LOAD and bool(batch)
