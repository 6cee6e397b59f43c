"""Executes a sweep's plan: launches one trial after the other and waits for each, with as little load as possible.

While a trial runs, this process sleeps and polls the run storage. Whatever the run's own log does not contain is
yielded at once as a note for the caller to record, so a kill loses nothing.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.launch import OUTCOMES, Outcome, TrialNote
from bench_orchestrator.model.plan import PlannedTrial, ServerState, SweepPlan
from bench_orchestrator.model.runs import Run
from bench_orchestrator.sources.instance import find_trial_runs, get_run, is_in_doubt
from bench_orchestrator.sweeps.deployments import Site
from bench_orchestrator.sweeps.launching import POLL_S, LaunchOfTrial, NotLaunchedError
from bench_orchestrator.waiting import poll
from bench_orchestrator.webserver import WebserverError, WebserverUnreachableError

TERMINATION_GRACE_S = 20.0
"""Seconds that a run gets to stop on request before it is marked as canceled."""


class SweepAbortedError(Exception):
    """The sweep cannot continue; the remaining trials are not launched."""


@dataclass(frozen=True)
class Pace:
    """A sweep's time-out and pauses, in seconds."""

    timeout_s: float
    """Maximum duration of a trial from request to end, and of the replacement of a code server before it."""
    pause_s: float
    """Pause between a trial's end and the next request, in which its processes end."""
    jitter_s: float
    """Maximum random addition to the pause. Without it, requests synchronise with the daemon's dequeue interval, and
    every queue wait of a location is the same arbitrary part of that interval."""


def run_trials(
    plan: SweepPlan,
    sites: Mapping[str, Site],
    *,
    pace: Pace,
    trials: Sequence[PlannedTrial] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[TrialNote]:
    """Launch the plan's trials in order, one at a time, and yield a note on each when it ends.

    A timed-out trial is noted *before* it is terminated, so that a kill in between cannot turn it into a canceled one.
    If this generator is interrupted, the current trial is canceled.

    Args:
        sites: the plan's deployments, by the names used in its trials.
        trials: the trials to launch; by default all of the plan.

    Raises:
        SweepAbortedError: the webserver was unreachable for as long as a trial may take.
    """
    places = plan.places
    rng = random.Random(plan.seed)
    for trial in plan.trials if trials is None else trials:
        rest_s = pace.pause_s + rng.uniform(0, pace.jitter_s)
        site = sites[trial.deployment]
        launch = LaunchOfTrial(plan, trial, places[trial.deployment, trial.location], site, sleep)
        try:
            try:
                if trial.server is ServerState.REPLACED:
                    launch.restart_server(time.monotonic() + pace.timeout_s)
                sleep(rest_s)
                deadline = time.monotonic() + pace.timeout_s
                asked_us = launch.restart_server(deadline) if trial.server is ServerState.FROM_ZERO else None
                site.meter.begin(trial.location)
                run_id, requested_us, trouble = launch.request(deadline, asked_us)
            except UnusableError as error:
                yield TrialNote(trial.number, Outcome.REJECTED, reason=str(error))
                if isinstance(error, WebserverUnreachableError):
                    raise SweepAbortedError(str(error)) from error
                continue
            except NotLaunchedError as error:
                yield TrialNote(trial.number, Outcome.TIMED_OUT, reason=str(error))
                continue
            outcome = _await_end(site, run_id, deadline, sleep)
            if outcome is None:
                run = get_run(site.instance, run_id)
                # The status shows where it hangs: QUEUED without a slot, NOT_STARTED if the webserver died.
                reason = f"not over {pace.timeout_s:g} s after its request, still {run.status.value if run else 'gone'}"
                if trouble:
                    reason += f"; what its request was answered with: {trouble}"
                yield launch.note(Outcome.TIMED_OUT, run_id, requested_us, reason)
                _terminate(site, run_id, sleep)
            else:
                usage = site.meter.end(sleep=sleep)
                yield launch.note(outcome, run_id, requested_us, usage=usage)
        except SweepAbortedError:
            raise
        except BaseException:
            # Interrupted: runs launched for this trial must not outlive the sweep.
            for run in find_trial_runs(site.instance, plan.sweep_id, trial.number):
                if not run.finished:
                    _terminate(site, run.run_id, sleep)
            raise


def _await_end(site: Site, run_id: str, deadline: float, sleep: Callable[[float], None]) -> Outcome | None:
    """Return the run's outcome by its status; None if the deadline passed first."""

    def look() -> tuple[Run | None, bool]:
        """Return the run and whether it has ended."""
        run = get_run(site.instance, run_id)
        over = run is None or (run.finished and not is_in_doubt(site.instance, run))
        if not over:
            site.meter.look()
        return run, over

    run, _ = poll(look, lambda seen: seen[1], patience_s=deadline - time.monotonic(), every_s=POLL_S, sleep=sleep)
    return Outcome.LOST if run is None else OUTCOMES.get(run.status)


def _terminate(site: Site, run_id: str, sleep: Callable[[float], None]) -> None:
    """Terminate a run: request, wait, then mark it as canceled; do nothing if the webserver is unreachable."""
    with suppress(WebserverError):
        site.webserver.terminate(run_id)
    if _await_end(site, run_id, time.monotonic() + TERMINATION_GRACE_S, sleep) is None:
        with suppress(WebserverError):
            site.webserver.force_terminate(run_id)
