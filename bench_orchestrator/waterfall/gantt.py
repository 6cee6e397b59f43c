"""A Gantt chart of runs or of their steps: its parts and its words, for picture, terminal and JSON. Pure.

A chart has one or more panels on a shared time axis. Each begins at its own zero, the first instant of its rows, so
panels of different days can be compared.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from operator import attrgetter
from typing import Any, TypeVar

from bench_orchestrator.analysis.wording import describe_outcomes
from bench_orchestrator.model.instants import describe_us
from bench_orchestrator.model.launch import Launch, Outcome

T = TypeVar("T")

_MOST_NAMED = 4
"""The panels that a headline names; of more, it names those with the shortest and the longest makespan."""

ID_LETTERS = 8
"""Letters of a run's id in its row's label, as many as Dagster's UI shows."""


class Unit(StrEnum):
    """What the rows of a chart are."""

    RUNS = "runs"
    STEPS = "steps"

    @property
    def singular(self) -> str:
        """The word for one of them."""
        return self.value.removesuffix("s")

    def counted(self, number: int) -> str:
        """Return a number of them in words: `1 run`, `1,200 runs`."""
        return f"{number:,} {self.singular if number == 1 else self.value}"


class Phase(StrEnum):
    """The phases of a run, in order; a step has the last two."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"


PHASES: Mapping[Unit, Mapping[Phase, str]] = {
    Unit.RUNS: {Phase.QUEUED: "in the queue", Phase.STARTING: "until its first step", Phase.RUNNING: "until its end"},
    Unit.STEPS: {Phase.STARTING: "launch to start", Phase.RUNNING: "start to end"},
}
"""The phases of each unit, in words."""


@dataclass(frozen=True)
class ChartedRun:
    """A run to draw: its launch, and what is known of it beside its log."""

    launch: Launch
    group: str = ""
    """Runs of one group have one colour: their job, or their side of a sweep."""
    subject: str = ""
    """What was launched, in words."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    read_us: int | None = None
    """When its log was read, if it had not ended, in microseconds since the epoch; None if that is unknown."""


@dataclass(frozen=True)
class Segment:
    """A phase of a row, in microseconds from the panel's zero."""

    phase: Phase
    start_us: int
    end_us: int


@dataclass(frozen=True)
class Row:
    """A run or a step: its phases, end to end."""

    name: str
    """The run's id, or the step's key."""
    group: str
    segments: tuple[Segment, ...]
    """At least one."""
    outcome: Outcome | None = None
    """How a run ended, or the run of a step without an end, if not ok; None otherwise."""
    is_open: bool = False
    """Whether it has no end yet; it is drawn until it was read, or last seen."""
    batch: str = ""
    """The batch whose line a step shares with the batch's other steps; empty if it has a line of its own."""

    @property
    def start_us(self) -> int:
        """Its beginning, in microseconds from the panel's zero."""
        return self.segments[0].start_us

    @property
    def end_us(self) -> int:
        """Its end, or how far it is known, likewise."""
        return self.segments[-1].end_us

    def since(self, *phases: Phase) -> int | None:
        """Return when the first of its segments in these phases begins; None if it has none."""
        return next((segment.start_us for segment in self.segments if segment.phase in phases), None)


@dataclass(frozen=True)
class Curve:
    """A number of things over time."""

    changes: tuple[tuple[int, int], ...]
    """(instant, number from then on), from instant 0, in microseconds from the panel's zero."""

    @property
    def peak(self) -> int:
        """The largest number."""
        return max(number for _, number in self.changes)


@dataclass(frozen=True)
class Panel:
    """Rows in the order of their beginning, those of a step's start."""

    title: str
    subject: str
    """What its rows are of, in words."""
    zero_us: int
    """The first instant of its rows, as microseconds since the epoch."""
    rows: tuple[Row, ...]
    """At least one."""
    in_progress: Curve
    in_flight: Curve | None = None
    """The batches between their first step's start and their last step's end; None if the steps have no batches."""
    without_row: int = 0
    """Launches of which no instant is known: they led to no run, or its events have been deleted."""

    @property
    def makespan_us(self) -> int:
        """From the beginning of the first row to the end of the last, in microseconds."""
        return max(row.end_us for row in self.rows)


