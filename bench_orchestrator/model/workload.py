"""What a trial with several runs does, action by action, and the limits that its runs have to keep.

`sweeps/workloads.py` carries the actions out; `timeline/occupancy.py` judges the limits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from bench_orchestrator.model.runs import RunStatus


class Way(StrEnum):
    """How a run is ended before its time."""

    CANCEL = "cancel"
    """Like the button in the UI."""
    KILL = "kill"
    """Its processes are killed at once."""


@dataclass(frozen=True)
class Submit:
    """Requests runs, one after the other."""

    role: str
    """What the runs are in this trial: `customer a`. Runs of one role are alike."""
    count: int = 1
    asset: int = 0
    """The number of the trial's asset that they materialize."""
    tags: Mapping[str, str] = field(default_factory=dict)
    job: str = ""
    """The job that they execute instead of materializing an asset."""
    act: Literal["submit"] = "submit"


@dataclass(frozen=True)
class Backfill:
    """Requests a backfill with a run for each of the latest partitions of one of the trial's assets."""

    role: str
    partitions: int
    asset: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    act: Literal["backfill"] = "backfill"


@dataclass(frozen=True)
class Fill:
    """Puts runs into the queue that are not to start: they are copies of the trial's first run, stored in one go.

    A limit has to hold them back. The trial does not wait for them, and takes them out of the queue when it is over.
    """

    role: str
    count: int
    tags: Mapping[str, str] = field(default_factory=dict)
    """What the limit knows them by, for example."""
    act: Literal["fill"] = "fill"


@dataclass(frozen=True)
class Schedule:
    """Switches the location's single-flight schedule on for some ticks, each at a full minute."""

    role: str
    ticks: int
    runs: int
    """How many of the ticks launch a run; the others find one in progress."""
    asset: int = 0
    act: Literal["schedule"] = "schedule"


@dataclass(frozen=True)
class SetPool:
    """Sets the limit of a pool, also for the later trials of the same deployment."""

    pool: str
    slots: int
    act: Literal["set_pool"] = "set_pool"


@dataclass(frozen=True)
class Await:
    """Waits until a number of a role's runs have been in one of these statuses at the same look."""

    role: str
    statuses: tuple[RunStatus, ...]
    count: int = 1
    act: Literal["await"] = "await"


@dataclass(frozen=True)
class End:
    """Ends a role's runs that are in progress."""

    role: str
    way: Way = Way.CANCEL
    act: Literal["end"] = "end"


@dataclass(frozen=True)
class Rest:
    """Does nothing for some seconds."""

    seconds: float
    act: Literal["rest"] = "rest"


Action = Submit | Backfill | Fill | Schedule | SetPool | Await | End | Rest


class Unit(StrEnum):
    """What a limit counts."""

    RUNS = "runs"
    """From the moment the queue's daemon takes a run until its end."""
    RUNS_AND_QUEUED = "runs_and_queued"
    """From a run's creation to its end."""
    STEPS = "steps"
    """From a step's start to its end."""


@dataclass(frozen=True)
class Limit:
    """How many runs or steps of some roles may be in progress at once."""

    name: str
    """As its breach is reported: `max_concurrent_runs`, `pool a`."""
    slots: int
    roles: tuple[str, ...] = ()
    """Empty: all runs."""
    unit: Unit = Unit.RUNS
    pool: str = ""
    """The pool whose limit it is, if the workload raises that limit. The slots then hold until the first change."""

    def holds(self, role: str) -> bool:
        """Return whether the limit counts runs of this role."""
        return not self.roles or role in self.roles


@dataclass(frozen=True)
class Workload:
    """The actions of a trial, in order, and the limits that its runs have to keep. The trial waits for all its runs."""

    actions: tuple[Action, ...]
    limits: tuple[Limit, ...] = ()
    ended: tuple[str, ...] = ()
    """The roles whose runs the workload ends before their time."""

    def expected(self) -> dict[str, int]:
        """Return how many runs of each role have to exist."""
        counts: dict[str, int] = {}
        for action in self.actions:
            match action:
                case Submit():
                    counts[action.role] = counts.get(action.role, 0) + action.count
                case Backfill():
                    counts[action.role] = counts.get(action.role, 0) + action.partitions
                case Schedule():
                    counts[action.role] = counts.get(action.role, 0) + action.runs
                case _:
                    pass
        return counts
