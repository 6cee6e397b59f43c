"""From the events of one run to its log, in one pass: pure, whoever delivers the events."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from bench_orchestrator.model.runs import RunEvent, RunLog, StepSpan
from bench_orchestrator.timeline.stages import EVENT_TYPES, TERMINAL_TYPES

_STEP_ENDS = frozenset({"STEP_SUCCESS", "STEP_FAILURE"})
_FAILURES = frozenset({"STEP_FAILURE", "PIPELINE_FAILURE"})

LOG_TYPES = EVENT_TYPES | _STEP_ENDS | {"ASSET_MATERIALIZATION"}
"""The types of event that a log is made of; a run stripped of all others has the same log."""

_NO_REASON = "This run has been marked as failed from outside the execution context."
"""What Dagster writes for a run that it found dead or could not launch; the engine event before it says why."""

_IN_DOUBT = re.compile(r"run worker status UNKNOWN: (?!'Job \S+ could not be found)")
"""How Dagster's run monitoring marks a run as failed whose worker it could not ask for. One refused connection to
Kubernetes is enough; the worker goes on, and a run that succeeds says so afterwards."""

_UNREACHABLE = "DagsterUserCodeUnreachableError"
"""Says that a code server cannot be reached; its cause is gRPC's account of the connection."""

_JOB_NAME, _JOB_NAMESPACE = "Kubernetes Job name", "Kubernetes Namespace"
"""What dagster-k8s calls them where it says that it creates a run's job."""

_KUBERNETES_REFUSAL = re.compile(r'HTTP response body: (?P<status>\{"kind":"Status".*\})')
"""How Kubernetes' client ends its message, behind all headers of the answer."""


class RunLogFold:
    """Takes the events of one run in log order, all at once or as they come, in linear time."""

    def __init__(self) -> None:
        self.failure = ""
        """Why the run failed, in one line; empty while it has not."""
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

    def take(self, event: RunEvent) -> None:
        """Take the next event; one of a type that is not in LOG_TYPES changes nothing."""
        # A timeline needs no more of a long run than its launch and its end.
        if event.type in (TERMINAL_TYPES if self._code_reached else EVENT_TYPES):
            self._events.append(RunEvent(event.type, event.time_us, event.step_key, event.message))
            self._code_reached |= event.type == "STEP_START"
        if event.step_key is not None:
            self._follow_step(event.step_key, event)
        # A step's own failure says more than the run's, which follows it; anything says more than a run in doubt.
        if event.type in _FAILURES and (not self.failure or is_in_doubt(self.failure)):
            self.failure = _describe_failure(event)
            if self.failure == _NO_REASON and self._last_engine_event is not None:
                self.failure = _describe_failure(self._last_engine_event)
        if event.type == "ENGINE_EVENT":
            self._last_engine_event = event
            self._template = _bench_metadata(event) or self._template
            if _JOB_NAME in event.metadata and event.step_key is None:
                self._kubernetes_job = str(event.metadata[_JOB_NAMESPACE]), str(event.metadata[_JOB_NAME])
        if event.type == "ASSET_MATERIALIZATION":
            reported = _bench_metadata(event)
            self._step_process = self._step_process if self._materializations else reported
            self._materializations += 1
            self._work += int(reported.get("work", 1))
            self._materialized_us = event.time_us

    def log(self) -> RunLog:
        """The log of what was taken until now."""
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
        )

    def _follow_step(self, key: str, event: RunEvent) -> None:
        """Take one event of a step into its span: a step that is retried counts from its first attempt to its last."""
        step = self._steps.get(key, StepSpan(key, None, None, None))
        if event.type == "STEP_WORKER_STARTING" and step.launched_us is None:
            step = replace(step, launched_us=event.time_us)
        elif event.type == "STEP_START" and step.started_us is None:
            step = replace(step, started_us=event.time_us)
        elif event.type in _STEP_ENDS:
            step = replace(step, ended_us=event.time_us)
        else:
            return
        self._steps[key] = step


def fold(events: Iterable[RunEvent]) -> RunLog:
    """The log of a run's events, which are in log order."""
    folding = RunLogFold()
    for event in events:
        folding.take(event)
    return folding.log()


def is_in_doubt(failure: str) -> bool:
    """Whether a run with this failure counts as failed only because its worker could not be asked for."""
    return _IN_DOUBT.search(failure) is not None


def _describe_failure(event: RunEvent) -> str:
    """What the user's code says of it, else the innermost cause, as Dagster wraps what was raised; in one line."""
    error = event.error
    while error is not None and error.cause is not None and error.class_name != _UNREACHABLE:
        error = error.cause
    text = event.description or (error.message if error is not None else event.message)
    refusal = _KUBERNETES_REFUSAL.search(text)
    if refusal:
        status = json.loads(refusal["status"])
        text = f"Kubernetes answers {status['code']}: {status['message']}"
    return " ".join(text.split())


def _bench_metadata(event: RunEvent) -> dict[str, Any]:
    return {name.removeprefix("bench/"): value for name, value in event.metadata.items() if name.startswith("bench/")}
