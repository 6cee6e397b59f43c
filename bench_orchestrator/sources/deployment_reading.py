"""Read a whole deployment over GraphQL within a time budget: one request at a time, nothing is launched or changed.

What matters most is asked first. The logs of runs come last, many in one query, in an order of which each beginning is
spread over the locations and over time: where the time is over, what was read is a sample. A question that fails, as to
an older webserver that lacks a field, costs a line of the answer.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from typing import TypeVar

from bench_orchestrator.model.deployment_reading import (
    Contents,
    DeploymentReading,
    FailedTick,
    InstanceSettings,
    QueueState,
    ReadLocation,
    ReadRun,
)
from bench_orchestrator.model.errors import one_line
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.run_queue import QueuedRun
from bench_orchestrator.model.runs import IN_PROGRESS, Run, RunStatus
from bench_orchestrator.model.sampling import take_turns
from bench_orchestrator.model.story import Story
from bench_orchestrator.sources import deployment_contents as contents
from bench_orchestrator.sources import deployment_instance as instance
from bench_orchestrator.sources.cost_meter import CostMeter
from bench_orchestrator.sources.graphql import find_runs, read_events, to_us
from bench_orchestrator.timeline.story import StoryFold
from bench_orchestrator.webserver import (
    AccessDeniedError,
    LocationEntry,
    Webserver,
    WebserverError,
)

RUNS_PER_LOCATION = 200
BUDGET_S = 120.0

MOST_QUEUED = 1_000
"""How many queued runs are read, and how many in progress."""

_REPOSITORY_TAG = ".dagster/repository"
"""Dagster's tag of a run: `<repository>@<location>`. GraphQL omits it, and filters by it."""
_ONLY_REPOSITORY = "__repository__"
"""The repository of a location's Definitions, assumed where a location that failed to load does not tell."""

_LOGS_AT_ONCE = 25
_PAGE = 300
"""Events of each run in a query: 25 runs give at most 7,500."""
_ENOUGH_EVENTS = 1_000
"""How much of a log is read if it is longer and has the first step's start."""
_MOST_EVENTS = 20_000
"""How much of a log is read at most."""

_Answer = TypeVar("_Answer")


