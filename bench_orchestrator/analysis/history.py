"""The history of each location: when its launches became slower or faster, in which stage, and what came with it.

A point is one sweep: the medians of its launches. What is watched for changes is the startup time, which is the launch
lag without the random queue wait, and each stage of the lag for itself. All stages of a location together have as many
false alarms as its startup time. A shift in the machine's load, an upgrade and a grown location all look alike: the
circumstances that changed at the same time are listed, which does not make them the cause.

Pure: `results.queries` selects the points; `history_wording` has the sentences.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from bench_orchestrator.analysis.gate import CONFIDENCE, FEWEST_TRIALS
from bench_orchestrator.model.stages import LAG_STAGES, STARTUP_STAGES, Stage
from bench_orchestrator.statistics import (
    ChangePoint,
    Comparison,
    Estimate,
    Verdict,
    compare_unpaired,
    difference,
    find_changes,
    median,
)
from bench_orchestrator.statistics.changes import QUIET

ESTABLISHED = 20
"""Points that a level needs to be a baseline: a short improvement sets no standard."""

RELEVANT = 0.05
"""The relative slowdown up to which the present level counts as no slower than its baseline."""

STARTUP = "startup time"
CODE_SERVER = "code server"
"""The circumstance that changes with every deploy."""

UNKNOWN = "unknown"

_STAGE_QUIET = QUIET * len(LAG_STAGES)
_NEAREST = 200
"""Maximum points on each side that a change is measured with."""
_AROUND = 5
"""Points on each side whose circumstances are compared."""

_NAMES: Mapping[str, str] = {
    "dagster": "Dagster",
    "bench": "dagster-bench",
    "python": "Python",
    "cpu_model": "CPU",
    "cpu_count": "CPUs",
    "dequeue_interval_s": "dequeue interval, s:",
}
"""Circumstances whose displayed names differ from their keys."""

_VERSIONS = ("dagster", "bench", "python", "assets", "partitions")
"""Circumstances that are marked over time."""


@dataclass(frozen=True)
class Point:
    """One sweep in one location: medians of the launches that count."""

    sweep_id: str
    at_us: int
    """When the sweep was planned."""
    lag_s: float
    startup_s: float
    stages_s: Mapping[Stage, float]
    """Seconds of each of `LAG_STAGES`."""
    circumstances: Mapping[str, str]
    """What is known about the deployment, the location and the sweep, by name: `dagster`, `assets`, `executor`."""


@dataclass(frozen=True)
class LocationHistory:
    """The points of one location in order of time; never empty."""

    location: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class LevelChange:
    """A lasting shift of the startup time, or of one stage alone."""

    location: str
    stage: Stage | None
    """None: the startup time."""
    found: ChangePoint
    """Positions among the points of the history."""
    sweep_id: str
    """The first sweep on the new level."""
    at_us: int
    earlier_us: int
    """When the last sweep before it was planned: the change came between the two."""
    before_s: Estimate
    after_s: Estimate
    difference_s: Estimate
    carriers: Mapping[Stage, Estimate]
    """The stages whose difference excludes zero, in seconds, the largest first."""
    came_with: tuple[str, ...]
    """The circumstances that changed meanwhile, in words; empty if none is known."""

    @property
    def quantity(self) -> str:
        """What changed: `startup time`, or a stage."""
        return self.stage.label if self.stage else STARTUP

    @property
    def slower(self) -> bool:
        """Whether it takes longer since then."""
        return self.difference_s.value > 0

    @property
    def carrier(self) -> str:
        """The stage that carries most of it; `unknown` if none does beyond the noise."""
        return self.stage.label if self.stage else next((stage.label for stage in self.carriers), UNKNOWN)


@dataclass(frozen=True)
class Level:
    """The startup time between two changes."""

    points: tuple[Point, ...]
    startup_s: Estimate


@dataclass(frozen=True)
class Standing:
    """The present level of a location compared with its baseline."""

    baseline: Level
    present: Level
    comparison: Comparison
    """In seconds, the present level against the baseline."""
    carriers: Mapping[Stage, Estimate]
    came_with: tuple[str, ...]
    """What changed between the two, in words."""

    @property
    def slower(self) -> bool:
        """Whether the present level is slower beyond the noise, and by more than `RELEVANT`."""
        limit_s = (1 + RELEVANT) * self.baseline.startup_s.value
        return self.comparison.verdict is Verdict.SLOWER and self.present.startup_s.value > limit_s


@dataclass(frozen=True)
class Trend:
    """The history of a location with the changes found in it."""

    history: LocationHistory
    changes: tuple[LevelChange, ...]
    """Of the startup time, and of stages where it does not change, in order of time."""

    @property
    def location(self) -> str:
        """The location's name."""
        return self.history.location

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The levels of the startup time, in order."""
        points = self.history.points
        edges = [0, *(change.found.index for change in self.changes if change.stage is None), len(points)]
        return tuple(
            Level(points[start:end], median([point.startup_s for point in points[start:end]]))
            for start, end in pairwise(edges)
        )

    @cached_property
    def standing(self) -> Standing | None:
        """The present level against the fastest established one before it; None if there is only one level.

        If none before was established (`ESTABLISHED` points), the longest one is the baseline.
        """
        *earlier, present = self.levels
        if not earlier:
            return None
        established = [level for level in earlier if len(level.points) >= ESTABLISHED]
        baseline = (
            min(established, key=lambda level: level.startup_s.value)
            if established
            else max(earlier, key=lambda level: len(level.points))
        )
        before, after = baseline.points[-_NEAREST:], present.points[:_NEAREST]
        return Standing(
            baseline,
            present,
            compare_unpaired([point.startup_s for point in after], [point.startup_s for point in before]),
            _carriers(before, after),
            _came_with(before[-_AROUND:], after[:_AROUND]),
        )

    @cached_property
    def recent_lag_s(self) -> Estimate:
        """The median launch lag of the latest sweeps: as many as an interval of 95 % takes."""
        return median([point.lag_s for point in self.history.points[-FEWEST_TRIALS:]])

    def is_surely_over(self, limit_s: float) -> bool:
        """Return whether the whole interval of the recent lag is over a limit, with the confidence of the gate."""
        lag_s = self.recent_lag_s
        return lag_s.low is not None and lag_s.low > limit_s and lag_s.coverage >= CONFIDENCE


def trace(history: LocationHistory) -> Trend:
    """Find the changes in a location's history. A change of a stage with one of the startup time is a part of that."""
    of_startup = list(_changes(history, None, [point.startup_s for point in history.points]))
    of_stages = [
        change
        for stage in LAG_STAGES
        for change in _changes(history, stage, [point.stages_s[stage] for point in history.points])
    ]
    alone = [
        one
        for one in of_stages
        if one.stage is Stage.QUEUE_WAIT or not any(_coincide(one.found, other.found) for other in of_startup)
    ]
    return Trend(history, tuple(sorted((*of_startup, *alone), key=lambda change: change.found.index)))