@dataclass(frozen=True)
class Gantt:
    """Panels of runs or of steps, to be drawn on one time axis."""

    unit: Unit
    panels: tuple[Panel, ...]
    """At least one."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """What the environments of all runs have in common; empty if they were not recorded."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all panels."""
        return tuple(row for panel in self.panels for row in panel.rows)

    @property
    def end_us(self) -> int:
        """The end of the time axis, in microseconds from its zero."""
        return max(panel.makespan_us for panel in self.panels)

    @property
    def zero_words(self) -> str:
        """The zero in words."""
        return f"the first {self.unit.singular} began"

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups in the order of their appearance; empty if they tell nothing, as one of all or one of each."""
        sizes = Counter(row.group for row in self.rows)
        return tuple(sizes) if len(sizes) > 1 and max(sizes.values()) > 1 else ()


def lines(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """Return the rows of each line of a picture, in the order in which the lines begin."""
    found: dict[str, list[Row]] = {}
    for number, row in enumerate(rows):
        found.setdefault(row.batch or f" {number}", []).append(row)
    return list(found.values())


def thin_out(rows: Sequence[T], most: int) -> Sequence[T]:
    """Return at most `most` of the rows, evenly spaced; the first is among them and, if most > 1, the last."""
    if len(rows) <= most:
        return rows
    return [rows[position * (len(rows) - 1) // max(most - 1, 1)] for position in range(most)]


def headline(shown: Gantt) -> str:
    """State the finding in one sentence: the number of rows, the makespan, and the peak in progress."""
    if len(shown.panels) > 1:
        least, *others, most = sorted(shown.panels, key=attrgetter("makespan_us"))
        if len(others) > _MOST_NAMED - 2:
            return f"Makespan: from {_makespan(least)} to {_makespan(most)}"
        return f"Makespan: {', '.join(map(_makespan, shown.panels))}"
    (panel,) = shown.panels
    so_far = " so far" if any(row.is_open for row in panel.rows) else ""
    parts = [
        f"{shown.unit.counted(len(panel.rows))} in {describe_us(panel.makespan_us)}{so_far}",
        f"up to {panel.in_progress.peak:,} in progress",
    ]
    troubles = describe_outcomes(Counter(row.outcome for row in panel.rows if row.outcome))
    return ", ".join([*parts, *([troubles] if troubles else [])])


def _makespan(panel: Panel) -> str:
    return f"{panel.title} {describe_us(panel.makespan_us)}"


def remarks(shown: Gantt, most_rows: int, *, by_line: bool = False) -> Iterator[str]:
    """Yield further paragraphs: what is shown, what counts, which rows are left out.

    Args:
        most_rows: the most rows of a panel that are shown.
        by_line: whether the steps of a batch share a row.
    """
    for panel in shown.panels:
        yield f"{f'{panel.title}: ' if len(shown.panels) > 1 else ''}{panel.subject}."
    taken = "from RUN_STARTING" if shown.unit is Unit.RUNS else "from STEP_START"
    yield f"A {shown.unit.singular} is in progress {taken} to its end."
    if any(panel.in_flight for panel in shown.panels):
        yield "A batch is in flight from its first step's start to its last step's end."
    counts = [len(lines(panel.rows) if by_line else panel.rows) for panel in shown.panels]
    if left_out := sum(max(count - most_rows, 0) for count in counts):
        yield f"Rows left out, evenly: {left_out:,} of {sum(counts):,}. The counts above the rows have all of them."
    if opened := sum(row.is_open for row in shown.rows):
        yield f"{shown.unit.counted(opened)} had no end when this was read."
    if missing := sum(panel.without_row for panel in shown.panels):
        yield f"Without a row, because nothing is known of them: {Unit.RUNS.counted(missing)}."
