"""Judges the runs of a workload: whether each ended as planned, none is missing, and limits were kept."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench_orchestrator.model.launch import OUTCOMES, Launch, Outcome, RunNote, TrialNote
from bench_orchestrator.model.workload import Limit, SetPool, Workload
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from bench_orchestrator.timeline.launches import launch_of
from bench_orchestrator.timeline.occupancy import Breach, breaches

ENDED = "ended before its time, as planned"
"""The warning on a run that the workload ends."""


def launches_of_workload(scenario: str, workload: Workload, note: TrialNote, work: int | None) -> tuple[Launch, ...]:
    """Return the launches of a workload in the order of their creation, each with its outcome as a part of the trial.

    A run by which a limit was not kept has failed. What befell the trial as a whole is told of its first launch.

    Args:
        scenario: its name; the experiment's gate judges the runs, too.
        work: units of work that all runs together have to materialize; None: not checked.
    """
    launches = [_judged(run, workload, note.outcome) for run in note.runs]
    broken = {breach.run_id: breach.what for breach in _breaches(scenario, workload, note, launches)}
    launches = [
        replace(launch, outcome=Outcome.FAILED, reason=broken[launch.run_id])
        if launch.run_id in broken and launch.outcome in (Outcome.OK, None)
        else launch
        for launch in launches
    ]
    trouble = _trouble(workload, note, work, sum(launch.work for launch in launches))
    if trouble is not None and all(launch.outcome is Outcome.OK for launch in launches):
        outcome, reason = trouble
        launches[0] = replace(launches[0], outcome=outcome, reason=reason)
    return tuple(launches)


def _judged(run: RunNote, workload: Workload, outcome_of_trial: Outcome) -> Launch:
    launch = launch_of(
        run.run_id,
        run.log,
        outcome=OUTCOMES.get(run.status),
        requested_us=run.requested_us,
        created_us=run.created_us,
    )
    launch = replace(launch, role=run.role)
    if run.role in workload.ended and launch.outcome in (Outcome.CANCELED, Outcome.FAILED):
        return replace(launch, outcome=Outcome.OK, reason="", warnings=(*launch.warnings, ENDED))
    if launch.outcome is None and outcome_of_trial is not Outcome.OK:
        return replace(launch, outcome=outcome_of_trial, reason=f"still {run.status.value} when its trial was over")
    return launch


def _breaches(scenario: str, workload: Workload, note: TrialNote, launches: Sequence[Launch]) -> Iterator[Breach]:
    for limit in workload.limits:
        yield from breaches(limit, launches, list(_rises(limit, workload, note)))
    experiment = EXPERIMENTS.get(scenario)
    if experiment is not None and experiment.gate is not None:
        yield from experiment.gate.breaches(workload, launches)


def _rises(limit: Limit, workload: Workload, note: TrialNote) -> Iterator[tuple[int, int]]:
    """Yield when the workload raised the limit, and to how many slots."""
    for action, began_us in zip(workload.actions, note.acts_us, strict=False):
        if isinstance(action, SetPool) and action.pool == limit.pool:
            yield began_us, action.slots


def _trouble(workload: Workload, note: TrialNote, work: int | None, done: int) -> tuple[Outcome, str] | None:
    """Return what befell the trial as a whole; None if all of its runs are there and it came to its end."""
    if note.outcome is not Outcome.OK:
        return note.outcome, note.reason
    counts = Counter(run.role for run in note.runs)
    differing = [
        f"{counts[role]} of {expected} runs of {role!r}"
        for role, expected in workload.expected().items()
        if counts[role] != expected
    ]
    if differing:
        return Outcome.FAILED, f"there were {', '.join(differing)}"
    if work is not None and done != work:
        return Outcome.FAILED, f"its runs did {done} of {work} units of work"
    return None
