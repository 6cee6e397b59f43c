"""Lookup of launches by run id or by sweep.

The results database is searched first, because the runs of temporary deployments exist only there. Any other run is
read from the Dagster instance, which is opened only if needed.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache
from typing import TypeVar

from dagster import DagsterInstance

from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Launch, Outcome, Sweep, Trial
from bench_orchestrator.model.runs import Pod, Run, RunLog
from bench_orchestrator.model.stages import Boundary, Stage
from bench_orchestrator.results.store import Store
from bench_orchestrator.sources.instance import find_request, find_run_ids, get_run, read_run_log, read_run_logs
from bench_orchestrator.timeline.launches import launch_of_run
from bench_orchestrator.timeline.worker_boot import step_boot_stages
from bench_orchestrator.waterfall.gantt import ChartedRun, Gantt
from bench_orchestrator.waterfall.gantt_layout import gantt_of, run_panel
from bench_orchestrator.waterfall.layout import (
    Sample,
    UnknownLaunchError,
    Waterfall,
    median_of,
    of_launch,
    of_trial,
    subject_of,
)
from bench_orchestrator.waterfall.sides import gantt_of_sides
from bench_orchestrator.waterfall.waits import find_holds, read_pods

T = TypeVar("T")

Opening = Callable[[], AbstractContextManager[DagsterInstance]]

_SHORTEST_PREFIX = 6
"""Minimum characters of a run id; Dagster's UI shows eight."""

_LONGEST_ID = 255
"""Maximum characters of a run id in Dagster's storage."""


def find_launch(run_ids: Iterable[str], store: Store, open_instance: Opening) -> tuple[Waterfall, Sample | None]:
    """Return the launch of a run, or of several the one with the median lag. Unique prefixes of ids are accepted.

    Raises:
        UnknownLaunchError: no run or several runs match, or the run's events have been deleted.
        UnusableError: the results database or the instance cannot be used.
    """
    launches = _find(run_ids, store, open_instance, _stored_waterfall, _read_waterfalls)
    return (launches[0], None) if len(launches) == 1 else median_of(launches)


def find_launches(run_ids: Iterable[str], store: Store, open_instance: Opening) -> list[ChartedRun]:
    """Return all these runs, for a Gantt chart. Accepts and raises the same as `find_launch`."""
    return _find(run_ids, store, open_instance, _stored_run, _read_runs)


def find_median(sweep: Sweep, location: str = "", variant: str = "") -> tuple[Waterfall, Sample]:
    """Return the launch with the median lag in one location of a sweep, or in one variant of an experiment.

    Defaults to the measured location with the most assets, or to the experiment's baseline.

    Raises UnknownLaunchError if the sweep has no matching measurement.
    """
    return median_of(
        [
            _stored_waterfall(sweep, trial, launch)
            for trial in _choose(sweep, location, variant)
            for launch in trial.launches
        ]
    )


def gantt_of_sweep(sweep: Sweep, location: str = "", variant: str = "", *, steps: bool = False) -> Gantt:
    """Return the chart of a sweep: its sides, if they have workloads; otherwise, or of one side, the runs.

    Args:
        location: the location whose runs are drawn, or empty.
        variant: the side whose runs are drawn, or empty.
        steps: whether to draw the steps of the runs.

    Raises UnknownLaunchError if there is nothing to draw, or too much.
    """
    sides = None if location or variant or steps else gantt_of_sides(sweep)
    return sides or gantt_of(find_runs_of(sweep, location, variant), steps=steps)