def marked_versions(history: LocationHistory) -> list[tuple[int, str]]:
    """Return when a version or the location's size changed, in microseconds, and to what, in words."""
    return [
        (after.at_us, ", ".join(f"{_NAMES.get(name, name)} {after.circumstances[name]}" for name in changed))
        for before, after in pairwise(history.points)
        if (changed := [name for name, _, _ in _differing(before.circumstances, after.circumstances, _VERSIONS)])
    ]


def _changes(history: LocationHistory, stage: Stage | None, values_s: Sequence[float]) -> Iterator[LevelChange]:
    points = history.points
    found = find_changes(values_s, QUIET if stage is None else _STAGE_QUIET)
    edges = [0, *(change.index for change in found), len(points)]
    for change, start, end in zip(found, edges, edges[2:], strict=False):
        index = change.index
        before, after = slice(max(start, index - _NEAREST), index), slice(index, min(end, index + _NEAREST))
        yield LevelChange(
            location=history.location,
            stage=stage,
            found=change,
            sweep_id=points[index].sweep_id,
            at_us=points[index].at_us,
            earlier_us=points[index - 1].at_us,
            before_s=median(values_s[before]),
            after_s=median(values_s[after]),
            difference_s=difference(values_s[after], values_s[before]),
            carriers=_carriers(points[before], points[after]),
            came_with=_came_with(
                points[max(0, change.first - _AROUND) : change.first], points[change.last : change.last + _AROUND]
            ),
        )


def _carriers(before: Sequence[Point], after: Sequence[Point]) -> dict[Stage, Estimate]:
    """Return the differences of the stages of the startup time that exclude zero, the largest first."""
    differences = {
        stage: difference([point.stages_s[stage] for point in after], [point.stages_s[stage] for point in before])
        for stage in STARTUP_STAGES
    }
    shown = {stage: one for stage, one in differences.items() if _excludes_zero(one)}
    return dict(sorted(shown.items(), key=lambda entry: -abs(entry[1].value)))


def _excludes_zero(estimate: Estimate) -> bool:
    return estimate.low is not None and estimate.high is not None and (estimate.low > 0 or estimate.high < 0)


def _came_with(before: Sequence[Point], after: Sequence[Point]) -> tuple[str, ...]:
    """Return in words which circumstances most points after have, and most points before have otherwise."""
    differing = _differing(_usual(before), _usual(after), [*before[0].circumstances])
    return tuple(f"{_NAMES.get(name, name)} {old} \N{RIGHTWARDS ARROW} {new}" for name, old, new in differing)


def _usual(points: Sequence[Point]) -> dict[str, str]:
    """Return the value of each circumstance that most points have."""
    counts = Counter(entry for point in points for entry in point.circumstances.items())
    return {name: value for (name, value), count in counts.items() if 2 * count > len(points)}


def _differing(
    before: Mapping[str, str], after: Mapping[str, str], names: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield name, old and new value of what both know and differ in."""
    for name in names:
        if name in before and name in after and before[name] != after[name]:
            yield name, before[name], after[name]


def _coincide(one: ChangePoint, other: ChangePoint) -> bool:
    return one.first <= other.last and other.first <= one.last
