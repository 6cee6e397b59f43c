"""Comparison of two sweeps: what changed between two versions, machines or days, and how their environments differ.

The sweeps share no blocks, so their samples are compared unpaired and without an A/A arm. Any drift between the two
counts as a change, so the differences between their environments are listed with the verdicts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench_orchestrator.model.launch import Sweep, Trial
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import LAG, STARTUP, stage_measure
from bench_orchestrator.statistics import Comparison, Estimate, compare_unpaired, median

_MEASURES = (LAG, STARTUP, *map(stage_measure, Stage))

_NOT_COMPARED = ("dagster_yaml", "tag_concurrency_limits")
"""Environment entries that are nested and do not fit on a line."""


class IncomparableError(ValueError):
    """The two sweeps share nothing that can be compared; the message says why, by location."""


@dataclass(frozen=True)
class Change:
    """One quantity of one location (or variant) in both sweeps, in seconds."""

    place: str
    quantity: str
    """`launch lag`, `startup time`, or a stage."""
    before_s: Estimate
    after_s: Estimate
    comparison: Comparison
    """The later sweep compared with the earlier one."""


@dataclass(frozen=True)
class Changes:
    """The result of comparing two sweeps."""

    before: Sweep
    after: Sweep
    changes: tuple[Change, ...]
    """For each location that both measured, in the order of the first sweep: lag, startup time, stages."""
    environment: Mapping[str, tuple[Any, Any]]
    """Environment values and settings that differ, by name: (before, after)."""
    left_out: tuple[str, ...]
    """Sentences about locations that only one of the two measured, or that changed in size."""


def compare_sweeps(before: Sweep, after: Sweep) -> Changes:
    """Return what changed from one sweep to another.

    Raises:
        IncomparableError: no location (in an experiment: no variant in the same location) was measured by both at the
            same size.
    """
    mine, theirs = _places(before), _places(after)
    changed = {place: _change_of_size(mine[place], theirs[place]) for place in mine if place in theirs}
    comparable = [place for place, change in changed.items() if not change]
    if not changed:
        raise IncomparableError(
            f"{before.plan.sweep_id} measured {_list(mine)}, {after.plan.sweep_id} measured {_list(theirs)}: "
            "there is nothing in common to compare."
        )
    resized = [f"{place} changed in size: {change}" for place, change in changed.items() if change]
    if not comparable:
        raise IncomparableError(
            f"Nothing in {before.plan.sweep_id} and {after.plan.sweep_id} can be compared: {'; '.join(resized)}."
        )
    alone = [
        f"{place} was measured by {sweep.plan.sweep_id} only"
        for sweep, places in ((before, mine), (after, theirs))
        for place in places
        if place not in changed
    ]
    return Changes(
        before,
        after,
        tuple(change for place in comparable for change in _changes(place, mine[place], theirs[place])),
        dict(_differences_of(before, after)),
        (*resized, *alone),
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield the name of each environment value that differs, with its value before and after."""
    for name in dict.fromkeys([*before, *after]):
        if name not in _NOT_COMPARED and before.get(name) != after.get(name):
            yield name, (before.get(name), after.get(name))


def _change_of_size(before: list[Trial], after: list[Trial]) -> str:
    """Return how the size of a place changed from one sweep to the other; empty if it did not."""
    was, now = ((trials[0].asset_count, trials[0].partition_count) for trials in (before, after))
    if was == now:
        return ""
    return f"{was[0]} assets and {was[1]} partitions, then {now[0]} and {now[1]}"


def _places(sweep: Sweep) -> dict[str, list[Trial]]:
    """Group the measured trials by location and, in an experiment, by variant."""
    variants = {variant.name: variant for variant in sweep.plan.variants}
    places: dict[str, list[Trial]] = {}
    for trial in sweep.trials:
        if not trial.measured or (trial.variant in variants and variants[trial.variant].in_turn):
            continue
        place = f"{trial.location}, {trial.variant}" if sweep.plan.variants else trial.location
        places.setdefault(place, []).append(trial)
    return places


def _changes(place: str, before: list[Trial], after: list[Trial]) -> Iterator[Change]:
    for measure in _MEASURES:
        was_s, is_s = (
            [value for trial in trials if (value := measure.of(trial)) is not None] for trials in (before, after)
        )
        if was_s and is_s and (any(was_s) or any(is_s)):
            yield Change(place, measure.label, median(was_s), median(is_s), compare_unpaired(is_s, was_s))


def _differences_of(before: Sweep, after: Sweep) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for was, now in (
        (before.plan.environment, after.plan.environment),
        ({"scenario": before.plan.scenario}, {"scenario": after.plan.scenario}),
        (_pace(before), _pace(after)),
    ):
        yield from differences(was, now)


def _pace(sweep: Sweep) -> dict[str, Any]:
    return {name: sweep.plan.settings.get(name) for name in ("pause_s", "jitter_s")}


def _list(places: Mapping[str, Any]) -> str:
    return ", ".join(places) or "nothing"