@dataclass
class DeploymentReader:
    """Reads a deployment, again and again if asked to: what cannot have changed since is not read twice."""

    webserver: Webserver
    most_runs: int = RUNS_PER_LOCATION
    """Of each location: the latest."""
    budget_s: float = BUDGET_S
    clock: Callable[[], float] = time.monotonic
    _missing: list[str] = field(default_factory=list, init=False)
    _ends_s: float = field(default=0.0, init=False)
    _stories: dict[str, Story] = field(default_factory=dict, init=False)
    """Those of finished runs, by run id."""
    _contents: dict[tuple[str, str], Contents] = field(default_factory=dict, init=False)
    """By location and its server's id."""

    def read(self) -> DeploymentReading:
        """Read the deployment.

        Raises:
            WebserverError: it does not answer at all, or rejects the credentials.
        """
        meter = CostMeter(self.webserver, self.clock)
        self._missing, self._ends_s = [], self.clock() + self.budget_s
        entries = self.webserver.list_locations()
        at_us = now_us() + round(self.webserver.ahead_s * MICROSECONDS)
        version = self._try("the version", partial(instance.read_version, self.webserver)) or ""
        daemons = self._try("the daemons", partial(instance.read_daemons, self.webserver)) or ()
        settings = self._try("the settings", partial(instance.read_settings, self.webserver)) or InstanceSettings()
        queue = self._read_queue(settings.section)
        listed = {name: self._list_runs(entry) for name, entry in entries.items()}
        locations = tuple(self._read_location(entry) for entry in entries.values())
        ticks = tuple(tick for entry in entries.values() for tick in self._read_ticks(entry))
        stories = self._read_stories(listed)
        runs = [ReadRun(run, name, stories.get(run.run_id)) for name, found in listed.items() for run in found]
        return DeploymentReading(
            url=self.webserver.url,
            at_us=at_us,
            version=version,
            locations=locations,
            daemons=daemons,
            settings=settings,
            queue=queue,
            runs=tuple(sorted(runs, key=lambda one: (one.run.created_us, one.run.run_id))),
            ticks=ticks,
            missing=tuple(dict.fromkeys(self._missing)),
            budget_s=self.budget_s,
            cost=meter.read(),
        )

    @property
    def _left_s(self) -> float:
        return self._ends_s - self.clock()

    def _try(self, what: str, ask: Callable[[], _Answer]) -> _Answer | None:
        """Return the answer to a question; if it fails, or the time is over, note that, and return None."""
        if self._left_s <= 0:
            self._missing.append(f"{what}: the time was over")
            return None
        try:
            return ask()
        except AccessDeniedError:
            raise
        except WebserverError as error:
            self._missing.append(f"{what}: {one_line(str(error), 200)}")
            return None

    def _read_queue(self, section: str) -> QueueState:
        told = self._try("the limits", lambda: (instance.read_run_limits(self.webserver, section),))
        (limits,) = told or (None,)
        if limits is not None:
            granularity, buffer = self._try(
                "how pools limit runs", partial(instance.read_pool_settings, self.webserver)
            ) or (None, 0)
            limits = replace(limits, granularity=granularity, slot_buffer=buffer)
        pools = self._try("the pools", partial(instance.read_pools, self.webserver)) or {}
        queued = self._queued_runs("the queued runs", [RunStatus.QUEUED])
        return QueueState(
            limits=limits,
            limits_known=told is not None,
            queued=tuple(queued),
            more=len(queued) == MOST_QUEUED,
            in_progress=tuple(self._queued_runs("the runs in progress", list(IN_PROGRESS))),
            pools=pools,
        )

    def _queued_runs(self, what: str, statuses: list[RunStatus]) -> list[QueuedRun]:
        read = partial(instance.read_queued_runs, self.webserver, statuses, most=MOST_QUEUED)
        found = self._try(f"the pools of {what}", read)
        return (self._try(what, partial(read, with_pools=False)) or []) if found is None else found

    def _list_runs(self, entry: LocationEntry) -> list[Run]:
        found: list[Run] = []
        for repository in entry.repositories or (_ONLY_REPOSITORY,):
            tags = {_REPOSITORY_TAG: f"{repository}@{entry.name}"}
            what = f"the runs of {entry.name}"
            found += self._try(what, partial(find_runs, self.webserver, tags, most=self.most_runs)) or []
        return sorted(found, key=lambda run: run.created_us)[-self.most_runs :]

    def _read_location(self, entry: LocationEntry) -> ReadLocation:
        key = (entry.name, entry.server_id)
        found = self._contents.get(key) or (self._read_contents(entry) if entry.state == "loaded" else Contents())
        if entry.server_id and None not in astuple(found):
            self._contents[key] = found
        since_us = None
        with suppress(ValueError, OverflowError):
            since_us = None if entry.since_s is None else to_us(entry.since_s)
        return ReadLocation(entry.name, entry.state, one_line(entry.error), since_us, found)

    def _read_contents(self, entry: LocationEntry) -> Contents:
        def each(what: str, ask: Callable[[Webserver, str, str], int]) -> int | None:
            counts = [
                self._try(f"the {what} of {entry.name}", partial(ask, self.webserver, entry.name, repository))
                for repository in entry.repositories
            ]
            known = [count for count in counts if count is not None]
            return sum(known) if len(known) == len(counts) else None

        assets: dict[str, bool] | None = {}
        for repository in entry.repositories:
            ask = partial(self.webserver.list_assets, entry.name, repository)
            found = self._try(f"the assets of {entry.name}", ask)
            assets = None if found is None or assets is None else {**assets, **found}
        partitioned = None if assets is None else [key for key, has_partitions in assets.items() if has_partitions]
        most, looked_at = self._try(
            f"the partitions of {entry.name}",
            partial(contents.count_partitions, self.webserver, partitioned or ()),
        ) or (None, 0)
        return Contents(
            assets=None if assets is None else len(assets),
            partitioned=None if partitioned is None else len(partitioned),
            partitions=None if partitioned is None else most,
            looked_at=looked_at,
            jobs=each("jobs", contents.count_jobs),
            checks=each("checks", contents.count_checks),
        )

    def _read_ticks(self, entry: LocationEntry) -> list[FailedTick]:
        return [
            tick
            for repository in entry.repositories
            for tick in self._try(
                f"the failed ticks of {entry.name}",
                partial(contents.read_failed_ticks, self.webserver, entry.name, repository),
            )
            or ()
        ]

    def _read_stories(self, listed: Mapping[str, list[Run]]) -> dict[str, Story]:
        """Return the stories of as many runs as the time allows, by run id."""
        runs = {run.run_id: run for found in listed.values() for run in found}
        known = {run_id: self._stories[run_id] for run_id in runs if run_id in self._stories}
        newest_first = [[run for run in reversed(found) if run.run_id not in known] for found in listed.values()]
        order = [run.run_id for run in take_turns(newest_first)]
        stories = dict(known)
        longest_s = 0.0
        for first in range(0, len(order), _LOGS_AT_ONCE):
            left_s = self._left_s
            if left_s <= longest_s:
                break
            stories |= self._try("logs of runs", partial(self._read_batch, order[first : first + _LOGS_AT_ONCE])) or {}
            longest_s = max(longest_s, left_s - self._left_s)
        self._stories = {run_id: story for run_id, story in stories.items() if runs[run_id].finished}
        return stories

    def _read_batch(self, run_ids: list[str]) -> dict[str, Story]:
        """Return the stories of these runs, without those for whose launches the time was not enough."""
        takers = {run_id: StoryFold() for run_id in run_ids}

        def enough(run_id: str) -> bool:
            fold = takers[run_id]
            least = _ENOUGH_EVENTS if fold.code_reached else _MOST_EVENTS
            return fold.events >= least or self._left_s <= 0

        cut = read_events(self.webserver, takers, metadata=False, page=_PAGE, enough=enough)
        return {
            run_id: fold.story(whole=run_id not in cut)
            for run_id, fold in takers.items()
            if run_id not in cut or fold.code_reached
        }
