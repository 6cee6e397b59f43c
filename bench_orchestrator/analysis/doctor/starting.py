"""Findings about what a run does until its code runs: loading, processes, pods, planned events."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean

from bench_orchestrator.analysis.doctor.finding import (
    Finding,
    Surety,
    describe_remedy,
    remedy_of,
)
from bench_orchestrator.analysis.doctor.launches import Launched, LocationLaunches, median_s
from bench_orchestrator.analysis.wording import counted, describe_estimate
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.stages import RunWorker, Stage, StepWorker

LARGE_S = 1.0
"""The median of a stage from which on something is done about it."""
SLOW_POD_S = 5.0
"""The median seconds until a pod's or a container's process reports itself, from which on it is slow."""
READY_POD_S = 2.0
"""What such a process takes where its image is there and a CPU is free: Python's start and Dagster's import."""
SLOW_LOAD_S = 5.0
"""The median load of a location's definitions from which on the location is slow."""

_IN_PODS = (StepWorker.PODS, StepWorker.DOCKER, StepWorker.ECS, StepWorker.CELERY_PODS, StepWorker.CELERY_DOCKER)
_RUN_PODS = (RunWorker.POD, RunWorker.CONTAINER, RunWorker.ECS_TASK)
_SEPARATE = (StepWorker.MULTIPROCESS, *_IN_PODS, StepWorker.OTHER)
"""Step workers that load the definitions in a process of their own."""
_PARTITION_SUBSETS = "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS"


def find(locations: Sequence[LocationLaunches]) -> Iterator[Finding]:
    """Yield the findings about the launches of all locations."""
    yield from _loaded_twice(locations)
    yield from _step_processes(locations)
    yield from _slow_pods(locations)
    yield from _celery(locations)
    yield from _planned_events(locations)
    yield from _slow_loads(locations)


def _loaded_twice(locations: Sequence[LocationLaunches]) -> Iterator[Finding]:
    stages = (Stage.WORKER_LOAD, Stage.STEP_LOAD)
    large = _large(locations, lambda one: one.launch.executor in _SEPARATE, *stages)
    savings_s = _seconds(large, *stages)
    if savings_s:
        remedy = remedy_of("definitions-cache", "warm, a10k")
        yield Finding(
            name="loaded_twice",
            what=f"The definitions are loaded twice in each launch, in the run worker and again in the step's process: "
            f"in {_places(large)}",
            sure=Surety.LIKELY,
            remedy=describe_remedy(remedy),
            apply=remedy.apply,
            evidence=_medians(large, *stages),
        ).saving(savings_s)


def _step_processes(locations: Sequence[LocationLaunches]) -> Iterator[Finding]:
    stages = (Stage.STEP_BOOT, Stage.STEP_LOAD)
    own = [
        (location, [one for one in location.launched if one.launch.executor is StepWorker.MULTIPROCESS])
        for location in locations
    ]
    large = [
        (location, found)
        for location, found in own
        if (both_s := median_s(found, lambda one: one.seconds(*stages))) is not None and both_s.value >= LARGE_S
    ]
    savings_s = _seconds(large, *stages)
    if savings_s:
        remedy = remedy_of("executors", "in-process, 1 step")
        processes = fmean(one.launch.processes - 1 for _, found in large for one in found)
        yield Finding(
            name="step_processes",
            what=f"Each step starts its own process, {processes:.1f} in a run on average: in {_places(large)}",
            sure=Surety.LIKELY,
            remedy=f"{describe_remedy(remedy)} Further steps save the same again where they follow one another. Where "
            f"steps have to be parallel: {describe_remedy(remedy_of('executors', 'forkserver, module, 1 step'))}",
            apply=remedy.apply,
            evidence=_medians(large, *stages),
        ).saving(savings_s)


def _slow_pods(locations: Sequence[LocationLaunches]) -> Iterator[Finding]:
    kinds: Sequence[tuple[Stage, Callable[[Launched], bool]]] = (
        (Stage.WORKER_BOOT, lambda one: one.launch.run_worker in _RUN_PODS),
        (Stage.STEP_BOOT, lambda one: one.launch.executor in _IN_PODS),
    )
    slow = [
        (stage, found) for stage, concerns in kinds if (found := _large(locations, concerns, stage, least_s=SLOW_POD_S))
    ]
    excess_s: dict[str, float] = defaultdict(float)
    for stage, found in slow:
        for one in (one for _, launched in found for one in launched):
            excess_s[one.run.run_id] += max(0.0, (one.seconds(stage) or 0.0) - READY_POD_S)
    if excess_s:
        yield Finding(
            name="slow_pods",
            what=f"Pods or containers are slow to start: in {_places([one for _, found in slow for one in found])}",
            sure=Surety.LIKELY,
            remedy=f"With the image on the node and a free CPU one reports itself within {READY_POD_S:g} s. Keep the "
            "image on the nodes (imagePullPolicy: IfNotPresent, few and small images), and request no more CPU and "
            "memory than nodes have free. `bench timeline` in the cluster splits worker boot into scheduling, image "
            "and container. Runs that a warm code server forks need no pod.",
            evidence=tuple(line for stage, found in slow for line in _medians(found, stage)),
        ).saving(excess_s.values())


