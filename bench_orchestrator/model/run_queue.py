"""The run queue of an instance: its limits, the runs that they count, its pools, and what holds a run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from bench_orchestrator.model.runs import IN_PROGRESS, RunStatus

PRIORITY_TAG = "dagster/priority"

LOCATION_AWAY_MESSAGE = "Run dequeue failed to reach the user code server, re-submitting the run"
"""The message of the daemon if it could not launch a run because the code location cannot be reached."""


@dataclass(frozen=True)
class TagLimit:
    """A limit of `tag_concurrency_limits`."""

    key: str
    limit: int
    value: str | None = None
    """The only value of the tag that counts; None: all do."""
    per_value: bool = False
    """Whether the limit holds for each value separately (`applyLimitPerUniqueValue`)."""

    def group(self, tags: Mapping[str, str]) -> str | None:
        """Return the value that runs share which count together; None if a run with these tags does not count."""
        if self.key not in tags or self.value not in (None, tags[self.key]):
            return None
        return tags[self.key] if self.per_value else self.value or ""

    def __str__(self) -> str:
        which = " per value" if self.per_value else "" if self.value is None else f" with the value {self.value!r}"
        return f"the tag limit on {self.key!r} lets {self.limit} run{which} at a time"


def read_tag_limits(settings: Iterable[Mapping[str, Any]]) -> tuple[TagLimit, ...]:
    """Return the limits of `tag_concurrency_limits`; of several for the same, Dagster keeps the last."""
    limits: dict[tuple[str, str | None, bool], TagLimit] = {}
    for setting in settings:
        key, value = setting["key"], setting.get("value")
        per_value = isinstance(value, Mapping) and bool(value.get("applyLimitPerUniqueValue"))
        only = value if isinstance(value, str) else None
        limits[key, only, per_value] = TagLimit(key, setting["limit"], only, per_value)
    return tuple(limits.values())


class Granularity(StrEnum):
    """What takes a slot of a pool (`concurrency.pools.granularity`)."""

    RUN = "run"
    OP = "op"


@dataclass(frozen=True)
class RunLimits:
    """The limits of an instance's run queue."""

    max_concurrent_runs: int = -1
    """How many runs may be in progress; -1: any number."""
    tag_limits: tuple[TagLimit, ...] = ()
    section: str = "concurrency.runs"
    """The section of dagster.yaml that has both."""
    granularity: Granularity | None = None
    """What takes a slot of a pool; None if runs are not held in the queue for pools."""
    slot_buffer: int = 0
    """How many runs more than a pool's slots leave the queue."""


@dataclass(frozen=True)
class QueuedRun:
    """A run as the queue counts it: it waits, or is in progress."""

    run_id: str
    job: str
    status: RunStatus
    tags: Mapping[str, str]
    since_us: int
    """When it was created, or else started, in microseconds since the epoch."""
    location: str = ""
    pools: frozenset[str] = frozenset()
    """The pools of all its steps."""
    first_pools: Mapping[str, int] = field(default_factory=dict, hash=False)
    """How many of its first steps, which depend on no other, need a slot of each pool."""
    begins_freely: bool = True
    """Whether a first step needs no pool."""

    @property
    def priority(self) -> int:
        """The priority in the queue; runs of equal priority leave it in the order of their creation."""
        try:
            return int(self.tags.get(PRIORITY_TAG, "0"))
        except ValueError:
            return 0


@dataclass(frozen=True)
class Holder:
    """A run, or one of its steps, that holds a place that another run waits for."""

    run_id: str
    job: str = ""
    """Empty if the instance does not have the run."""
    status: RunStatus | None = None
    """None if the instance does not have the run."""
    since_us: int | None = None
    """Since when it holds the place, in microseconds since the epoch; None if unknown."""
    step: str = ""
    last_sign_us: int | None = None
    """When the run last wrote to its log; None if unknown."""


