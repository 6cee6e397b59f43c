"""What a run's log tells beyond its launch: planned events, retries, waits for pools, time limits.

Pure, for any source.
"""

import re
from collections import defaultdict

from bench_orchestrator.model.errors import one_line
from bench_orchestrator.model.run_queue import LOCATION_AWAY_MESSAGE
from bench_orchestrator.model.runs import RunError, RunEvent
from bench_orchestrator.model.story import Story
from bench_orchestrator.timeline.run_log import RunLogFold
from bench_orchestrator.timeline.stages import STEP_STARTS

_BLOCKED = re.compile(r"Step (?:still )?blocked by (?:concurrency )?limit for (?:pool|key) (?P<pool>.+)", re.DOTALL)
"""What the executor logs of a step that waits for a slot."""
_TIME_LIMIT = re.compile(r"[^.\n]*timed out due to taking longer than [^\n]*|DEADLINE_EXCEEDED|Deadline Exceeded")
"""Dagster's words, and gRPC's, for a request to a code server that took longer than its time limit."""
_MOST_CAUSES = 20


class StoryFold:
    """Folds the events of one run in log order, incrementally and in linear time."""

    def __init__(self) -> None:
        self.events = 0
        self.code_reached = False
        self._log = RunLogFold()
        self._planned = 0
        self._planned_assets: set[str] = set()
        self._attempts_us: dict[str, int] = {}
        self._failed_us: dict[str, int] = {}
        self._step_retries = 0
        self._retried_us = 0
        self._blocked: dict[str, tuple[str, int]] = {}
        self._pool_waits_us: dict[str, int] = defaultdict(int)
        self._pool_waits = 0
        self._location_away = 0
        self._time_limit = ""

    def take(self, event: RunEvent) -> None:
        """Add the next event."""
        self.events += 1
        self.code_reached |= event.type in STEP_STARTS
        self._log.take(event)
        if event.type == "ASSET_MATERIALIZATION_PLANNED":
            self._planned += 1
            self._planned_assets.add(f"{event.step_key} {event.message}")
        if event.step_key is not None:
            self._follow_retries(event.step_key, event)
            self._follow_pools(event.step_key, event)
        elif event.type == "ENGINE_EVENT" and event.message.startswith(LOCATION_AWAY_MESSAGE):
            self._location_away += 1
        if event.error is not None:
            self._time_limit = self._time_limit or find_time_limit(_whole_text(event.error))

    def story(self, *, whole: bool = True) -> Story:
        """Return what the events so far tell."""
        return Story(
            log=self._log.log(),
            planned=self._planned,
            planned_assets=frozenset(self._planned_assets),
            step_retries=self._step_retries,
            retried_us=self._retried_us,
            pool_waits_us=dict(self._pool_waits_us),
            pool_waits=self._pool_waits,
            location_away=self._location_away,
            time_limit=self._time_limit,
            whole=whole,
        )

    def _follow_retries(self, step: str, event: RunEvent) -> None:
        if event.type == "STEP_UP_FOR_RETRY":
            self._step_retries += 1
            self._failed_us[step] = self._attempts_us.get(step, event.time_us)
        elif event.type in STEP_STARTS:
            since_us = self._failed_us.pop(step, event.time_us)
            self._retried_us += max(0, event.time_us - since_us)
            self._attempts_us[step] = event.time_us

    def _follow_pools(self, step: str, event: RunEvent) -> None:
        if event.type == "ENGINE_EVENT":
            blocked = _BLOCKED.match(event.message)
            if blocked:
                self._blocked.setdefault(step, (blocked["pool"], event.time_us))
        elif event.type in STEP_STARTS or event.type == "STEP_WORKER_STARTING":
            pool, since_us = self._blocked.pop(step, ("", event.time_us))
            if pool:
                self._pool_waits += 1
                self._pool_waits_us[pool] += max(0, event.time_us - since_us)


def find_time_limit(text: str) -> str:
    """Return what an error says of a code server's time limit, in one line; empty if it is about something else."""
    found = _TIME_LIMIT.search(text)
    return one_line(found[0], 300) if found else ""


def _whole_text(error: RunError) -> str:
    """Return the messages of an error and its causes."""
    messages: list[str] = []
    cause: RunError | None = error
    while cause is not None and len(messages) < _MOST_CAUSES:
        messages.append(cause.message)
        cause = cause.cause
    return "\n".join(messages)
