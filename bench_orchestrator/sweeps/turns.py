"""Whose turn it is: no harvest while a sweep measures, and none left over when the next sweep begins to.

A sweep measures from its plan on. Before that it checks, starts servers and waits, and earlier sweeps are harvested.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from dagster import DagsterInstance
from pydantic import TypeAdapter

from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.runs import IN_PROGRESS, UNFINISHED, Run, RunStatus
from bench_orchestrator.model.tags import HARVEST_SENSOR, OBSERVATION, Tag
from bench_orchestrator.sources.instance import find_runs, get_run, is_sensor_at_work
from bench_orchestrator.sweeps.journal import has_plan
from bench_orchestrator.waiting import poll

_PATIENCE_S = 120.0
"""Seconds for which a sweep waits for earlier harvests; one takes ten to thirty."""

_POLL_S = 1.0

_OVERLAP_US = 3_600 * MICROSECONDS
"""How far to look back behind an update: the processes that stamp updates may have different clocks."""

_AT_ONCE = 500
"""Maximum number of sweeps in one query for their harvests."""


_LONGEST_BACKOFF_S = 600.0


def backoff_s(failures: int) -> float:
    """Return the seconds to wait after this number of failures, at least one, before it is tried again."""
    return min(5 * 2.0**failures, _LONGEST_BACKOFF_S)


@dataclass(frozen=True)
class Position:
    """How far the sensor has looked: bounds what its next tick reads, and is its cursor as text.

    Sweeps are found in the order in which they were stored, whatever the clocks of the processes that stamp them. Those
    that changed after their harvest are found by their last update.
    """

    after: str | None = None
    """The run id of the latest finished sweep in the storage's order."""
    owed: tuple[str, ...] = ()
    """The run ids of the sweeps before it that are not harvested yet, or not over."""
    updated_us: int | None = None
    """The latest update of any sweep."""

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Read a cursor; one that cannot be read is a beginning."""
        text = text or ""
        try:
            # A cursor of earlier releases is a time.
            return cls(updated_us=int(text)) if text.isdecimal() else TypeAdapter(cls).validate_json(text)
        except ValueError:
            return cls()

    def __str__(self) -> str:
        """Return the cursor that `parse` reads."""
        return TypeAdapter(Position).dump_json(self).decode()

    def look(self, instance: DagsterInstance) -> tuple[list[Run], list[Run]]:
        """Return the sweeps that may have to be harvested, finished or not.

        Returns:
            Those up to `after`, and all later ones in the order in which they were stored.
        """
        kind = {str(Tag.KIND): "sweep"}
        since_us = None if self.updated_us is None else max(0, min(self.updated_us, now_us()) - _OVERLAP_US)
        owed = find_runs(instance, kind, run_ids=self.owed) if self.owed else []
        changed = find_runs(instance, kind, updated_after_us=since_us)
        # There is nothing to begin after if that run is deleted.
        known = self.after is not None and get_run(instance, self.after) is not None
        later = find_runs(instance, kind, stored_after=self.after) if known else changed
        earlier = {run.run_id: run for run in (*owed, *changed)}
        for run in later:
            earlier.pop(run.run_id, None)
        return list(earlier.values()), later

    def moved(self, earlier: Sequence[Run], later: Sequence[Run], owed: Collection[str]) -> "Position":
        """Return the position after a look.

        Args:
            earlier, later: what it saw.
            owed: the run ids of the finished ones among them that are not harvested yet.
        """
        end = max((place for place, run in enumerate(later, start=1) if run.finished), default=0)
        left = [run.run_id for run in (*earlier, *later[:end]) if run.run_id in owed or not run.finished]
        updated_us = max([self.updated_us or 0, *(run.updated_us for run in (*earlier, *later))])
        return Position(later[end - 1].run_id if end else self.after, tuple(left), min(updated_us, now_us()))


@dataclass(frozen=True)
class Finished:
    """A finished sweep and its harvests so far, oldest first."""

    run: Run
    harvests: tuple[Run, ...]

    @property
    def as_of(self) -> str:
        """Which state of the sweep a harvest reads: one that went on after its harvest is harvested again."""
        return str(self.run.updated_us)

    @property
    def is_harvested(self) -> bool:
        """Whether it was harvested in its present state."""
        # Harvest runs of earlier releases lack this tag.
        return any(
            run.status is RunStatus.SUCCESS and run.tags.get(Tag.HARVEST_AS_OF, self.as_of) == self.as_of
            for run in self.harvests
        )

    @property
    def next_key(self) -> str:
        """The key of the next harvest's run, which no harvest in the instance has, whichever of them are deleted."""
        return "/".join([self.run.run_id, self.as_of, *(run.run_id for run in self.harvests[-1:])])


def find_owed(instance: DagsterInstance, sweep_runs: Iterable[Run]) -> list[Finished]:
    """Return those of the sweeps that are over, have a plan and are not harvested yet, the earliest end first."""
    over = sorted((run for run in sweep_runs if run.finished), key=lambda run: run.updated_us)
    harvests: dict[str, list[Run]] = {run.run_id: [] for run in over}
    for first in range(0, len(over), _AT_ONCE):
        ids = [run.run_id for run in over[first : first + _AT_ONCE]]
        for run in find_runs(instance, {Tag.HARVEST_OF: ids}):
            harvests[run.tags[Tag.HARVEST_OF]].append(run)
    finished = (Finished(run, tuple(harvests[run.run_id])) for run in over)
    return [one for one in finished if not one.is_harvested and has_plan(instance, one.run.run_id)]


def find_measuring(instance: DagsterInstance) -> Run | None:
    """Return the sweep that measures now; None if there is none."""
    running = find_runs(instance, {Tag.KIND: "sweep"}, statuses=IN_PROGRESS)
    return next((run for run in running if has_plan(instance, run.run_id)), None)


def await_harvests(
    instance: DagsterInstance,
    own_run_id: str,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until earlier sweeps are harvested, for two minutes at most, and only if there is a sensor to ask for it.

    Also waits for the end of an observation.

    Sweeps whose first harvest failed are not waited for: further ones follow with growing pauses.
    """
    own = get_run(instance, own_run_id)
    if own is None or not is_sensor_at_work(instance, HARVEST_SENSOR, now_us()):
        return
    ended_after_us = own.created_us - _OVERLAP_US

    def look() -> bool:
        """Return whether no harvest is under way or about to be."""
        if find_runs(instance, {Tag.KIND: ("harvest", OBSERVATION)}, statuses=UNFINISHED):
            return False
        sweeps = find_runs(instance, {Tag.KIND: "sweep"}, updated_after_us=ended_after_us)
        return all(one.harvests for one in find_owed(instance, sweeps))

    if look():
        return
    say("Waiting until earlier sweeps are harvested ...")
    if not poll(look, patience_s=_PATIENCE_S, every_s=_POLL_S, sleep=sleep):
        say(f"They are not harvested after {_PATIENCE_S:g} s; this sweep begins.")
