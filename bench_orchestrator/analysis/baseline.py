"""What launches are compared with for a gate: an earlier sweep, or launches of the base in the same blocks.

What is compared is the startup time, because the queue wait is random. A baseline is also a file: machines of CI keep
no results database.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, TypeAdapter, ValidationError

from bench_orchestrator.analysis import wording
from bench_orchestrator.analysis.comparison import IncomparableError, differences
from bench_orchestrator.analysis.summary import location_rows
from bench_orchestrator.model.bounds import LONGEST_S, MOST_LAUNCHES
from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.launch import Sweep, Trial
from bench_orchestrator.scenarios.experiment import STARTUP
from bench_orchestrator.statistics import Estimate, paired_ratio, ratio

_Startup = Annotated[float, Field(gt=0, le=LONGEST_S)]


class BaselineError(UnusableError):
    """A file is not a baseline."""


class Reference(Protocol):
    """What launches are compared with."""

    @property
    def name(self) -> str:
        """What it is called in a sentence."""

    def ratio(self, location: str, trials: Sequence[Trial], confidence: float) -> Estimate:
        """Estimate the ratio of the startup times of a location's trials to those of the reference.

        Raises:
            IncomparableError: one of the two has no launches to compare; the message says which.
        """


@dataclass(frozen=True)
class Place:
    """The launches of one location in a baseline."""

    assets: int
    startups_s: Annotated[tuple[_Startup, ...], Field(min_length=1, max_length=MOST_LAUNCHES)]


@dataclass(frozen=True)
class Baseline:
    """The launches of an earlier sweep."""

    sweep: str
    places: Mapping[str, Place]
    """By location, those of which every trial was measured: a missing launch may have been the slowest."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    version: Literal[1] = 1

    @property
    def name(self) -> str:
        """What it is called in a sentence."""
        return f"that of {self.sweep}"

    def ratio(self, location: str, trials: Sequence[Trial], confidence: float) -> Estimate:
        """Estimate the ratio of the medians from independent samples."""
        place = self.places.get(location)
        if place is None:
            raise IncomparableError(f"the baseline {self.sweep} has no complete measurement of {location}")
        return ratio(_positive(startups_s(trials).values()), place.startups_s, confidence)

    def changes(self, sweep: Sweep) -> Iterator[str]:
        """Yield what is different in a later sweep, in sentences."""
        for row in location_rows(sweep.trials):
            place = self.places.get(row.location)
            if place is not None and place.assets != row.asset_count:
                size = wording.counted(row.asset_count, "asset")
                yield f"{row.location} has {size}, {place.assets:,} in the baseline"
        for name, (was, now) in differences(self.environment, sweep.plan.environment):
            yield f"{name.replace('_', ' ')} is {now}, {was} in the baseline"


_BASELINE = TypeAdapter(Baseline)


def baseline_of(sweep: Sweep) -> Baseline:
    """Return the launches of a sweep as a baseline."""
    places = {}
    for row in location_rows(sweep.trials):
        samples = startups_s([trial for trial in sweep.trials if trial.location == row.location])
        if samples and len(samples) == row.trials and all(s > 0 for s in samples.values()):
            places[row.location] = Place(row.asset_count, tuple(samples.values()))
    return Baseline(sweep.plan.sweep_id, places, dict(sweep.plan.environment))


def write_baseline(baseline: Baseline) -> str:
    """Return a baseline as JSON."""
    return _BASELINE.dump_json(baseline, indent=2).decode() + "\n"


def read_baseline(text: str, name: str) -> Baseline:
    """Return the baseline that JSON holds.

    Args:
        name: the file's, for the message.

    Raises:
        BaselineError: it holds none.
    """
    try:
        return _BASELINE.validate_json(text.encode("utf-8", "replace"))
    except ValidationError as error:
        first, *_ = error.errors()
        place = ".".join(map(str, first["loc"]))
        raise BaselineError(f"{name} is not a baseline: {place + ': ' if place else ''}{first['msg']}") from error


@dataclass(frozen=True)
class Beside:
    """Launches of the base, of which each block has one."""

    trials: Sequence[Trial]
    name: str = "that of the base"

    def ratio(self, location: str, trials: Sequence[Trial], confidence: float) -> Estimate:  # noqa: ARG002
        """Estimate the ratio of the medians from the pairs of each block."""
        for row in location_rows(self.trials):
            if row.failures:
                failures = wording.describe_outcomes(row.failures)
                raise IncomparableError(f"not every launch of the base was measured: {failures}")
        head, base = paired_startups_s(trials, self.trials)
        return paired_ratio(_positive(head), _positive(base), confidence)


def startups_s(trials: Sequence[Trial]) -> dict[int, float]:
    """Return the startup times of the measured trials, by block, of which each has one."""
    return {one.block: s for one in trials if one.measured and (s := STARTUP.of(one)) is not None}


def paired_startups_s(side: Sequence[Trial], other: Sequence[Trial]) -> tuple[list[float], list[float]]:
    """Return the startup times of two sides in the blocks that have both."""
    mine, theirs = startups_s(side), startups_s(other)
    blocks = sorted(mine.keys() & theirs.keys())
    return [mine[block] for block in blocks], [theirs[block] for block in blocks]


def _positive(samples: Iterable[float]) -> list[float]:
    """Return the samples of a ratio.

    Raises:
        IncomparableError: there are none, or one is not positive.
    """
    listed = list(samples)
    if not listed or min(listed) <= 0:
        raise IncomparableError("no launch was measured")
    return listed
