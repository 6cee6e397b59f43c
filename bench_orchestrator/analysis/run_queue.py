"""Explains why a run waits in the queue: pure, from the queue's limits, pools and runs at one instant.

Dagster's daemon takes the queued runs by priority and age. It counts each one that may start, so a run waits for the
runs in progress and for those ahead of it. `tests/analysis/test_run_queue.py` compares the counts with Dagster's own.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from shlex import quote

from bench_orchestrator.model.instants import MICROSECONDS, describe_us
from bench_orchestrator.model.run_queue import (
    PRIORITY_TAG,
    Granularity,
    Hold,
    Holder,
    Pool,
    QueuedRun,
    RunLimits,
    RunQueue,
    TagLimit,
)
from bench_orchestrator.model.runs import FINISHED, RunStatus

SHOWN_HOLDERS = 3
"""Maximum number of holders that a description names."""

SILENT_DAEMON_US = 3 * 30 * MICROSECONDS
"""The silence after which a daemon does not run: three of its heartbeats."""
_ALLOTTED_US = 5 * MICROSECONDS
"""For how long a started run counts in the pools of its first steps, until these ask for their slots themselves."""
_SILENT_US = 600 * MICROSECONDS
"""The silence after which a run in progress may be dead; a step that computes is silent, too."""

FREE_SLOTS = (
    "Free the slot of a run that has ended: Free concurrency slots in its menu on the UI's runs page, or "
    "run_monitoring.free_slots_after_run_end_seconds in dagster.yaml."
)
END_DEAD_RUNS = (
    "A run whose process has died keeps its place: terminate it by force in the UI, or let run_monitoring in "
    "dagster.yaml end such runs."
)
START_DAEMON = "Start it: dagster-daemon run. `dagster dev` and `bench up` start one, too."


def holds(queue: RunQueue) -> list[Hold]:
    """Return what a queued run waits for; what holds up every run comes first. Never empty."""
    if queue.limits is None:
        return [
            Hold(
                "no_queue",
                "the instance has no run queue any more, so nothing takes the run from it",
                remedy="Cancel the run and launch it again, or set the run_coordinator in dagster.yaml back.",
            )
        ]
    counts = _Counts(queue, queue.limits)
    found = [
        *_daemon(queue),
        *_full_instance(queue, queue.limits),
        *(_full_tag(queue, queue.limits, limit, group) for limit, group in counts.full_tags(queue.run)),
        *(_full_pool(queue, queue.limits, pool) for pool in counts.full_pools(queue.run)),
        *_location(queue),
    ]
    return found or [_turn(queue, queue.limits, counts.starting)]


def pool_waits(pools: Iterable[Pool], run_id: str) -> Iterator[Hold]:
    """Yield the pools for whose slots steps of a run in progress wait."""
    for pool in pools:
        for position, (waiting, step) in enumerate(pool.waiting):
            if waiting == run_id:
                what = f"step {step} waits for a slot of the pool {pool.name}, which has {_count_slots(pool)}"
                yield Hold("pool", what, pool.claims, ahead=position, remedy=pool_remedy(pool))
                break


def exceeded(limits: RunLimits, runs: Sequence[Mapping[str, str]]) -> Iterator[tuple[TagLimit, int]]:
    """Yield the tag limits that do not let runs with these tags run together, with how many each would have to let."""
    for limit in limits.tag_limits:
        groups = [group for tags in runs if (group := limit.group(tags)) is not None]
        needed = max(map(groups.count, groups), default=0)
        if limit.limit < needed:
            yield limit, needed


def describe(hold: Hold, now_us: int) -> str:
    """Return the hold in sentences: what it is, who holds it since when, how many runs come before, what to do."""
    sentences = [f"{hold.what[:1].upper()}{hold.what[1:]}"]
    if hold.holders:
        named = [_describe_holder(holder, now_us) for holder in hold.holders[:SHOWN_HOLDERS]]
        more = len(hold.holders) - len(named)
        sentences.append(f"Held by {', '.join(named)}{f' and {more:,} more' if more else ''}")
    if hold.ahead:
        outranking = f", {hold.outranking:,} of them with a higher {PRIORITY_TAG}" if hold.outranking else ""
        sentences.append(f"Before it in the queue: {hold.ahead:,}{outranking}")
    remedies = [hold.remedy, *_free_dead(hold.holders[:SHOWN_HOLDERS], now_us)]
    return " ".join([*(f"{sentence}." for sentence in sentences), *filter(None, remedies)])


class _Counts:
    """What Dagster's daemon has counted when it comes to a run: those in progress, and those ahead that may start."""

    def __init__(self, queue: RunQueue, limits: RunLimits) -> None:
        self.starting: list[QueuedRun] = []
        """The runs ahead that no limit holds."""
        self._limits = limits
        self._pools = queue.pools
        self._tagged: Counter[tuple[TagLimit, str]] = Counter()
        self._pooled: dict[str, int] = defaultdict(int)
        for run in queue.in_progress:
            self._tagged.update(_groups(limits, run))
            if _has_places(run, limits, queue.now_us):
                self._count_pools(run)
        for run in queue.ahead:
            if self.full_tags(run):
                continue
            # Dagster counts a run under its tags even if a pool holds it.
            self._tagged.update(_groups(limits, run))
            if self.full_pools(run):
                continue
            self._count_pools(run)
            if not (queue.unreachable and run.location == queue.run.location):
                self.starting.append(run)

    def full_tags(self, run: QueuedRun) -> list[tuple[TagLimit, str]]:
        """Return the tag limits that hold the run, each with the group that is full."""
        return [
            (limit, group) for limit, group in _groups(self._limits, run) if self._tagged[limit, group] >= limit.limit
        ]

    def full_pools(self, run: QueuedRun) -> list[Pool]:
        """Return the pools that hold the run: each full one, or, if steps take the slots, all of its first steps'."""
        known = [name for name in sorted(_slots(run, self._limits)) if name in self._pools]
        full = [self._pools[name] for name in known if not self._has_room(self._pools[name])]
        if self._limits.granularity is Granularity.OP and (run.begins_freely or len(full) < len(run.first_pools)):
            return []
        return full

    def _has_room(self, pool: Pool) -> bool:
        asked = pool.asked if self._limits.granularity is Granularity.OP else 0
        return pool.slots + self._limits.slot_buffer > asked + self._pooled[pool.name]

    def _count_pools(self, run: QueuedRun) -> None:
        for name, count in _slots(run, self._limits).items():
            self._pooled[name] += count


