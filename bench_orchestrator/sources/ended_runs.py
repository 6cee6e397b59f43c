"""Find the runs of a deployment that have ended since the last look, each once, and read their launches, over GraphQL.

A look asks for the runs that were updated since shortly before the last one. A run's update has the time of its last
event, by the clock of the process that wrote it, so a run that ended before a look may appear after it. What was found
is remembered by its id. Of ids that are forgotten, the latest end is known: no run that ended before it is new, however
often its record is updated later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench_orchestrator.model.deployment_reading import ReadRun
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.launch import Launch
from bench_orchestrator.model.runs import FINISHED
from bench_orchestrator.sources.graphql import LOCATION_FIELD, list_runs, location_of, read_events, run_of, to_us
from bench_orchestrator.timeline.launches import launch_of_run
from bench_orchestrator.timeline.story import StoryFold
from bench_orchestrator.webserver import (
    AccessDeniedError,
    Webserver,
    WebserverError,
    WebserverUnreachableError,
    understood,
)

LOGS_AT_ONCE = 25
"""How many runs' logs are read with one query."""

_OVERLAP_US = 120 * MICROSECONDS
"""How much later than its end a run may appear, and by how much clocks may differ."""
_MOST_REMEMBERED = 50_000
"""How many ids are remembered, unless more runs end within the overlap."""

_PAGE = 300
"""Events of each run in a query."""
_MOST_EVENTS = 20_000
"""How much of a log is read in search of the first step's start."""


@dataclass
class EndedRuns:
    """The runs of a deployment that end after an instant."""

    webserver: Webserver
    since_us: int
    """The instant, by this machine's clock."""
    overlap_us: int = _OVERLAP_US
    most_remembered: int = _MOST_REMEMBERED
    _looked_us: int | None = field(default=None, init=False)
    """When the last look that succeeded began, by the webserver's clock."""
    _known_us: int = field(default=0, init=False)
    """Every run that ended by then was found, or is not to be."""
    _ends_us: dict[str, int] = field(default_factory=dict, init=False)
    """The end of each run that was found and is remembered, by run id."""

    def look(self) -> list[ReadRun]:
        """Return the runs that were not found before, in the order of their ends, without their logs.

        Raises:
            WebserverError: nothing was found; the next look finds it.
        """
        ahead_us = round(self.webserver.ahead_s * MICROSECONDS)
        began_us = now_us() + ahead_us
        if self._looked_us is None:
            self._known_us = after_us = self.since_us + ahead_us
        else:
            after_us = self._looked_us - self.overlap_us
        new = {
            one.run.run_id: (ended_us, one)
            for ended_us, one in _list_ended(self.webserver, after_us)
            if ended_us > self._known_us and one.run.run_id not in self._ends_us
        }
        self._looked_us = began_us
        self._ends_us |= {run_id: ended_us for run_id, (ended_us, _) in new.items()}
        self._forget(began_us - self.overlap_us)
        return [one for _, one in sorted(new.values(), key=lambda pair: pair[0])]

    def _forget(self, before_us: int) -> None:
        """Forget the oldest of too many ids, if their runs ended before an instant."""
        surplus = len(self._ends_us) - self.most_remembered
        if surplus <= 0:
            return
        for run_id, ended_us in sorted(self._ends_us.items(), key=lambda item: item[1])[:surplus]:
            if ended_us < before_us:
                del self._ends_us[run_id]
                self._known_us = max(self._known_us, ended_us)


@understood
def _list_ended(webserver: Webserver, after_us: int) -> list[tuple[int, ReadRun]]:
    """Return the ended runs that were updated after an instant, with their ends in microseconds since the epoch."""
    selected = {"statuses": list(FINISHED), "updatedAfter": after_us / MICROSECONDS}
    return [_ended(answer) for answer in reversed(list_runs(webserver, selected, more_fields=LOCATION_FIELD))]


def _ended(answer: Mapping[str, Any]) -> tuple[int, ReadRun]:
    run, ended_s = run_of(answer), answer["endTime"]
    return run.updated_us if ended_s is None else to_us(ended_s), ReadRun(run, location_of(answer))


def read_launches(webserver: Webserver, runs: Sequence[ReadRun]) -> list[tuple[ReadRun, Launch]]:
    """Return these runs with their launches, without those whose logs are gone or cannot be read.

    Raises:
        WebserverUnreachableError, AccessDeniedError: no log was read.
    """
    takers = {one.run.run_id: StoryFold() for one in runs}

    def enough(run_id: str) -> bool:
        return takers[run_id].code_reached or takers[run_id].events >= _MOST_EVENTS

    try:
        read_events(webserver, takers, metadata=False, page=_PAGE, enough=enough)
    except (WebserverUnreachableError, AccessDeniedError):
        raise
    except WebserverError:
        if len(runs) == 1:
            return []
        return [found for one in runs for found in read_launches(webserver, [one])]
    return [
        (one, launch_of_run(one.run, takers[one.run.run_id].story().log, one.run.request))
        for one in runs
        if takers[one.run.run_id].events
    ]
