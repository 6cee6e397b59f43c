"""Findings about how long runs waited in the queue, and their steps for pools: from the logs of runs."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo

from bench_orchestrator.analysis.doctor.finding import (
    Finding,
    Surety,
    describe_remedy,
    remedy_of,
)
from bench_orchestrator.analysis.doctor.launches import Launched, created, group, median_s
from bench_orchestrator.analysis.run_queue import pool_remedy
from bench_orchestrator.analysis.wording import counted, describe_estimate
from bench_orchestrator.model.deployment_reading import DeploymentReading, ReadRun
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.run_queue import TagLimit
from bench_orchestrator.model.runs import IN_PROGRESS
from bench_orchestrator.model.stages import Boundary, Stage
from bench_orchestrator.timeline.occupancy import count_over_time

PROMPT_S = 0.05
"""The queue wait behind a queue that answers at once."""
_ASSUMED_INTERVAL_S = 5.0
"""Dagster's dequeue interval, where the deployment's own is not known."""
_LOOK_S = 1.0
"""What a look of the daemon at the queue takes besides its interval, at most."""
_WORTH_S = 0.5
"""The seconds of a run's wait, on average, from which on something is done about it."""
_LARGE_TOTAL_S = 1.0
"""The seconds in all runs read from which on waits for pools are worth a line."""
_PEAK_MINUTES = 2
"""The runs of the full hour are those created in its first minutes."""
_FEWEST = 6
"""Runs on each side of a comparison: fewer have no 95 % interval."""


def find(reading: DeploymentReading, launched: Sequence[Launched], zone: tzinfo) -> Iterator[Finding]:
    """Yield the findings about waits."""
    yield from _interval(reading, launched)
    yield from _limits(reading, launched)
    yield from _pools(reading, launched)
    yield from _full_hour(launched, zone)


def _interval(reading: DeploymentReading, launched: Sequence[Launched]) -> Iterator[Finding]:
    told_s = reading.settings.interval_s
    interval_s = _ASSUMED_INTERVAL_S if told_s is None else told_s
    waits_s = [wait_s for one in launched if (wait_s := _wait_s(one)) is not None and wait_s <= interval_s + _LOOK_S]
    savings_s = [max(0.0, wait_s - PROMPT_S) for wait_s in waits_s]
    if not savings_s or interval_s == 0 or sum(savings_s) < _WORTH_S * len(savings_s):
        return
    prompt, second = remedy_of("dequeue-interval", "at once"), remedy_of("dequeue-interval", "every 1 s")
    assumed = "" if told_s is not None else ", if that is Dagster's own: the webserver does not show dagster.yaml"
    yield Finding(
        name="dequeue_interval",
        what=f"Runs that no limit holds wait for the daemon's next look at the queue, every {interval_s:g} s{assumed}",
        sure=Surety.CERTAIN if told_s is not None else Surety.LIKELY,
        remedy=f"{describe_remedy(prompt)} Or: {describe_remedy(second)}",
        apply=prompt.apply,
        evidence=(
            f"queue wait {describe_estimate(median_s(launched, _wait_s))} in all runs read; {len(savings_s):,} of "
            f"them waited at most {interval_s + _LOOK_S:g} s",
        ),
    ).saving(savings_s)


def _limits(reading: DeploymentReading, launched: Sequence[Launched]) -> Iterator[Finding]:
    interval_s = _ASSUMED_INTERVAL_S if reading.settings.interval_s is None else reading.settings.interval_s
    longest_s = 2 * interval_s + _LOOK_S
    long = [one for one in launched if (_wait_s(one) or 0.0) > longest_s and not one.story.location_away]
    if not long:
        return
    by_limit = Counter(_explain(reading, launched, long))
    unknown = by_limit.pop("", 0)
    limits = reading.queue.limits
    section = limits.section if limits else "concurrency.runs"
    lines = [f"{words}: {counted(count, 'run')} waited while it was full" for words, count in by_limit.most_common()]
    if unknown:
        lines.append(f"{counted(unknown, 'run')} waited, and the runs that were read do not show for what")
    longest = max(long, key=lambda one: _wait_s(one) or 0.0)
    lines.append(f"the longest wait: {_wait_s(longest) or 0.0:,.0f} s, run {longest.run.run_id}")
    yield Finding(
        name="limits",
        what=f"{len(long):,} of {counted(len(launched), 'run')} waited in the queue for more than {longest_s:g} s: "
        "limits held them",
        sure=Surety.LIKELY if len(long) > 2 * unknown else Surety.POSSIBLE,
        remedy=f"Raise the limits that are named here under {section} in dagster.yaml, if the machines can take it. "
        f"{describe_remedy(remedy_of('priority-runs', 'priority 10'))}",
        evidence=tuple(lines),
    ).saving([(_wait_s(one) or 0.0) - interval_s for one in long])