def _groups(limits: RunLimits, run: QueuedRun) -> list[tuple[TagLimit, str]]:
    """Return the tag limits under which a run counts, each with the group that it belongs to."""
    return [(limit, group) for limit in limits.tag_limits if (group := limit.group(run.tags)) is not None]


def _slots(run: QueuedRun, limits: RunLimits) -> Mapping[str, int]:
    """Return how many slots of each pool a run counts for."""
    match limits.granularity:
        case Granularity.RUN:
            return dict.fromkeys(run.pools, 1)
        case Granularity.OP:
            return run.first_pools
        case None:
            return {}


def _has_places(run: QueuedRun, limits: RunLimits, now_us: int) -> bool:
    """Return whether a run in progress counts in its pools; later, its steps do that themselves."""
    if limits.granularity is Granularity.RUN or run.status is RunStatus.STARTING:
        return True
    return run.status is RunStatus.STARTED and now_us - run.since_us < _ALLOTTED_US


def _daemon(queue: RunQueue) -> Iterator[Hold]:
    if queue.daemon_error:
        what = f"the daemon that takes runs from the queue fails: {queue.daemon_error}"
        yield Hold("daemon", what, remedy="Its log says more.")
    if not queue.has_heartbeats:
        return
    if queue.heartbeat_us is None:
        yield Hold("daemon", "the daemon that takes runs from the queue has never run", remedy=START_DAEMON)
    elif queue.now_us - queue.heartbeat_us > SILENT_DAEMON_US:
        silent = describe_us(queue.now_us - queue.heartbeat_us, 0)
        what = f"the daemon that takes runs from the queue does not run: its last sign is {silent} old"
        yield Hold("daemon", what, remedy=START_DAEMON)


def _full_instance(queue: RunQueue, limits: RunLimits) -> Iterator[Hold]:
    if 0 <= limits.max_concurrent_runs <= len(queue.in_progress):
        yield Hold(
            "max_concurrent_runs",
            f"the limit max_concurrent_runs lets {limits.max_concurrent_runs} run at a time",
            _holders(queue.in_progress),
            *_ranks(queue.run, queue.ahead),
            remedy=f"Raise max_concurrent_runs under {limits.section} in dagster.yaml.",
        )


