"""Lays out runs, or the steps of runs, as a Gantt chart. Pure; its texts are legible.

Instants are those of the event log, uncorrected; none precedes the one before it in its row.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from bench_orchestrator.analysis.wording import describe_outcome
from bench_orchestrator.model.errors import one_line
from bench_orchestrator.model.launch import OUTCOMES, Launch, Outcome
from bench_orchestrator.model.runs import StepSpan
from bench_orchestrator.model.stages import Boundary
from bench_orchestrator.model.text import legible
from bench_orchestrator.timeline.occupancy import count_over_time
from bench_orchestrator.waterfall.gantt import ID_LETTERS, ChartedRun, Curve, Gantt, Panel, Phase, Row, Segment, Unit
from bench_orchestrator.waterfall.layout import UnknownLaunchError

MOST_PANELS = 6
"""Maximum runs whose steps are shown at once."""

_MAPPED = re.compile(r"(?P<group>.+)\[(?P<batch>[^\[\]]+)\]")
"""A step key with its dynamic mapping key."""

_TAKEN = (
    Boundary.STARTING,
    Boundary.WORKER_STARTED,
    Boundary.RUN_STARTED,
    Boundary.STEP_WORKER_STARTING,
    Boundary.STEP_WORKER_STARTED,
    Boundary.RESOURCE_INIT_STARTED,
)
"""The instants that show that a run has left the queue; the first known one counts."""

_IN_PROGRESS: Mapping[Unit, tuple[Phase, ...]] = {
    Unit.RUNS: (Phase.STARTING, Phase.RUNNING),
    Unit.STEPS: (Phase.RUNNING,),
}
"""The phases that count as in progress: as Dagster's limits of runs, and of pools of steps, count them."""


def by_mapping_key(step_key: str) -> tuple[str, str]:
    """Split a step key into its group and its batch, which is its dynamic mapping key: `load[b3]` -> `load`, `b3`.

    The batch of any other step is empty.
    """
    found = _MAPPED.fullmatch(step_key)
    return (found["group"], found["batch"]) if found else (step_key, "")


def gantt_of(runs: Sequence[ChartedRun], *, steps: bool = False) -> Gantt:
    """Return the chart of the runs; if `steps`, that of their steps, with a panel for each run.

    Of one run it is that of its steps in any case, if it has launched any.

    Raises UnknownLaunchError if there is nothing to draw, or if there would be more than MOST_PANELS.
    """
    shared = shared_environment([run.environment for run in runs])
    if not steps and not (len(runs) == 1 and runs[0].launch.steps):
        return Gantt(Unit.RUNS, (run_panel(runs),), shared)
    if len(runs) > MOST_PANELS:
        raise UnknownLaunchError(f"The steps of {len(runs)} runs do not fit on a chart: give at most {MOST_PANELS}.")
    return Gantt(Unit.STEPS, tuple(map(step_panel, runs)), shared)