@dataclass(frozen=True)
class Pool:
    """A pool with a limit."""

    name: str
    slots: int
    is_default: bool = False
    """Whether the limit is `concurrency.pools.default_limit`."""
    claims: tuple[Holder, ...] = ()
    """The steps that hold its slots."""
    waiting: tuple[tuple[str, str], ...] = ()
    """The run ids and keys of the steps that wait for a slot, in the order in which they asked."""
    asked: int = 0
    """How many steps have asked for a slot and not given it back, which is what the queue counts."""


@dataclass(frozen=True)
class PendingStep:
    """A step that has asked for a slot of a pool. Instants are in microseconds since the epoch."""

    run_id: str
    step: str
    asked_us: int
    given_us: int | None = None
    """When it was given a slot that it has not taken yet; None if it waits."""
    priority: int = 0


@dataclass(frozen=True)
class RunQueue:
    """What decides when a run leaves the queue, at one instant. All times are microseconds since the epoch."""

    run: QueuedRun
    limits: RunLimits | None
    """None if the instance has no run queue."""
    now_us: int
    ahead: tuple[QueuedRun, ...] = ()
    """The queued runs before it, in the queue's order."""
    in_progress: tuple[QueuedRun, ...] = ()
    pools: Mapping[str, Pool] = field(default_factory=dict)
    """The pools with limits, of the run and the runs ahead, by name."""
    heartbeat_us: int | None = None
    """When the queue's daemon last said that it runs; None if it never did."""
    has_heartbeats: bool = True
    """Whether the daemon sends heartbeats."""
    daemon_error: str = ""
    unreachable: str = ""
    """Why the run's code location could not be reached when the daemon tried; empty if it was not, or has not tried."""
    retry_s: int = 0
    """Seconds between two tries."""
    interval_s: float | None = None
    """Seconds between two looks of the daemon at the queue; 0 if it looks at each change."""


@dataclass(frozen=True)
class Hold:
    """One thing that a run waits for."""

    kind: str
    """`daemon`, `max_concurrent_runs`, `tag_limit`, `pool`, `order`, `location`, `pod`, …"""
    what: str
    """What it is, as the beginning of a sentence."""
    holders: tuple[Holder, ...] = ()
    """Who holds its places."""
    ahead: int = 0
    """How many runs wait for the same before it."""
    outranking: int = 0
    """How many of these have a higher priority."""
    remedy: str = ""
    """What to do, as a sentence."""


def runs_ahead(run: QueuedRun, queued: Iterable[QueuedRun]) -> tuple[QueuedRun, ...]:
    """Return the runs that the daemon considers before the run, in its order, given all queued ones, oldest first."""
    ahead: list[QueuedRun] = []
    is_older = True
    for one in queued:
        if one.run_id == run.run_id:
            is_older = False
        elif one.priority > run.priority or (is_older and one.priority == run.priority):
            ahead.append(one)
    return tuple(sorted(ahead, key=lambda one: -one.priority))


def pool_of(
    name: str,
    slots: int,
    claimed: Iterable[tuple[str, str]],
    pending: Sequence[PendingStep],
    runs: Mapping[str, Holder],
    *,
    is_default: bool = False,
) -> Pool:
    """Return a pool; steps that were given a slot and have not taken it yet hold one.

    Args:
        claimed: the run ids and keys of the steps that have taken a slot.
        pending: the steps that have asked for one and not given it back.
        runs: those that the instance has, by id.
    """
    given_us = {(step.run_id, step.step): step.given_us for step in pending if step.given_us is not None}
    claims = [
        replace(runs.get(run_id) or Holder(run_id), step=step, since_us=given_us.get((run_id, step)))
        for run_id, step in dict.fromkeys((*claimed, *given_us))
    ]
    waiting = sorted(
        (step for step in pending if step.given_us is None), key=lambda step: (-step.priority, step.asked_us)
    )
    return Pool(
        name=name,
        slots=slots,
        is_default=is_default,
        claims=tuple(sorted(claims, key=lambda claim: (claim.status in IN_PROGRESS, claim.since_us or 0))),
        waiting=tuple((step.run_id, step.step) for step in waiting),
        asked=len(pending),
    )
