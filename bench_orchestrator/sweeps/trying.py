"""Launches a probe in a user's own code: in turn behind Dagster's code server, the warm one, in another checkout.

The sweep runs in the process of the command, in a deployment that ends with it: without the meta location, a harvest or
the results database. Its trials are planned, carried out and derived like those of any sweep.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

from dagster import DagsterInstance

from bench_orchestrator.deployment import (
    STOCK_SERVER,
    WARM_SERVER,
    CodeLocation,
    Deployment,
    DeploymentError,
    DeploymentStatus,
    probed_location,
)
from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Outcome, Sweep, TrialNote
from bench_orchestrator.model.plan import SweepPlan, Variant
from bench_orchestrator.model.runs import Run, RunLog, RunStatus
from bench_orchestrator.scenarios.trying import BASE, BUDGET_S, FEWEST, LAUNCHES, SCENARIO, STOCK, WARM
from bench_orchestrator.sources.processes import settle
from bench_orchestrator.sweeps.deployments import OWN_INSTANCE, Site, await_loaded, own_site
from bench_orchestrator.sweeps.deriving import derive_sweep
from bench_orchestrator.sweeps.entries import Journal
from bench_orchestrator.sweeps.planning import Placement, find_targets, plan_trials
from bench_orchestrator.sweeps.runner import Pace, SweepAbortedError, run_trials
from bench_orchestrator.sweeps.session import trial_line
from synthetic_locations.probed import PROBE

_WARMUPS = 1
_SETTLE_S = 20.0
_PAUSE_S, _JITTER_S = 0.5, 1.0
"""The jitter is the dequeue interval of `OWN_INSTANCE`."""

_LOADS, _PER_BLOCK_S = 1.5, 4.0
"""A block of one launch on each side takes about so many times as long as a code server to start, and so many seconds.

In docs/results/definitions-cache, launches take 1.6 to 1.8 times as long as a server that starts alone; here two start
at once."""


@dataclass(frozen=True)
class Checkout:
    """Code, and where it is."""

    code: CodeLocation
    folder: Path
    """The working directory of the code's processes."""


@dataclass(frozen=True)
class Attempt:
    """What to launch, and how often."""

    head: Checkout
    home: Path
    """The empty folder of an instance, with its settings."""
    warm: bool
    """Whether to launch behind the warm server, too."""
    launches: int | None
    """Measured launches on each side; None: as many as the time allows."""
    timeout_s: float
    base: Checkout | None = None
    """Another checkout of the code to launch in as well, behind Dagster's code server."""


def affordable_launches(load_s: float) -> int:
    """Return how many launches on each side fit in the time if code servers start within `load_s` seconds."""
    blocks = int(BUDGET_S / (_LOADS * load_s + _PER_BLOCK_S))
    return max(FEWEST, min(LAUNCHES, blocks - _WARMUPS))


class View(Protocol):
    """What shows the progress."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def say(self, line: str) -> None:
        """Show a line: of a trial, or of whatever takes long or is worth reporting."""

    def update(self, status: DeploymentStatus) -> None:
        """Show the state of the deployment while it loads, within the view's context."""


def carry_out(attempt: Attempt, view: View) -> Sweep:
    """Start a deployment, launch the probe in it, and stop it; return what was measured.

    Raises:
        PreflightError: the code cannot be served with the probe.
        DeploymentError: the deployment cannot be started, or its webserver stopped answering.
    """
    sides = _sides(attempt)
    locations = [
        probed_location(checkout.code, location, checkout.folder, WARM_SERVER if side.warm else STOCK_SERVER)
        for side in sides
        for checkout in ((attempt.base if side.name == BASE else None) or attempt.head,)
        for location in side.locations
    ]
    view.say("Starting a deployment ...")
    with Deployment(attempt.home, locations, on_event=view.say) as deployment:
        with view:
            status = await_loaded(deployment, view.update)
        with DagsterInstance.from_config(str(attempt.home)) as instance:
            site = own_site(SCENARIO.name, deployment, status, instance, {"dagster_yaml": OWN_INSTANCE})
            plan = _plan(attempt, sides, site)
            if attempt.launches is None and plan.settings["repeats"] < LAUNCHES:
                view.say(
                    f"Its code servers took {max(site.load_s.values()):.0f} s to start: "
                    f"{plan.settings['repeats']} launches on each side instead of {LAUNCHES} (see --launches)"
                )
            settle([site.meter], _SETTLE_S, view.say)
            notes = list(_launch(plan, site, view.say))
        view.say("Stopping the deployment ...")
    sweep = derive_sweep(_Noted(Journal(plan, tuple(notes))), plan.sweep_id)
    assert sweep is not None  # because it has a plan
    return sweep


