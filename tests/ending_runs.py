"""A deployment whose runs end, are listed, counted and read, in place of a webserver."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deployment_answers import EXPORTER_ANSWERS, AnsweringWebserver, Clock, event_answer
from doctor_samples import BEGIN_US, launch_events

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.runs import RunEvent
from bench_orchestrator.webserver import WebserverUnreachableError

BEGIN_S = BEGIN_US / MICROSECONDS


@dataclass
class EndingRuns:
    """The runs of a deployment, in the order of their creation. Times are in seconds since its beginning."""

    now_s: float = 0.0
    away: bool = False
    """Whether the webserver does not answer."""
    unreadable: set[str] = field(default_factory=set)
    """Runs whose logs cannot be read."""
    _answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    _events: dict[str, Sequence[RunEvent]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        answers = {
            **EXPORTER_ANSWERS,
            "BenchRuns": self._list,
            "BenchRunCount": lambda variables, _: {"runs": {"count": len(self._select(variables["filter"]))}},
            "BenchLogs": self._logs,
        }
        self.clock = Clock()
        self.webserver = _Webserver(self, answers, self.clock)

    def now_us(self) -> int:
        """Return the instant, in microseconds since the epoch."""
        return BEGIN_US + round(self.now_s * MICROSECONDS)

    def add(self, run_id: str, status: str = "SUCCESS", *, ended_s: float | None = None, **known: Any) -> None:
        """Add a run that was created now, or ended then; with the log of a launch, unless it waits.

        Args:
            known: `location`, `job`, and what `launch_events` takes.
        """
        location, job = known.pop("location", "sales"), known.pop("job", "nightly")
        events = launch_events(self.now_s, **known)
        started_us = next(one.time_us for one in events if one.type == "PIPELINE_START")
        waits = status == "QUEUED"
        ended_s = self.now_s if ended_s is None else ended_s
        self._events[run_id] = events
        self._answers[run_id] = {
            "runId": run_id,
            "status": status,
            "jobName": job,
            "tags": [],
            "creationTime": BEGIN_S + self.now_s,
            "updateTime": BEGIN_S + ended_s,
            "startTime": None if waits else started_us / MICROSECONDS,
            "endTime": BEGIN_S + ended_s if status in ("SUCCESS", "FAILURE", "CANCELED") else None,
            "repositoryOrigin": {"repositoryLocationName": location},
        }

    def touch(self, run_id: str) -> None:
        """Change a run's record without ending it again, as adding a tag does."""
        self._answers[run_id]["updateTime"] = BEGIN_S + self.now_s

    def remove(self, run_id: str) -> None:
        """Take a run out of the deployment."""
        del self._answers[run_id], self._events[run_id]

    def _select(self, chosen: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what a RunsFilter selects, newest first."""
        after_s, statuses = chosen.get("updatedAfter"), chosen.get("statuses")
        return [
            answer
            for answer in reversed(self._answers.values())
            if (statuses is None or answer["status"] in statuses)
            and (after_s is None or answer["updateTime"] > after_s)
        ]

    def _list(self, variables: Mapping[str, Any], _: str) -> dict[str, Any]:
        order = list(self._answers)
        cursor = variables["cursor"]
        last = len(order) if cursor is None else order.index(cursor) if cursor in order else 0
        found = [one for one in self._select(variables["filter"]) if order.index(one["runId"]) < last]
        return {"runs": {"__typename": "Runs", "results": found[: variables["limit"]]}}

    def _logs(self, variables: Mapping[str, Any], _: str) -> dict[str, Any]:
        runs = {name.removeprefix("run"): run_id for name, run_id in variables.items() if name.startswith("run")}
        if self.unreadable & set(runs.values()):
            raise ValueError("a text that is no UTF-8")
        return {f"log{number}": self._log(run_id) for number, run_id in runs.items()}

    def _log(self, run_id: str) -> dict[str, Any]:
        if run_id not in self._events:
            return {"__typename": "RunNotFoundError", "message": "gone"}
        events = [event_answer(event) for event in self._events[run_id]]
        return {"__typename": "EventConnection", "cursor": "1", "hasMore": False, "events": events}


class _Webserver(AnsweringWebserver):
    """A webserver that does not answer while it is away."""

    def __init__(self, runs: EndingRuns, answers: Mapping[str, Any], clock: Clock) -> None:
        super().__init__(answers, clock)
        self._runs = runs

    def query(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        if self._runs.away:
            self.traffic.requests += 1
            raise WebserverUnreachableError("no answer")
        with self.understanding():
            return super().query(document, variables)