def find_runs_of(sweep: Sweep, location: str = "", variant: str = "") -> list[ChartedRun]:
    """Return the runs of a sweep, for a Gantt chart: those of all its trials, or of one location or variant.

    If trials have several runs, they are those of one trial: the measured one with the median makespan (for an even
    number, the shorter of the middle two) in the location or variant, with the defaults of `find_median`.

    Raises UnknownLaunchError if there is none.
    """
    if any(len(trial.launches) > 1 for trial in sweep.trials):
        chosen = [_runs_of(sweep, [trial]) for trial in _choose(sweep, location, variant)]
        chosen.sort(key=lambda runs: run_panel(runs).makespan_us)
        return chosen[(len(chosen) - 1) // 2]
    return _runs_of(sweep, _matching(sweep, sweep.trials, location, variant))


def _choose(sweep: Sweep, location: str, variant: str) -> list[Trial]:
    """Return the measured trials of one location or of one variant of a sweep."""
    chosen = _matching(sweep, [trial for trial in sweep.trials if trial.measured], location, variant)
    if sweep.plan.variants:
        order = [planned.name for planned in sweep.plan.variants]
        first = min((trial.variant for trial in chosen), key=order.index)
        return [trial for trial in chosen if trial.variant == first]
    largest = max(chosen, key=lambda trial: trial.asset_count).location
    return [trial for trial in chosen if trial.location == largest]


def _matching(sweep: Sweep, trials: Collection[Trial], location: str, variant: str) -> list[Trial]:
    """Return the trials in a location and of a variant, of which an empty one is any."""
    chosen = [trial for trial in trials if location in ("", trial.location) and variant in ("", trial.variant)]
    if not chosen:
        known = sorted({f"{trial.location} ({trial.variant})" for trial in trials})
        raise UnknownLaunchError(
            f"Sweep {sweep.plan.sweep_id} has no measurement of "
            f"{' '.join(filter(None, (location, variant))) or 'any location'}. It has: {', '.join(known) or 'none'}."
        )
    return chosen


def _runs_of(sweep: Sweep, trials: Iterable[Trial]) -> list[ChartedRun]:
    return [_stored_run(sweep, trial, launch) for trial in trials for launch in trial.launches]


def _stored_run(sweep: Sweep, trial: Trial, launch: Launch) -> ChartedRun:
    group = launch.role or (trial.variant if sweep.plan.variants else trial.location)
    return ChartedRun(launch, group, subject_of(trial), sweep.plan.environment_of(trial.deployment))


def _stored_waterfall(sweep: Sweep, trial: Trial, launch: Launch) -> Waterfall:
    return of_trial(trial, sweep.plan.environment_of(trial.deployment), launch)


def _find(
    run_ids: Iterable[str],
    store: Store,
    open_instance: Opening,
    show: Callable[[Sweep, Trial, Launch], T],
    read: Callable[[DagsterInstance, Sequence[Run]], Iterable[T]],
) -> list[T]:
    """Return each of these runs once: those of the results database as shown, all others as read.

    Args:
        show: takes a stored launch with its trial and its sweep.
        read: takes the runs that only the instance has.
    """
    asked = list(dict.fromkeys(map(_checked, run_ids)))
    sweep_of = store.find_runs(asked)
    load = cache(store.load)
    found: dict[str, T] = {}
    elsewhere = []
    for run_id in asked:
        candidates = [known for known in sweep_of if known.startswith(run_id)]
        if candidates:
            whole_id = _only(run_id, candidates)
            sweep = load(sweep_of[whole_id])
            trial, launch = next(one for one in _launches(sweep) if one[1].run_id == whole_id)
            found[whole_id] = show(sweep, trial, launch)
        else:
            elsewhere.append(run_id)
    if not elsewhere:
        return list(found.values())
    with open_instance() as instance:
        runs = {run_id: _get_run(run_id, instance) for run_id in elsewhere}
        unknown = [run_id for run_id, run in runs.items() if run is None]
        if unknown:
            raise UnknownLaunchError(
                f"There is no run {', '.join(unknown)} in {store.path}, nor in the Dagster instance. The UI shows a "
                "run's id on its page. To see a sweep's median launch, use --sweep; `bench sweeps` lists the sweeps."
            )
        distinct = {run.run_id: run for run in runs.values() if run is not None}
        return [*found.values(), *read(instance, list(distinct.values()))]


def _launches(sweep: Sweep) -> Iterator[tuple[Trial, Launch]]:
    return ((trial, launch) for trial in sweep.trials for launch in trial.launches)


def _checked(run_id: str) -> str:
    """Return the run id, or its beginning, if it can be one."""
    if len(run_id) < _SHORTEST_PREFIX:
        raise UnknownLaunchError(f"{run_id!a} is too short: give at least {_SHORTEST_PREFIX} characters of a run's id.")
    if len(run_id) > _LONGEST_ID or not (run_id.isascii() and run_id.isprintable()):
        raise UnknownLaunchError(f"{run_id[:_LONGEST_ID]!a} is not the id of a run, nor the beginning of one.")
    return run_id


def _only(run_id: str, candidates: Iterable[str]) -> str:
    """Return the run of this id, or else the only one whose id begins with it."""
    several = sorted(candidates)
    if len(several) > 1 and run_id not in several:
        raise UnknownLaunchError(f"Several runs begin with {run_id}, such as {several[0]} and {several[1]}.")
    return several[0]  # a whole id comes before those that begin with it


def _get_run(run_id: str, instance: DagsterInstance) -> Run | None:
    run = get_run(instance, run_id)
    if run is None and (candidates := find_run_ids(instance, run_id)):
        return get_run(instance, _only(run_id, candidates))
    return run


def _read_runs(instance: DagsterInstance, runs: Sequence[Run]) -> list[ChartedRun]:
    """Read many runs, without what each of them waits for, and without their pods."""
    logs, read_us = read_run_logs(instance, [run.run_id for run in runs]), now_us()
    return [
        ChartedRun(_launch_of(instance, run, logs[run.run_id]), run.job, _subject_of(run), read_us=read_us)
        for run in runs
    ]


def _read_waterfalls(instance: DagsterInstance, runs: Iterable[Run]) -> list[Waterfall]:
    return [_read_waterfall(instance, run) for run in runs]


def _read_waterfall(instance: DagsterInstance, run: Run) -> Waterfall:
    log, read_us = read_run_log(instance, run.run_id), now_us()
    pods = read_pods(log)
    launch = _launch_of(instance, run, log, pods.run)
    step_boot_us, doubts = step_boot_stages(
        pods.first_step,
        starting_us=launch.at_us[Boundary.STEP_WORKER_STARTING],
        step_boot_us=launch.stages_us[Stage.STEP_BOOT],
    )
    reason = launch.reason
    if pods.run and pods.run.trouble and launch.outcome not in (None, Outcome.OK):
        reason = f"{pods.run.trouble} ({reason})"
    launch = replace(launch, reason=reason, warnings=(*launch.warnings, *doubts))
    shown = of_launch(launch, _subject_of(run), now_us=read_us, step_boot_us=step_boot_us)
    return shown if shown.now_us is None else replace(shown, holds=find_holds(instance, run, pods, shown))


def _launch_of(instance: DagsterInstance, run: Run, log: RunLog, pod: Pod | None = None) -> Launch:
    return launch_of_run(run, log, find_request(instance, run), pod)


def _subject_of(run: Run) -> str:
    return f"job {run.job}{', re-executed' if run.reexecuted else ''}"