def _full_tag(queue: RunQueue, limits: RunLimits, limit: TagLimit, group: str) -> Hold:
    return Hold(
        "tag_limit",
        str(limit),
        _holders(run for run in queue.in_progress if limit.group(run.tags) == group),
        *_ranks(queue.run, [run for run in queue.ahead if limit.group(run.tags) == group]),
        remedy=f"Raise it under {limits.section}, tag_concurrency_limits, in dagster.yaml.",
    )


def _full_pool(queue: RunQueue, limits: RunLimits, pool: Pool) -> Hold:
    counted = [
        run for run in queue.in_progress if pool.name in _slots(run, limits) and _has_places(run, limits, queue.now_us)
    ]
    return Hold(
        "pool",
        f"the pool {pool.name} has {_count_slots(pool)} for {limits.granularity}s",
        (*(pool.claims if limits.granularity is Granularity.OP else ()), *_holders(counted)),
        *_ranks(queue.run, [run for run in queue.ahead if pool.name in _slots(run, limits)]),
        remedy=pool_remedy(pool),
    )


def _location(queue: RunQueue) -> Iterator[Hold]:
    if queue.unreachable:
        again = f". The daemon tries again every {queue.retry_s} s" if queue.retry_s else ""
        yield Hold(
            "location",
            f"the code location {queue.run.location} cannot be reached: {queue.unreachable}{again}",
            remedy="Start its code server.",
        )


def _turn(queue: RunQueue, limits: RunLimits, starting: Sequence[QueuedRun]) -> Hold:
    """Return what a run waits for that no limit holds: its turn."""
    free = limits.max_concurrent_runs - len(queue.in_progress)
    if 0 <= free <= len(starting) and limits.max_concurrent_runs >= 0:
        return Hold(
            "order",
            f"the runs before it take what max_concurrent_runs leaves free, which is {free}",
            (),
            *_ranks(queue.run, starting),
            remedy=f"Raise max_concurrent_runs under {limits.section} in dagster.yaml, or the run's {PRIORITY_TAG}.",
        )
    every = f", every {queue.interval_s:g} s" if queue.interval_s else ""
    return Hold("turn", f"no limit holds it: it starts when the daemon next looks at the queue{every}")


def _ranks(run: QueuedRun, ahead: Sequence[QueuedRun]) -> tuple[int, int]:
    """Return how many runs are ahead, and how many of these because of their priority."""
    return len(ahead), sum(one.priority > run.priority for one in ahead)


def _holders(runs: Iterable[QueuedRun]) -> tuple[Holder, ...]:
    """Return the runs as holders, the one that holds its place for longest first."""
    by_age = sorted(runs, key=lambda run: (run.since_us, run.run_id))
    return tuple(Holder(run.run_id, run.job, run.status, run.since_us) for run in by_age)


def _count_slots(pool: Pool) -> str:
    return f"{pool.slots:,} {'slot' if pool.slots == 1 else 'slots'}"


def pool_remedy(pool: Pool) -> str:
    """Return how to raise the limit of a pool."""
    default = ", or concurrency.pools.default_limit in dagster.yaml," if pool.is_default else ""
    return f"`dagster instance concurrency set {quote(pool.name)} {pool.slots + 1}`{default} raises its limit."


def _describe_holder(holder: Holder, now_us: int) -> str:
    if holder.status is None:
        words = ["which the instance does not have any more"]
    else:
        since = "" if holder.since_us is None else f" for {describe_us(now_us - holder.since_us, 0)}"
        ended = " and has not given its slot back" if holder.status in FINISHED else since
        words = [f"job {holder.job}", f"{holder.status}{ended}"]
        if holder.last_sign_us is not None and holder.status not in FINISHED:
            words.append(f"silent for {describe_us(now_us - holder.last_sign_us, 0)}")
    step = f"step {holder.step} of " if holder.step else ""
    return f"{step}run {holder.run_id} ({', '.join(words)})"


def _free_dead(holders: Sequence[Holder], now_us: int) -> Iterator[str]:
    """Yield how to free the places of runs that have ended or may be dead."""
    if any(holder.status is None or holder.status in FINISHED for holder in holders):
        yield FREE_SLOTS
    if any(
        holder.status is RunStatus.CANCELING
        or (holder.last_sign_us is not None and now_us - holder.last_sign_us > _SILENT_US)
        for holder in holders
        if holder.status not in FINISHED
    ):
        yield END_DEAD_RUNS
