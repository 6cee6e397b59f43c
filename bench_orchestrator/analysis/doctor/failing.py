"""Findings about what fails or is done twice: locations, time limits of code servers, retries, partitions."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from bench_orchestrator.analysis.doctor.finding import Finding, Surety
from bench_orchestrator.analysis.doctor.launches import Launched, group
from bench_orchestrator.analysis.wording import counted
from bench_orchestrator.model.deployment_reading import DeploymentReading
from bench_orchestrator.model.errors import one_line
from bench_orchestrator.model.instants import MICROSECONDS, describe_us
from bench_orchestrator.model.stages import Boundary, Stage
from bench_orchestrator.timeline.story import find_time_limit

_MOST_LINES = 5
_LOADS_LONG_US = 60 * MICROSECONDS
"""For how long a location may load before that is a finding."""
_PARTITION_TAGS = ("dagster/partition", "dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
_RETRY_TAG, _PARENT_TAG = "dagster/retry_number", "dagster/parent_run_id"


def find(reading: DeploymentReading, launched: Sequence[Launched]) -> Iterator[Finding]:
    """Yield the findings about failures and repetitions."""
    yield from _locations(reading)
    yield from _time_limits(reading, launched)
    yield from _step_retries(launched)
    yield from _run_retries(launched)
    yield from _dequeue_retries(launched)
    yield from _launched_twice(launched)


def _locations(reading: DeploymentReading) -> Iterator[Finding]:
    broken = [location for location in reading.locations if location.state == "error"]
    if broken:
        yield Finding(
            name="broken_locations",
            what=f"{len(broken)} of {counted(len(reading.locations), 'code location')} failed to load",
            sure=Surety.CERTAIN,
            remedy="None of its runs start. Fix what the error names or start the code server, then reload it.",
            evidence=tuple(
                f"{location.name}: {one_line(location.error, 300)}"
                + (f" (for {_ago(location.since_us, reading.at_us)})" if location.since_us is not None else "")
                for location in broken
            ),
            urgent=True,
        )
    loading = [
        location
        for location in reading.locations
        if location.state == "loading"
        and location.since_us is not None
        and reading.at_us - location.since_us > _LOADS_LONG_US
    ]
    if loading:
        yield Finding(
            name="loading_locations",
            what=f"Still loading after more than a minute: {len(loading)} of "
            f"{counted(len(reading.locations), 'code location')}",
            sure=Surety.CERTAIN,
            remedy="Look at the log of the code server: its import may hang, or wait for something outside.",
            evidence=tuple(
                f"{location.name}: for {_ago(location.since_us or 0, reading.at_us)}" for location in loading
            ),
            urgent=True,
        )


def _time_limits(reading: DeploymentReading, launched: Sequence[Launched]) -> Iterator[Finding]:
    seen: Counter[tuple[str, str]] = Counter()
    variables: set[str] = set()
    for location in reading.locations:
        if words := find_time_limit(location.error):
            seen[f"loading {location.name}", words] += 1
            variables.add("DAGSTER_REPOSITORY_GRPC_TIMEOUT_SECONDS")
    for tick in reading.ticks:
        if words := find_time_limit(tick.error):
            seen[f"{tick.kind} {tick.name} of {tick.location}", words] += 1
            variables.add(f"DAGSTER_{tick.kind.upper()}_GRPC_TIMEOUT_SECONDS")
    for one in launched:
        if one.story.time_limit:
            seen[f"runs of {one.location}", one.story.time_limit] += 1
            variables.add("DAGSTER_GRPC_TIMEOUT_SECONDS")
    if seen:
        yield Finding(
            name="time_limits",
            what=f"Code servers did not answer within their time limit, {counted(seen.total(), 'time')}",
            sure=Surety.CERTAIN,
            remedy="First make it faster, or give the code server more CPU: it also slows whatever else asks it. "
            f"The limits are in the environment of webserver and daemon: {', '.join(sorted(variables))}.",
            evidence=tuple(
                f"{where}: {words} ({counted(count, 'time')})"
                for (where, words), count in seen.most_common(_MOST_LINES)
            ),
            runs=sum(bool(one.story.time_limit) for one in launched),
        )


def _step_retries(launched: Sequence[Launched]) -> Iterator[Finding]:
    retried = [one for one in launched if one.story.step_retries]
    if retried:
        jobs = Counter(f"{one.location}: job {one.run.job}" for one in retried)
        yield Finding(
            name="step_retries",
            what=f"User code failed and was tried again, "
            f"{counted(sum(one.story.step_retries for one in retried), 'time')} in {counted(len(retried), 'run')}",
            sure=Surety.CERTAIN,
            remedy="Look at what fails there. The seconds are those of failed attempts and of the waits after them.",
            evidence=tuple(f"{job}: {counted(count, 'run')}" for job, count in jobs.most_common(_MOST_LINES)),
        ).saving([one.story.retried_us / MICROSECONDS for one in retried])


def _run_retries(launched: Sequence[Launched]) -> Iterator[Finding]:
    retries = [one for one in launched if _RETRY_TAG in one.run.tags]
    if retries:
        by_id = {one.run.run_id: one for one in launched}
        failed = (by_id.get(one.run.tags.get(_PARENT_TAG, "")) for one in retries)
        jobs = Counter(f"{one.location}: job {one.run.job}" for one in retries)
        yield Finding(
            name="run_retries",
            what=f"{counted(len(retries), 'run')} re-executed a failed run, each with its own launch",
            sure=Surety.CERTAIN,
            remedy="Look at what fails there. A retry policy on the op or asset repeats the step alone, without "
            "another launch. The seconds are those of the failed runs, as far as they were read.",
            evidence=tuple(f"{job}: {counted(count, 'run')}" for job, count in jobs.most_common(_MOST_LINES)),
        ).saving([_took_s(one) if one else 0.0 for one in failed])


def _dequeue_retries(launched: Sequence[Launched]) -> Iterator[Finding]:
    away = [one for one in launched if one.story.location_away]
    if away:
        places = Counter(one.location for one in away)
        yield Finding(
            name="dequeue_retries",
            what=f"{counted(len(away), 'run')} could not be launched at first, because their code server was away",
            sure=Surety.CERTAIN,
            remedy="Replace a code server without a gap: start the new one before the old one ends (two replicas, or "
            "a rolling update with maxUnavailable: 0), with a readiness probe. max_user_code_failure_retries in "
            "dagster.yaml says how often a run is put back into the queue.",
            evidence=tuple(f"{place}: {counted(count, 'run')}" for place, count in places.most_common(_MOST_LINES)),
        ).saving([(one.launch.stages_us[Stage.QUEUE_WAIT] or 0) / MICROSECONDS for one in away])


def _launched_twice(launched: Sequence[Launched]) -> Iterator[Finding]:
    """Yield the runs that began while another run of the same job, assets and partition was not over."""
    originals = [one for one in launched if not one.run.reexecuted and _partition(one)]
    groups = group(originals, lambda one: (one.location, one.run.job, _partition(one), one.story.planned_assets))
    twice = [
        (first, second)
        for found in groups.values()
        for first, second in pairwise(found)
        if first.launch.ended_us is None or second.run.created_us < first.launch.ended_us
    ]
    if twice:
        yield Finding(
            name="launched_twice",
            what=f"{counted(len(twice), 'run')} did a partition that a run of the same job and assets was at work on",
            sure=Surety.CERTAIN,
            remedy="Find what asks for both: two schedules, a schedule and a sensor, or a sensor without run keys. "
            "Give the requests the same run_key, or let a tag limit allow one run per partition. The seconds are those "
            "of the second runs.",
            evidence=tuple(
                f"{second.location}: job {second.run.job}, partition {'…'.join(_partition(second))}: runs "
                f"{first.run.run_id} and {second.run.run_id}"
                for first, second in twice[-_MOST_LINES:]
            ),
        ).saving([_took_s(second) for _, second in twice])


def _partition(one: Launched) -> tuple[str, ...]:
    return tuple(one.run.tags[tag] for tag in _PARTITION_TAGS if tag in one.run.tags)


def _took_s(one: Launched) -> float:
    """Return how long a run was in progress; 0 as long as it has not started or ended."""
    start_us, end_us = one.launch.at_us[Boundary.STARTING], one.launch.ended_us
    start_us = one.run.started_us if start_us is None else start_us
    return 0.0 if start_us is None or end_us is None else max(0, end_us - start_us) / MICROSECONDS


def _ago(since_us: int, now_us: int) -> str:
    return describe_us(max(0, now_us - since_us), 0)
