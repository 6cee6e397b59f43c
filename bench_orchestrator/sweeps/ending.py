"""Waits for the ends of a sweep's runs, and ends those that no trial waits for."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from bench_orchestrator.model.launch import OUTCOMES, Outcome
from bench_orchestrator.model.plan import LaunchPath, PlannedTrial, SweepPlan
from bench_orchestrator.model.runs import UNFINISHED, Run
from bench_orchestrator.model.tags import BACKFILL_TAG, Tag
from bench_orchestrator.model.workload import Backfill
from bench_orchestrator.sources.instance import find_runs, find_trial_runs, get_run, is_in_doubt
from bench_orchestrator.sweeps.deployments import Site
from bench_orchestrator.waiting import poll
from bench_orchestrator.webserver import WebserverError

POLL_S = 0.5
"""Polling interval for a run's status, in seconds."""

TERMINATION_GRACE_S = 20.0
"""Seconds that a run gets to stop on request before it is marked as canceled."""

LATE_S = 15.0
"""Seconds after a request that was not answered, or a trial that was given up, within which a run may still appear."""


def await_end(
    site: Site,
    run_id: str,
    deadline: float,
    sleep: Callable[[float], None],
    meanwhile: Callable[[], None] = lambda: None,
) -> Outcome | None:
    """Return the run's outcome by its status; None if the deadline passed first.

    Args:
        meanwhile: called after each look at a run that is not over.
    """

    def look() -> tuple[Run | None, bool]:
        """Return the run and whether it has ended."""
        run = get_run(site.instance, run_id)
        over = run is None or (run.finished and not is_in_doubt(site.instance, run))
        if not over:
            site.meter.look()
            meanwhile()
        return run, over

    run, _ = poll(look, lambda seen: seen[1], patience_s=deadline - time.monotonic(), every_s=POLL_S, sleep=sleep)
    return Outcome.LOST if run is None else OUTCOMES.get(run.status)


def terminate(site: Site, run_id: str, sleep: Callable[[float], None]) -> str:
    """Terminate a run: request, wait, then mark it as canceled. Return why that is impossible; empty if it is over."""
    with suppress(WebserverError):
        site.webserver.terminate(run_id)
    if await_end(site, run_id, time.monotonic() + TERMINATION_GRACE_S, sleep) is None:
        try:
            site.webserver.force_terminate(run_id)
        except WebserverError as error:
            return str(error)
    return ""


@dataclass
class Strays:
    """The runs and backfills that a sweep has launched and does not wait for.

    They are surplus, because a request was sent again; or late, because their trial was given up; or left by the
    killed process of a sweep that was resumed. Beside a trial they would disturb it. A run that a person executed
    again carries a trial's tags as well and is left alone.
    """

    plan: SweepPlan
    sites: Sequence[Site]
    warn: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    _expected_until: float = 0.0
    _seen: dict[str, Run] = field(default_factory=dict)

    def expect(self) -> None:
        """Look out for a run that may still appear: a request was not answered, or a trial was given up."""
        self._expected_until = time.monotonic() + LATE_S

    def look_out(self, keep: str) -> None:
        """While one is expected, request the termination of every stray but the run that is waited for."""
        if time.monotonic() < self._expected_until:
            for site, run in self._find(keep):
                if run.run_id not in self._seen:
                    self._seen[run.run_id] = run
                    with suppress(WebserverError):
                        site.webserver.terminate(run.run_id)

    def end(self, keep: str = "") -> list[Run]:
        """End every stray but the run to keep, wait for the ends, and say so.

        Returns:
            All strays since the last call, also those that `look_out` has ended.
        """
        self._cancel_backfills()
        failures = {}
        for site, run in self._find(keep):
            self._seen[run.run_id] = run
            failures[run.run_id] = terminate(site, run.run_id, self.sleep)
        seen, self._seen = list(self._seen.values()), {}
        for run in seen:
            failure = failures.get(run.run_id)
            what = f"goes on and cannot be ended: {failure}" if failure else "was ended, because no trial waits for it."
            self.warn(f"Run {run.run_id} of trial {run.tags.get(Tag.TRIAL)} {what}")
        return seen

    def end_late(self) -> None:
        """Wait while one is expected, and end it."""
        for _ in range(math.ceil((self._expected_until - time.monotonic()) / POLL_S)):
            if self._find(keep=""):
                break
            self.sleep(POLL_S)
        self.end()

    def _find(self, keep: str) -> list[tuple[Site, Run]]:
        return [
            (site, run)
            for site in self.sites
            for run in find_trial_runs(site.instance, self.plan.sweep_id, statuses=UNFINISHED)
            if run.run_id != keep
        ]

    def _cancel_backfills(self) -> None:
        """Cancel the sweep's backfills that have launched no run: a trial has waited for theirs in vain."""
        launching = {trial.deployment for trial in self.plan.trials if self._is_backfilling(trial)}
        for site in self.sites:
            if site.name not in launching:
                continue
            with suppress(WebserverError):  # looked for again before the next trial
                for backfill in site.webserver.open_backfills({Tag.SWEEP: self.plan.sweep_id}):
                    if not find_runs(site.instance, {BACKFILL_TAG: backfill.backfill_id}):
                        site.webserver.cancel_backfill(backfill.backfill_id)
                        trial = backfill.tags.get(Tag.TRIAL)
                        self.warn(f"Backfill {backfill.backfill_id} of trial {trial} was canceled.")

    def _is_backfilling(self, trial: PlannedTrial) -> bool:
        workload = self.plan.workload_of(trial)
        actions = workload.actions if workload else ()
        return trial.path is LaunchPath.BACKFILL or any(isinstance(action, Backfill) for action in actions)
