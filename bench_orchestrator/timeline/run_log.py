"""Fold the events of one run into its log, in one pass; pure, and the same for every source."""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from bench_orchestrator.model.runs import RunEvent, RunLog, StepSpan
from bench_orchestrator.model.stages import Boundary
from bench_orchestrator.timeline.stages import EVENT_TYPES, STEP_STARTS, TERMINAL_TYPES, boundary_of

_STEP_ENDS = frozenset({"STEP_SUCCESS", "STEP_FAILURE"})
_FAILURES = frozenset({"STEP_FAILURE", "PIPELINE_FAILURE"})

LOG_TYPES = EVENT_TYPES | _STEP_ENDS | {"ASSET_MATERIALIZATION"}
"""The event types that affect a log; without all others, a run has the same log."""

START_TYPES = EVENT_TYPES | {"STEP_FAILURE"}
"""The event types that tell how a run started and failed; without all others, it has the same stages and failure."""

_NO_REASON = "This run has been marked as failed from outside the execution context."
"""Dagster's message for a run that died or was not launched; the preceding engine event has the reason."""

_IN_DOUBT = re.compile(r"run worker status UNKNOWN: (?!'Job \S+ could not be found)")
"""The message of Dagster's run monitoring if it could not get the state of a run's worker, for instance because
Kubernetes refused one connection. The worker may go on, and log its success later."""

_UNREACHABLE = "DagsterUserCodeUnreachableError"
"""The error of an unreachable code server; its cause has only gRPC's details."""

_IMMENSE = 1e15

_MOST_WORK = 1_000_000_000
"""Units of work that one asset may report."""

_JOB_NAME, _JOB_NAMESPACE = "Kubernetes Job name", "Kubernetes Namespace"
"""The labels of dagster-k8s' metadata when it creates a run's job; of a step's job it has only the name."""

_KUBERNETES_REFUSAL = re.compile(r'HTTP response body: (?P<status>\{"kind":"Status".*\})')
"""The end of an error message of Kubernetes' client, after the headers of the response."""


class RunLogFold:
    """Folds the events of one run in log order, incrementally and in linear time."""

    def __init__(self) -> None:
        self.failure = ""
        """The reason for the run's failure, in one line; empty without one."""
        self._events: list[RunEvent] = []
        self._code_reached = False
        self._last_engine_event: RunEvent | None = None
        self._steps: dict[str, StepSpan] = {}
        self._step_process: Mapping[str, Any] = {}
        self._materializations = 0
        self._work = 0
        self._materialized_us: int | None = None
        self._template: Mapping[str, float] = {}
        self._kubernetes_job: tuple[str, str] | None = None
        self._step_jobs: dict[str, str] = {}

    def take(self, event: RunEvent) -> None:
        """Add the next event; types that are not in LOG_TYPES have no effect."""
        # Of a long run, the timeline needs only the launch and the end.
        if event.type in (TERMINAL_TYPES if self._code_reached else EVENT_TYPES):
            self._events.append(RunEvent(event.type, event.time_us, event.step_key, event.message))
            self._code_reached |= event.type in STEP_STARTS
        if event.step_key is not None:
            self._follow_step(event.step_key, event)
        # The step's failure is more precise than the run's, which follows it. Any failure replaces one in doubt.
        if event.type in _FAILURES and (not self.failure or is_in_doubt(self.failure)):
            self.failure = _describe_failure(event)
            if self.failure == _NO_REASON and self._last_engine_event is not None:
                self.failure = _describe_failure(self._last_engine_event)
        if event.type == "ENGINE_EVENT":
            self._last_engine_event = event
            self._template = _numbers(_bench_metadata(event)) or self._template
            if _JOB_NAME in event.metadata and event.step_key is None:
                self._kubernetes_job = str(event.metadata.get(_JOB_NAMESPACE)), str(event.metadata[_JOB_NAME])
        if event.type == "STEP_WORKER_STARTING" and event.step_key and _JOB_NAME in event.metadata:
            self._step_jobs[event.step_key] = str(event.metadata[_JOB_NAME])
        if event.type == "ASSET_MATERIALIZATION":
            reported = _bench_metadata(event)
            self._step_process = self._step_process if self._materializations else reported
            self._materializations += 1
            self._work += _units(reported.get("work"))
            self._materialized_us = event.time_us

    def log(self) -> RunLog:
        """Return the log of the events so far."""
        return RunLog(
            events=tuple(self._events),
            failure=self.failure,
            step_process=self._step_process,
            steps=tuple(self._steps.values()),
            materializations=self._materializations,
            work=self._work,
            materialized_us=self._materialized_us,
            template=self._template,
            kubernetes_job=self._kubernetes_job,
            step_jobs=dict(self._step_jobs),
        )

    def _follow_step(self, key: str, event: RunEvent) -> None:
        """Update the span of the event's step; a retried step spans its first attempt to its last."""
        step = self._steps.get(key, StepSpan(key, None, None, None))
        boundary = boundary_of(event)
        if boundary is Boundary.STEP_WORKER_STARTING and step.launched_us is None:
            step = replace(step, launched_us=event.time_us)
        elif boundary is Boundary.STEP_STARTED and step.started_us is None:
            step = replace(step, started_us=event.time_us)
        elif event.type in _STEP_ENDS:
            step = replace(step, ended_us=event.time_us)
        else:
            return
        self._steps[key] = step


def fold(events: Iterable[RunEvent]) -> RunLog:
    """Return the log of a run's events, given in log order."""
    folding = RunLogFold()
    for event in events:
        folding.take(event)
    return folding.log()


def is_in_doubt(failure: str) -> bool:
    """Return whether a run failed only because the state of its worker was unknown."""
    return _IN_DOUBT.search(failure) is not None


def _describe_failure(event: RunEvent) -> str:
    """Return the user's description of the failure, or else the innermost cause, which Dagster wraps, in one line."""
    error = event.error
    while error is not None and error.cause is not None and error.class_name != _UNREACHABLE:
        error = error.cause
    text = event.description or (error.message if error is not None else event.message)
    refusal = _KUBERNETES_REFUSAL.search(text)
    if refusal:
        with suppress(ValueError):  # text of another form stays as it is
            status = json.loads(refusal["status"])
            text = f"Kubernetes answers {status.get('code')}: {status.get('message')}"
    return " ".join(text.split())


def _numbers(reported: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers in reported metadata, without those that measure nothing: infinite or immense ones."""
    return {name: value for name, value in reported.items() if isinstance(value, int | float) and abs(value) < _IMMENSE}


def _units(reported: Any) -> int:
    """Return the units of work that an asset reported; 1 if it reported none that can be counted."""
    return reported if isinstance(reported, int) and 0 <= reported <= _MOST_WORK else 1


def _bench_metadata(event: RunEvent) -> dict[str, Any]:
    return {name.removeprefix("bench/"): value for name, value in event.metadata.items() if name.startswith("bench/")}