def _celery(locations: Sequence[LocationLaunches]) -> Iterator[Finding]:
    busy = _large(
        locations,
        lambda one: one.launch.executor in (StepWorker.CELERY, StepWorker.CELERY_PODS, StepWorker.CELERY_DOCKER),
        Stage.STEP_BOOT,
        least_s=SLOW_POD_S,
    )
    savings_s = [max(0.0, seconds - READY_POD_S) for seconds in _seconds(busy, Stage.STEP_BOOT)]
    if savings_s:
        yield Finding(
            name="celery_waits",
            what=f"Steps wait for a Celery worker, which also loads the definitions: in {_places(busy)}",
            sure=Surety.POSSIBLE,
            remedy="Start more Celery workers, or dedicated workers for the queue of these steps.",
            evidence=_medians(busy, Stage.STEP_BOOT),
        ).saving(savings_s)


def _planned_events(locations: Sequence[LocationLaunches]) -> Iterator[Finding]:
    savings_s: list[float] = []
    lines: list[str] = []
    for location in locations:
        found = [one for one in location.launched if one.story.planned > len(one.story.planned_assets) > 0]
        saved_s = [_saved_by_subsets(one) for one in found]
        if saved_s and max(saved_s) >= LARGE_S:
            savings_s += saved_s
            most = max(found, key=lambda one: one.story.planned)
            assets = len(most.story.planned_assets)
            lines.append(
                f"{location.location.name}: up to {most.story.planned:,} events for {counted(assets, 'asset')} "
                f"(run {most.run.run_id}), n = {len(found)}"
            )
    if savings_s:
        yield Finding(
            name="planned_events",
            what="Runs of many partitions write a planned event for each partition before they are queued",
            sure=Surety.CERTAIN,
            remedy=f"Set {_PARTITION_SUBSETS}=1 in the environment of the webserver and the daemon: then there is one "
            "event per asset. If such a run fails, its partitions are not shown as failed.",
            apply=f'{_PARTITION_SUBSETS}: "1"',
            evidence=tuple(lines),
        ).saving(savings_s)


def _saved_by_subsets(one: Launched) -> float:
    """Return the seconds of a run's planned events beyond one per asset."""
    plan_us = one.launch.stages_us[Stage.PLAN_EVENTS] or 0
    return plan_us / MICROSECONDS * (1 - len(one.story.planned_assets) / one.story.planned)


def _slow_loads(locations: Sequence[LocationLaunches]) -> Iterator[Finding]:
    slow = _large(locations, lambda _: True, Stage.WORKER_LOAD, least_s=SLOW_LOAD_S)
    if slow:
        memoise, imports = remedy_of("loading", "a memoised function"), remedy_of("imports", "inside the asset")
        yield Finding(
            name="slow_locations",
            what=f"Loading the code takes long: in {_places(slow)}",
            sure=Surety.CERTAIN,
            remedy=f"Its webserver, daemon and code server wait for it, too. {describe_remedy(memoise)} "
            f"{describe_remedy(imports)} `python -X importtime` shows which imports take the time. What is saved "
            "depends on the code.",
            apply=memoise.apply,
            evidence=_medians(slow, Stage.WORKER_LOAD),
            runs=sum(len(found) for _, found in slow),
        )


_Found = Sequence[tuple[LocationLaunches, Sequence[Launched]]]
"""Launches of some locations."""


def _large(
    locations: Sequence[LocationLaunches],
    concerns: Callable[[Launched], bool],
    *stages: Stage,
    least_s: float = LARGE_S,
) -> _Found:
    """Return the launches that it concerns, of the locations where the median of each stage is that large."""
    chosen = [(location, [one for one in location.launched if concerns(one)]) for location in locations]
    return [
        (location, found)
        for location, found in chosen
        if all(
            (took_s := median_s(found, lambda one: one.seconds(stage))) is not None  # noqa: B023
            and took_s.value >= least_s
            for stage in stages
        )
    ]


def _seconds(found: _Found, *stages: Stage) -> list[float]:
    """Return what the stages took together in each launch in which they are known."""
    taken_s = (one.seconds(*stages) for _, launched in found for one in launched)
    return [seconds for seconds in taken_s if seconds is not None]


def _medians(found: _Found, *stages: Stage) -> tuple[str, ...]:
    """Return a line for each location, with the median of each stage."""
    return tuple(
        f"{location.location.name}{_size(location)}: "
        + ", ".join(
            f"{stage.label} {describe_estimate(median_s(launched, lambda one: one.seconds(stage)))}"  # noqa: B023
            for stage in stages
        )
        + f", n = {len(launched)}"
        for location, launched in found
    )


def _size(location: LocationLaunches) -> str:
    assets = location.location.contents.assets
    return "" if assets is None else f" ({assets:,} assets)"


def _places(found: _Found) -> str:
    """Return the locations' names; how many there are if they are many."""
    names = list(dict.fromkeys(location.location.name for location, _ in found))
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} locations"