def shared_environment(environments: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return what these environments have in common."""
    first, *others = environments or [{}]
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def run_panel(runs: Iterable[ChartedRun], title: str = "") -> Panel:
    """Return a panel with a row for each run of which an instant is known, in the order of their enqueueing.

    Raises UnknownLaunchError if there is none.
    """
    runs = list(runs)
    begun = [(run, starts_us) for run in runs if (starts_us := _starts_us(run.launch))]
    if not begun:
        raise UnknownLaunchError(
            f"Nothing is known of {'any of these runs' if runs else 'any run'}: they were refused, or their events "
            "have been deleted."
        )
    zero_us = min(next(iter(starts_us.values())) for _, starts_us in begun)
    rows = [
        Row(
            name=legible(run.launch.run_id or ""),
            group=one_line(run.group),
            segments=_segments(starts_us, _end_us(run), zero_us),
            outcome=None if run.launch.outcome is Outcome.OK else run.launch.outcome,
            is_open=_is_open(run.launch),
        )
        for run, starts_us in begun
    ]
    subject = _describe_groups(runs)
    return Panel(
        title=title or subject,
        subject=subject,
        zero_us=zero_us,
        rows=tuple(sorted(rows, key=lambda row: (row.start_us, row.name))),
        in_progress=_count_in_progress(Unit.RUNS, rows),
        without_row=len(runs) - len(rows),
    )


def step_panel(
    run: ChartedRun,
    title: str = "",
    split: Callable[[str], tuple[str, str]] = by_mapping_key,
    *,
    by_batch: bool = False,
) -> Panel:
    """Return a panel with a row for each step that a run has launched, in the order of their starts.

    Args:
        run: the run.
        title: by default, the beginning of the run's id.
        split: returns a step key's group and batch; an empty batch for a step that belongs to none.
        by_batch: whether the steps of a batch share a line.

    Raises UnknownLaunchError if the run has launched no step.
    """
    launch, run_id = run.launch, legible(run.launch.run_id or "")
    begun = [(step, starts_us) for step in launch.steps if (starts_us := _step_starts_us(step))]
    if not begun:
        if launch.outcome is None:
            raise UnknownLaunchError(f"Run {run_id} has launched no step yet. `bench timeline {run_id}` says why.")
        raise UnknownLaunchError(f"Run {run_id} launched no step. `bench timeline {run_id}` shows how far it got.")
    zero_us = min(next(iter(starts_us.values())) for _, starts_us in begun)
    end_us = _end_us(run)
    rows: list[Row] = []
    batches: defaultdict[str, list[Row]] = defaultdict(list)
    for step, starts_us in begun:
        group, batch = split(step.key)
        unfinished = step.ended_us is None
        segments = _segments(starts_us, end_us if step.ended_us is None else step.ended_us, zero_us)
        outcome = launch.outcome if unfinished and launch.outcome is not Outcome.OK else None
        row = Row(
            legible(step.key),
            one_line(group),
            segments,
            outcome,
            unfinished and _is_open(launch),
            legible(batch) if by_batch else "",
        )
        rows.append(row)
        if batch:
            batches[batch].append(row)
    return Panel(
        title=title or f"run {run_id[:ID_LETTERS]}",
        subject=_describe_run(run),
        zero_us=zero_us,
        rows=tuple(sorted(rows, key=_by_start)),
        in_progress=_count_in_progress(Unit.STEPS, rows),
        in_flight=_count_in_flight(batches.values()),
    )


def _by_start(row: Row) -> tuple[bool, int, str]:
    """Return the place of a step among the others: by its start, those that have not started last."""
    started_us = row.since(Phase.RUNNING)
    return started_us is None, row.start_us if started_us is None else started_us, row.name


def _describe_run(run: ChartedRun) -> str:
    """Return what was launched, in words, and how it ended if not well."""
    launch, parts = run.launch, [*filter(None, [run.subject]), f"run {run.launch.run_id}"]
    if launch.outcome not in (None, Outcome.OK):
        parts.append(": ".join(filter(None, [describe_outcome(launch.outcome), launch.reason.rstrip(".")])))
    return one_line("; ".join(parts))


def _describe_groups(runs: Iterable[ChartedRun]) -> str:
    """Return the number of runs of each group, in words."""
    counts = Counter(run.group for run in runs)
    return one_line(
        ", ".join(f"{Unit.RUNS.counted(number)}{f' of {group}' if group else ''}" for group, number in counts.items())
    )


def _starts_us(launch: Launch) -> dict[Phase, int]:
    """Return when the phases of a run began that it reached, in microseconds since the epoch."""
    at_us = launch.at_us
    queued_us, running_us = at_us[Boundary.ENQUEUED], at_us[Boundary.STEP_STARTED]
    taken_us = next((us for boundary in _TAKEN if (us := at_us[boundary]) is not None), None)
    if queued_us is None and taken_us is None and running_us is None:
        queued_us = at_us[Boundary.REQUESTED] if at_us[Boundary.CREATED] is None else at_us[Boundary.CREATED]
    starts_us = {Phase.QUEUED: queued_us, Phase.STARTING: taken_us, Phase.RUNNING: running_us}
    return {phase: us for phase, us in starts_us.items() if us is not None}


def _step_starts_us(step: StepSpan) -> dict[Phase, int]:
    starts_us = {Phase.STARTING: step.launched_us, Phase.RUNNING: step.started_us}
    known_us = {phase: us for phase, us in starts_us.items() if us is not None}
    return known_us or ({} if step.ended_us is None else {Phase.RUNNING: step.ended_us})


def _end_us(run: ChartedRun) -> int:
    """Return when a run ended, or else when it was read, or else its last known instant."""
    launch = run.launch
    if launch.ended_us is not None:
        return launch.ended_us
    steps = [us for step in launch.steps for us in (step.launched_us, step.started_us, step.ended_us)]
    read_us = run.read_us if launch.outcome is None else None
    return max(us for us in (0, *launch.at_us.values(), *steps, read_us) if us is not None)


def _is_open(launch: Launch) -> bool:
    """Return whether a run has not ended, as far as is known."""
    return launch.ended_us is None and launch.outcome not in OUTCOMES.values()


def _segments(starts_us: Mapping[Phase, int], end_us: int, zero_us: int) -> tuple[Segment, ...]:
    """Return the phases end to end; an instant before the previous one is moved to it."""
    edges_us = pairwise(accumulate((*starts_us.values(), end_us), max))
    return tuple(
        Segment(phase, start_us - zero_us, until_us - zero_us)
        for phase, (start_us, until_us) in zip(starts_us, edges_us, strict=True)
    )


def _count_in_progress(unit: Unit, rows: Iterable[Row]) -> Curve:
    spans = ((row.since(*_IN_PROGRESS[unit]), None if row.is_open else row.end_us) for row in rows)
    return _curve((start_us, end_us) for start_us, end_us in spans if start_us is not None)


def _count_in_flight(batches: Collection[Sequence[Row]]) -> Curve | None:
    """Return the number of batches that have begun and not ended; None if no batch has several steps."""
    if not any(len(steps) > 1 for steps in batches):
        return None
    spans = []
    for steps in batches:
        starts_us = [us for row in steps if (us := row.since(Phase.RUNNING)) is not None]
        if starts_us:
            ended = not any(row.is_open for row in steps)
            spans.append((min(starts_us), max(row.end_us for row in steps) if ended else None))
    return _curve(spans)


def _curve(spans: Iterable[tuple[int, int | None]]) -> Curve:
    changes = count_over_time(spans)
    before = [] if changes and changes[0][0] == 0 else [(0, 0)]
    return Curve((*before, *changes))