def _explain(reading: DeploymentReading, launched: Sequence[Launched], long: Sequence[Launched]) -> Iterator[str]:
    """Yield for each run the limit that was full in the middle of its wait, in words; empty if none is known to be."""
    limits = reading.queue.limits
    if limits is None:
        yield from ("" for _ in long)
        return
    by_id = {one.run.run_id: one for one in launched}
    spans = [(one, span) for one in reading.runs if (span := _span(one, by_id.get(one.run.run_id))) is not None]

    def at_once(counts: Callable[[ReadRun], bool]) -> Callable[[int], int]:
        changes = count_over_time(span for one, span in spans if counts(one))
        instants = [us for us, _ in changes]

        def number_at(us: int) -> int:
            position = bisect_right(instants, us)
            return changes[position - 1][1] if position else 0

        return number_at

    everything = at_once(lambda _: True)
    tagged: dict[tuple[TagLimit, str], Callable[[int], int]] = {}
    for one in long:
        enqueued_us, starting_us = one.launch.at_us[Boundary.ENQUEUED] or 0, one.launch.at_us[Boundary.STARTING] or 0
        middle_us = (enqueued_us + starting_us) // 2
        words = ""
        for limit in limits.tag_limits:
            value = limit.group(one.run.tags)
            if value is None:
                continue
            if (limit, value) not in tagged:
                tagged[limit, value] = at_once(lambda other: limit.group(other.run.tags) == value)  # noqa: B023
            if tagged[limit, value](middle_us) >= limit.limit:
                words = str(limit)
        if not words and 0 <= limits.max_concurrent_runs <= everything(middle_us):
            words = f"the limit max_concurrent_runs lets {limits.max_concurrent_runs} run at a time"
        yield words


def _span(one: ReadRun, launched: Launched | None) -> tuple[int, int | None] | None:
    """Return when the queue counted a run as in progress; None if it never did."""
    start_us = launched.launch.at_us[Boundary.STARTING] if launched else None
    start_us = one.run.started_us if start_us is None else start_us
    if start_us is None or (not one.run.finished and one.run.status not in IN_PROGRESS):
        return None
    ended_us = launched.launch.ended_us if launched else None
    end_us = None if not one.run.finished else one.run.updated_us if ended_us is None else ended_us
    return None if end_us is not None and end_us <= start_us else (start_us, end_us)


def _pools(reading: DeploymentReading, launched: Sequence[Launched]) -> Iterator[Finding]:
    waited = [one for one in launched if one.story.pool_waits]
    savings_s = [sum(one.story.pool_waits_us.values()) / MICROSECONDS for one in waited]
    if sum(savings_s) < _LARGE_TOTAL_S:
        return
    by_pool_us: Counter[str] = Counter()
    for one in waited:
        by_pool_us.update(one.story.pool_waits_us)
    worst = by_pool_us.most_common(1)[0][0]
    pool = reading.queue.pools.get(worst)
    yield Finding(
        name="pool_waits",
        what=f"Steps of {counted(len(waited), 'run')} waited for slots of pools",
        sure=Surety.CERTAIN,
        remedy=(pool_remedy(pool) if pool else "Raise the pool's limit.")
        + " What the pool protects has to bear it. The seconds are of steps, and other steps may have run meanwhile.",
        evidence=tuple(
            f"pool {name}: {us / MICROSECONDS:,.0f} s in all, in "
            f"{counted(sum(name in one.story.pool_waits_us for one in waited), 'run')}"
            for name, us in by_pool_us.most_common(5)
        ),
    ).saving(savings_s)


def _full_hour(launched: Sequence[Launched], zone: tzinfo) -> Iterator[Finding]:
    dated = [(when, one) for one in launched if one.lag_s is not None and (when := created(one, zone)) is not None]
    sides = group(dated, lambda pair: pair[0].minute < _PEAK_MINUTES)
    peak, others = ([one for _, one in sides.get(side, [])] for side in (True, False))
    if min(len(peak), len(others)) < _FEWEST:
        return
    peak_s, others_s = median_s(peak, _lag_s), median_s(others, _lag_s)
    if not peak_s or not others_s or (peak_s.low or 0.0) <= (others_s.high or 0.0):
        return
    wait_s, other_wait_s = median_s(peak, _wait_s), median_s(others, _wait_s)
    yield Finding(
        name="full_hour",
        what=f"Launches in the first {_PEAK_MINUTES} minutes of an hour take longer than others: "
        f"{describe_estimate(peak_s)} against {describe_estimate(others_s)}",
        sure=Surety.LIKELY,
        remedy="Spread the schedules over the hour: `7 * * * *`, `23 * * * *` and so on in place of `0 * * * *`. "
        "Else raise max_concurrent_runs, or give the machines of the hour's peak more CPU.",
        evidence=(
            f"{len(peak):,} of {len(dated):,} runs were created then",
            f"of which queue wait {describe_estimate(wait_s)} against {describe_estimate(other_wait_s)}",
        ),
    ).saving([max(0.0, (one.lag_s or 0.0) - others_s.value) for one in peak])


def _wait_s(one: Launched) -> float | None:
    """Return how long a run was in the queue; None if it was in none, or is still."""
    return None if one.launch.at_us[Boundary.ENQUEUED] is None else one.seconds(Stage.QUEUE_WAIT)


def _lag_s(one: Launched) -> float | None:
    return one.lag_s
