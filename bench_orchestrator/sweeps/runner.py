"""Executes a sweep's plan: launches one trial after the other and waits for each, with as little load as possible.

While a trial runs, this process sleeps and polls the run storage. Whatever the run's own log does not contain is
yielded at once as a note for the caller to record, so a kill loses nothing.
"""

import logging
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.plan import PlannedTrial, ServerState, SweepPlan
from bench_orchestrator.sources.instance import get_run
from bench_orchestrator.sweeps.deployments import Site
from bench_orchestrator.sweeps.ending import Strays, await_end, terminate
from bench_orchestrator.sweeps.launching import LaunchOfTrial, NotLaunchedError, Requested, withdraw_requests
from bench_orchestrator.sweeps.workloads import WorkloadOfTrial
from bench_orchestrator.webserver import WebserverUnreachableError

_logger = logging.getLogger(__name__)


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
    warn: Callable[[str], None] = _logger.warning,
    sleep: Callable[[float], None] = time.sleep,
) -> Generator[TrialNote]:
    """Launch the plan's trials in order, one at a time, and yield a note on each when it ends.

    A timed-out trial is noted *before* it is terminated, so that a kill in between cannot turn it into a canceled one.
    Whatever else the sweep has launched is ended before the next request. If this generator is interrupted, the
    current trial is canceled.

    Args:
        sites: the plan's deployments, by the names used in its trials.
        trials: the trials to launch; by default all of the plan.
        warn: receives a line on each run that is ended because no trial waits for it.

    Raises:
        SweepAbortedError: the webserver was unreachable for as long as a trial may take.
    """
    places = plan.places
    rng = random.Random(plan.seed)
    strays = Strays(plan, tuple(sites.values()), warn, sleep)
    withdraw_requests(plan, sites)
    try:
        for trial in plan.trials if trials is None else trials:
            rest_s = pace.pause_s + rng.uniform(0, pace.jitter_s)
            place = places[trial.deployment, trial.location]
            site, workload = sites[trial.deployment], plan.workload_of(trial)
            if workload is None:
                launch = LaunchOfTrial(plan, trial, place, site, strays, sleep)
                yield from _carry_out(launch, pace, rest_s)
            else:
                runs = WorkloadOfTrial(plan, trial, workload, place, site, sleep)
                yield from _carry_out_workload(runs, strays, pace, rest_s)
        strays.end_late()
    except SweepAbortedError:
        raise
    except BaseException:
        strays.end()  # interrupted: runs launched for this trial must not outlive the sweep
        raise


def _carry_out(launch: LaunchOfTrial, pace: Pace, rest_s: float) -> Iterator[TrialNote]:
    """Launch one trial and wait for its end; yield its note."""
    trial = launch.trial
    try:
        requested, deadline = _request(launch, pace, rest_s)
    except UnusableError as error:
        yield TrialNote(trial.number, Outcome.REJECTED, reason=str(error))
        if isinstance(error, WebserverUnreachableError):
            raise SweepAbortedError(str(error)) from error
        launch.strays.end()
    except NotLaunchedError as error:
        launch.strays.expect()
        yield TrialNote(trial.number, Outcome.TIMED_OUT, reason=str(error))
        launch.strays.end()
    else:
        yield from _follow(launch, requested, pace, deadline)


def _request(launch: LaunchOfTrial, pace: Pace, rest_s: float) -> tuple[Requested, float]:
    """Prepare and request one trial; return its run and its deadline on the monotonic clock."""
    if launch.trial.server is ServerState.REPLACED:
        launch.restart_server(time.monotonic() + pace.timeout_s)
    launch.sleep(rest_s)
    launch.strays.end()
    deadline = time.monotonic() + pace.timeout_s
    asked_us = launch.restart_server(deadline) if launch.trial.server is ServerState.FROM_ZERO else None
    launch.site.meter.begin(launch.trial.location)
    return launch.request(deadline, asked_us), deadline


def _follow(launch: LaunchOfTrial, requested: Requested, pace: Pace, deadline: float) -> Iterator[TrialNote]:
    """Wait for the end of a trial's run; yield its note."""
    site, strays, run_id = launch.site, launch.strays, requested.run_id
    outcome = await_end(site, run_id, deadline, launch.sleep, meanwhile=lambda: strays.look_out(run_id))
    if outcome is None:
        run = get_run(site.instance, run_id)
        # The status shows where it hangs: QUEUED without a slot, NOT_STARTED if the webserver died.
        reason = f"not over {pace.timeout_s:g} s after its request, still {run.status.value if run else 'gone'}"
        if requested.trouble:
            reason += f"; what its request was answered with: {requested.trouble}"
        yield launch.note(Outcome.TIMED_OUT, requested, reason)
        terminate(site, run_id, launch.sleep)
        strays.end()
    else:
        usage = site.meter.end(sleep=launch.sleep)
        yield launch.note(outcome, requested, usage=usage, beside=strays.end(keep=run_id))


def _carry_out_workload(runs: WorkloadOfTrial, strays: Strays, pace: Pace, rest_s: float) -> Iterator[TrialNote]:
    """Carry out the workload of one trial; yield its note, and end what is left of it."""
    runs.sleep(rest_s)
    strays.end()
    runs.site.meter.begin(runs.trial.location)
    try:
        runs.carry_out(time.monotonic() + pace.timeout_s)
    except UnusableError as error:
        yield runs.note(Outcome.REJECTED, str(error))
        if isinstance(error, WebserverUnreachableError):
            raise SweepAbortedError(str(error)) from error
    except NotLaunchedError as error:
        yield runs.note(Outcome.TIMED_OUT, f"not over after {pace.timeout_s:g} s: {error}")
    else:
        yield runs.note(Outcome.OK, usage=runs.site.meter.end(sleep=runs.sleep))
    finally:
        runs.withdraw()
    strays.end()