def _launch(plan: SweepPlan, site: Site, say: Callable[[str], None]) -> Iterator[TrialNote]:
    """Carry out the trials; yield their notes. If a warm-up fails, all others would, too: it is the last."""
    pace = Pace(plan.settings["timeout_s"], _PAUSE_S, _JITTER_S)
    try:
        with closing(run_trials(plan, {site.name: site}, pace=pace, warn=say)) as notes:
            for note in notes:
                say(trial_line(site, plan, note))
                yield note
                if note.outcome is not Outcome.OK and plan.trials[note.number - 1].warmup:
                    return
    except SweepAbortedError as error:
        raise DeploymentError(str(error)) from error


def _sides(attempt: Attempt) -> tuple[Variant, ...]:
    name = attempt.head.code.name
    stock = Variant(STOCK, (name,), work=1, warm=False, against=STOCK)
    warm = Variant(WARM, (f"{name}_warm",), work=1, warm=True, against=STOCK)
    base = Variant(BASE, (f"{name}_base",), work=1, warm=False, against=STOCK)
    return (stock, *([warm] if attempt.warm else ()), *([base] if attempt.base else ()))


def _plan(attempt: Attempt, sides: Sequence[Variant], site: Site) -> SweepPlan:
    """Plan launches of the probe alone.

    Raises:
        PreflightError: a location is not loaded, or has no probe.
    """
    names = [name for side in sides for name in side.locations]
    targets = {target.name: target for target in find_targets(site.webserver, names)}
    if lacking := [target.name for target in targets.values() if PROBE not in target.assets]:
        raise PreflightError(f"Dagster loads {', '.join(lacking)} without the probe.")
    repeats = attempt.launches or affordable_launches(max(site.load_s.values(), default=0.0))
    settings = {
        "repeats": repeats,
        "warmups": _WARMUPS,
        "timeout_s": attempt.timeout_s,
        "pause_s": _PAUSE_S,
        "jitter_s": _JITTER_S,
        "settle_s": _SETTLE_S,
    }
    placements = [
        Placement(side, site.name, site.webserver, (targets[name],)) for side in sides for name in side.locations
    ]
    seed = now_us() % 1_000_000
    locations, trials = plan_trials(placements, repeats=repeats, warmups=_WARMUPS, seed=seed)
    return SweepPlan(
        sweep_id=f"{SCENARIO.name}-{uuid.uuid4().hex[:8]}",
        scenario=SCENARIO.name,
        seed=seed,
        created_us=now_us(),
        locations=tuple(replace(location, load_s=site.load_s.get(location.name)) for location in locations),
        trials=trials,
        settings=settings,
        environment=site.environment,
        variants=tuple(sides),
        environments={site.name: site.environment},
    )


@dataclass(frozen=True)
class _Noted:
    """The runs of a sweep whose notes have all of them: their deployment is gone."""

    journal: Journal
    resolution_us: int = 1

    def get_run(self, run_id: str) -> Run | None:
        """Return the sweep, which is over, in the form of a run."""
        created_us = self.journal.plan.created_us
        return Run(run_id, RunStatus.SUCCESS, SCENARIO.name, {}, created_us, created_us)

    def find_trial_runs(self, sweep_id: str) -> list[Run]:  # noqa: ARG002
        """Return none."""
        return []

    def read_run_logs(self, run_ids: Sequence[str]) -> dict[str, RunLog]:
        """Return the logs of runs that a note lacks: none was found."""
        return {run_id: RunLog() for run_id in run_ids}

    def read_journal(self, sweep_run_id: str) -> Journal | None:  # noqa: ARG002
        """Return the journal."""
        return self.journal
