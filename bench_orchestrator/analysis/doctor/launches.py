"""The launches of the runs that were read: per location, and by the hour of the day."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cached_property
from operator import itemgetter
from typing import TypeVar

from bench_orchestrator.model.deployment_reading import DeploymentReading, ReadLocation, ReadRun
from bench_orchestrator.model.estimates import Estimate, median
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Launch
from bench_orchestrator.model.runs import Run
from bench_orchestrator.model.stages import LAG_STAGES, Stage
from bench_orchestrator.model.story import Story
from bench_orchestrator.timeline.launches import launch_of_run

_Item = TypeVar("_Item")
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Launched:
    """A run whose log was read."""

    run: Run
    location: str
    story: Story
    launch: Launch

    def seconds(self, *stages: Stage) -> float | None:
        """Return how long these stages took together; None if one of them is unknown."""
        us = self.launch.took_us(*stages)
        return None if us is None else us / MICROSECONDS

    @property
    def lag_s(self) -> float | None:
        """The launch lag; None if no step started."""
        return None if self.launch.lag_us is None else self.launch.lag_us / MICROSECONDS


@dataclass(frozen=True)
class LocationLaunches:
    """The launches of a code location."""

    location: ReadLocation
    listed: int
    """Its latest runs, with or without their logs."""
    launched: tuple[Launched, ...]
    """In the order of the runs' creation."""

    @cached_property
    def lag_s(self) -> Estimate | None:
        """The median launch lag; None if no run has one."""
        return median_of(self.launched, lambda one: one.lag_s)

    @cached_property
    def stages_s(self) -> Mapping[Stage, Estimate]:
        """The median of each stage of the launches that have a lag. They do not add up; those of one launch do."""
        whole = [one for one in self.launched if one.lag_s is not None]
        medians = {stage: median_of(whole, lambda one: one.seconds(stage)) for stage in Stage}  # noqa: B023
        return {stage: estimate for stage, estimate in medians.items() if estimate is not None}

    @property
    def longest(self) -> Stage | None:
        """The stage of the lag with the largest median."""
        stages_s = {stage: self.stages_s[stage].value for stage in LAG_STAGES if stage in self.stages_s}
        return max(stages_s, key=lambda stage: stages_s[stage], default=None)

    @property
    def median_launch(self) -> Launched | None:
        """The launch with the median lag; of an even number, the faster of the middle two."""
        with_lag = sorted(
            (one for one in self.launched if one.launch.lag_us is not None),
            key=lambda one: (one.launch.lag_us or 0, one.run.run_id),
        )
        return with_lag[(len(with_lag) - 1) // 2] if with_lag else None


@dataclass(frozen=True)
class Hour:
    """The launches whose runs were created in one hour of the day."""

    hour: int
    """0 to 23."""
    lag_s: Estimate


def launched_of(reading: DeploymentReading) -> tuple[Launched, ...]:
    """Return the runs whose logs were read, in the order of their creation."""
    return tuple(_launched(one, one.story) for one in reading.runs if one.story is not None)


def by_location(reading: DeploymentReading, launched: Iterable[Launched]) -> tuple[LocationLaunches, ...]:
    """Return the launches of each code location, in the deployment's order."""
    found = group(launched, lambda one: one.location)
    listed = group(reading.runs, lambda one: one.location)
    return tuple(
        LocationLaunches(location, len(listed.get(location.name, ())), tuple(found.get(location.name, ())))
        for location in reading.locations
    )


def by_hour(launched: Iterable[Launched], zone: tzinfo) -> tuple[Hour, ...]:
    """Return the launches of each hour of the day that has any with a lag, in order."""
    with_lag = [one for one in launched if one.lag_s is not None]
    dated = [(when.hour, one) for one in with_lag if (when := created(one, zone)) is not None]
    hours = {hour: [one for _, one in found] for hour, found in group(dated, itemgetter(0)).items()}
    medians = {hour: median_of(found, lambda one: one.lag_s) for hour, found in sorted(hours.items())}
    return tuple(Hour(hour, lag_s) for hour, lag_s in medians.items() if lag_s is not None)


def created(one: Launched, zone: tzinfo) -> datetime | None:
    """Return when the run was created; None if calendars do not know that instant."""
    with suppress(OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(one.run.created_us / MICROSECONDS, zone)
    return None


def group(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> dict[_Key, list[_Item]]:
    """Return the items by key, in their order."""
    groups: dict[_Key, list[_Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def median_of(launched: Sequence[Launched], seconds: Callable[[Launched], float | None]) -> Estimate | None:
    """Return the median of a figure of the launches that have it; None if none has."""
    known = [value for one in launched if (value := seconds(one)) is not None]
    return median(known) if known else None


def _launched(one: ReadRun, story: Story) -> Launched:
    launch = launch_of_run(one.run, story.log, one.run.request)
    return Launched(one.run, one.location, story, launch)
