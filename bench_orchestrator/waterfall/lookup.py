"""Lookup of launches by run id or by sweep.

The results database is searched first, because the runs of temporary deployments exist only there. Any other run is
read from the Dagster instance, which is opened only if needed.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace

from dagster import DagsterInstance

from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import OUTCOMES, Sweep
from bench_orchestrator.model.stages import Boundary, Origin, Stage
from bench_orchestrator.results.store import Store
from bench_orchestrator.sources.instance import find_request, find_run_ids, get_run, read_run_log
from bench_orchestrator.timeline.launches import launch_of
from bench_orchestrator.timeline.worker_boot import step_boot_stages
from bench_orchestrator.waterfall.layout import Sample, UnknownLaunchError, Waterfall, median_of, of_launch, of_trial
from bench_orchestrator.waterfall.waits import find_holds, read_pods

_SHORTEST_PREFIX = 6
"""Minimum characters of a run id; Dagster's UI shows eight."""

_LONGEST_ID = 255
"""Maximum characters of a run id in Dagster's storage."""


def find_launch(
    run_ids: Iterable[str], store: Store, open_instance: Callable[[], AbstractContextManager[DagsterInstance]]
) -> tuple[Waterfall, Sample | None]:
    """Return the launch of a run, or of several the one with the median lag. Unique prefixes of ids are accepted.

    Raises:
        UnknownLaunchError: no run or several runs match, or the run's events have been deleted.
        UnusableError: the results database or the instance cannot be used.
    """
    found = {run_id: _in_results(run_id, store) for run_id in map(_checked, run_ids)}
    elsewhere = [run_id for run_id, launch in found.items() if launch is None]
    if elsewhere:
        with open_instance() as instance:
            found |= {run_id: _in_instance(run_id, instance) for run_id in elsewhere}
    unknown = [run_id for run_id, launch in found.items() if launch is None]
    if unknown:
        raise UnknownLaunchError(
            f"There is no run {', '.join(unknown)} in {store.path}, nor in the Dagster instance. The UI shows a run's "
            "id on its page. To see a sweep's median launch, use --sweep; `bench sweeps` lists the sweeps."
        )
    launches = list({launch.run_id: launch for launch in found.values() if launch is not None}.values())
    return (launches[0], None) if len(launches) == 1 else median_of(launches)


def find_median(sweep: Sweep, location: str = "", variant: str = "") -> tuple[Waterfall, Sample]:
    """Return the launch with the median lag in one location of a sweep, or in one variant of an experiment.

    Defaults to the measured location with the most assets, or to the experiment's baseline.

    Raises UnknownLaunchError if the sweep has no matching measurement.
    """
    measured = [trial for trial in sweep.trials if trial.measured]
    chosen = [trial for trial in measured if location in ("", trial.location) and variant in ("", trial.variant)]
    if not chosen:
        known = sorted({f"{trial.location} ({trial.variant})" for trial in measured})
        raise UnknownLaunchError(
            f"Sweep {sweep.plan.sweep_id} has no measurement of "
            f"{' '.join(filter(None, (location, variant))) or 'any location'}. It has: {', '.join(known) or 'none'}."
        )
    if sweep.plan.variants:
        order = [planned.name for planned in sweep.plan.variants]
        first = min((trial.variant for trial in chosen), key=order.index)
        chosen = [trial for trial in chosen if trial.variant == first]
    else:
        largest = max(chosen, key=lambda trial: trial.asset_count).location
        chosen = [trial for trial in chosen if trial.location == largest]
    return median_of(
        [
            of_trial(trial, sweep.plan.environment_of(trial.deployment), launch)
            for trial in chosen
            for launch in trial.launches
        ]
    )


def _checked(run_id: str) -> str:
    """Return the run id, or its beginning, if it can be one."""
    if len(run_id) < _SHORTEST_PREFIX:
        raise UnknownLaunchError(f"{run_id!a} is too short: give at least {_SHORTEST_PREFIX} characters of a run's id.")
    if len(run_id) > _LONGEST_ID or not (run_id.isascii() and run_id.isprintable()):
        raise UnknownLaunchError(f"{run_id[:_LONGEST_ID]!a} is not the id of a run, nor the beginning of one.")
    return run_id


def _in_results(run_id: str, store: Store) -> Waterfall | None:
    sweeps = store.find_runs(run_id)
    if not sweeps:
        return None
    whole_id = _only(run_id, sweeps)
    sweep = store.load(sweeps[whole_id])
    launches = ((trial, launch) for trial in sweep.trials for launch in trial.launches)
    trial, launch = next(found for found in launches if found[1].run_id == whole_id)
    return of_trial(trial, sweep.plan.environment_of(trial.deployment), launch)


def _in_instance(run_id: str, instance: DagsterInstance) -> Waterfall | None:
    run = get_run(instance, run_id)
    if run is None and (candidates := find_run_ids(instance, run_id)):
        run = get_run(instance, _only(run_id, candidates))
    if run is None:
        return None
    request = find_request(instance, run)
    log, read_us = read_run_log(instance, run.run_id), now_us()
    pods = read_pods(log)
    launch = launch_of(
        run.run_id,
        log,
        outcome=OUTCOMES.get(run.status),
        requested_us=request.at_us if request else None,
        created_us=run.created_us,
        origin=request.origin if request else Origin.REQUEST,
        pod=pods.run,
    )
    step_boot_us, doubts = step_boot_stages(
        pods.first_step,
        starting_us=launch.at_us[Boundary.STEP_WORKER_STARTING],
        step_boot_us=launch.stages_us[Stage.STEP_BOOT],
    )
    launch = replace(launch, warnings=(*launch.warnings, *doubts))
    subject = f"job {run.job}{', re-executed' if run.reexecuted else ''}"
    shown = of_launch(launch, subject, now_us=read_us, step_boot_us=step_boot_us)
    return shown if shown.now_us is None else replace(shown, holds=find_holds(instance, run, pods, shown))


def _only(run_id: str, candidates: Iterable[str]) -> str:
    """Return the only matching run."""
    several = sorted(candidates)
    if len(several) > 1:
        raise UnknownLaunchError(f"Several runs begin with {run_id}, such as {several[0]} and {several[1]}.")
    return several[0]
