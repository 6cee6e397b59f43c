"""Carries out a sweep's plan: launches one trial after the other and waits for each, disturbing as little as it can.

While a trial runs, this sleeps and now and then asks the run storage for its status. Nothing it learns is kept in
memory only: what the run's own log cannot tell is yielded as a note as soon as it is known, for the caller to record.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from dagster import DagsterInstance, DagsterRunStatus

from bench_orchestrator import event_log
from bench_orchestrator.launching import Webserver, WebserverError, WebserverUnreachableError
from bench_orchestrator.model import (
    MICROSECONDS,
    Location,
    Outcome,
    PlannedTrial,
    SweepPlan,
    Tag,
    TrialNote,
)

POLL_S = 0.5
"""Between two looks at a trial's status."""

TERMINATION_GRACE_S = 20.0
"""How long a run may take to stop when asked, before it is marked canceled whatever its process does."""

_OUTCOMES = {
    DagsterRunStatus.SUCCESS: Outcome.OK,
    DagsterRunStatus.FAILURE: Outcome.FAILED,
    DagsterRunStatus.CANCELED: Outcome.CANCELED,
}


class SweepAbortedError(Exception):
    """The sweep cannot go on; what is left of its plan stays unlaunched."""


@dataclass(frozen=True)
class Pace:
    """How a sweep spends the time around its trials, in seconds."""

    timeout_s: float
    """Longest a trial may take from request to end."""
    pause_s: float
    """Rest between a trial's end and the next request, for its processes to be gone."""
    jitter_s: float
    """Upper bound of a random addition to the pause. Without it, requests fall into step with the daemon's dequeue
    interval, and every queue wait of a location is the same arbitrary part of that interval."""


def run_trials(
    plan: SweepPlan,
    *,
    webserver: Webserver,
    instance: DagsterInstance,
    pace: Pace,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[TrialNote]:
    """Launch the plan's trials in order, one at a time, and yield a note on each when it is over.

    A trial that exceeds its time is noted *before* it is terminated, so that a kill in between cannot turn it into a
    canceled one. When this generator is interrupted, the trial it waits for is canceled.

    Raises:
        SweepAbortedError: the webserver stayed away for as long as a trial may take.
    """
    locations = {location.name: location for location in plan.locations}
    rng = random.Random(plan.seed)
    for trial in plan.trials:
        sleep(pace.pause_s + rng.uniform(0, pace.jitter_s))
        deadline = time.monotonic() + pace.timeout_s
        try:
            try:
                run_id, requested_us = _launch(
                    plan, trial, locations[trial.location], webserver, instance, deadline, sleep
                )
            except WebserverError as error:
                yield TrialNote(trial.number, Outcome.REJECTED, reason=str(error))
                if isinstance(error, WebserverUnreachableError):
                    raise SweepAbortedError(str(error)) from error
                continue
            outcome = _await_end(instance, run_id, deadline, sleep)
            if outcome is None:
                run = event_log.get_run(instance, run_id)
                # The status tells where it hangs: QUEUED without a slot, NOT_STARTED where the webserver died on it.
                reason = f"not over {pace.timeout_s:g} s after its request, still {run.status.value if run else 'gone'}"
                yield TrialNote(trial.number, Outcome.TIMED_OUT, reason, run_id, requested_us)
                _terminate(webserver, instance, run_id, sleep)
            else:
                yield TrialNote(trial.number, outcome, "", run_id, requested_us)
        except SweepAbortedError:
            raise
        except BaseException:
            # Interrupted: whatever was launched for this trial must not outlive the sweep.
            for run in event_log.find_trial_runs(instance, plan.sweep_id, trial.number):
                if not run.finished:
                    _terminate(webserver, instance, run.run_id, sleep)
            raise


def trial_tags(plan: SweepPlan, trial: PlannedTrial, requested_us: int) -> dict[str, str]:
    """The tags of a trial's run: how the harvest finds it, and how a person filters for it."""
    tags = {
        Tag.KIND: "trial",
        Tag.SWEEP: plan.sweep_id,
        Tag.SCENARIO: plan.scenario,
        Tag.VARIANT: trial.variant,
        Tag.TRIAL: str(trial.number),
        Tag.WARMUP: str(trial.warmup).lower(),
        Tag.REQUESTED_AT: str(requested_us),
        # A run that Dagster retries by itself would be a second launch of the same trial.
        "dagster/max_retries": "0",
    }
    if trial.partition_key is not None:
        tags["dagster/partition"] = trial.partition_key
    return {str(name): value for name, value in tags.items()}


def now_us() -> int:
    """The wall clock in microseconds since the epoch, which is what Dagster's processes stamp events with."""
    return time.time_ns() // 1_000


def _launch(
    plan: SweepPlan,
    trial: PlannedTrial,
    location: Location,
    webserver: Webserver,
    instance: DagsterInstance,
    deadline: float,
    sleep: Callable[[float], None],
) -> tuple[str, int]:
    """Request one run, and wait for a webserver that is away; never launch the same trial twice."""
    while True:
        requested_us = now_us()
        try:
            run_id = webserver.submit(
                location=location.name,
                repository=location.repository,
                job=location.job,
                asset_key=trial.asset_key,
                tags=trial_tags(plan, trial, requested_us),
            )
            return run_id, requested_us
        except WebserverError as error:
            # Whatever went wrong, the request may have been carried out: a run that it made is this trial's run.
            sleep(2 * POLL_S)
            for run in event_log.find_trial_runs(instance, plan.sweep_id, trial.number):
                return run.run_id, run.requested_us or requested_us
            if not isinstance(error, WebserverUnreachableError) or time.monotonic() >= deadline:
                raise


def _await_end(
    instance: DagsterInstance, run_id: str, deadline: float, sleep: Callable[[float], None]
) -> Outcome | None:
    """How the run ended by its status; None when the deadline came first."""
    while True:
        run = event_log.get_run(instance, run_id)
        if run is None:
            return Outcome.LOST
        if run.finished:
            return _OUTCOMES[run.status]
        if time.monotonic() >= deadline:
            return None
        sleep(POLL_S)


def _terminate(webserver: Webserver, instance: DagsterInstance, run_id: str, sleep: Callable[[float], None]) -> None:
    """Stop a run: ask, wait, then mark it canceled. A webserver that is away is left alone."""
    with suppress(WebserverError):
        webserver.terminate(run_id)
    if _await_end(instance, run_id, time.monotonic() + TERMINATION_GRACE_S, sleep) is None:
        with suppress(WebserverError):
            webserver.force_terminate(run_id)


def seconds(duration_us: int | None) -> str:
    """A duration as a person reads it: `7.31 s`, or a dash."""
    return "–" if duration_us is None else f"{duration_us / MICROSECONDS:.2f} s"
