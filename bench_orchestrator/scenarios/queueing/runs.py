"""What the experiments on many runs share: the settings of their deployments, and measures over all runs of a trial."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Trial
from bench_orchestrator.model.plan import Variant, again
from bench_orchestrator.model.stages import Boundary, Stage
from bench_orchestrator.model.workload import Limit, Unit
from bench_orchestrator.scenarios.experiment import Measure, run_coordinator, seconds
from bench_orchestrator.timeline.occupancy import empty_times_s, in_progress_s, most_at_once, spans_of


def queue_settings(
    limit: int | None = None,
    *,
    prompt: bool = False,
    pools: Mapping[str, Any] | None = None,
    tags: Sequence[Mapping[str, Any]] = (),
    **config: Any,
) -> dict[str, Any]:
    """Return the entries of dagster.yaml for a queue.

    Args:
        limit: `max_concurrent_runs`; None: far more than a trial has.
        prompt: whether the queue answers at once, instead of at Dagster's default interval.
        pools: the entry `concurrency.pools`.
        tags: `tag_concurrency_limits`.
        config: further settings of the run coordinator.
    """
    runs = {"max_concurrent_runs": limit or 1_000, **({"tag_concurrency_limits": list(tags)} if tags else {})}
    return {
        **run_coordinator(prompt=prompt, **config),
        "concurrency": {"runs": runs, **({"pools": pools} if pools else {})},
    }


def side_of(sides: Mapping[str, Variant], trial: Trial) -> Variant | None:
    """Return the side that a trial belongs to, its A/A arm included; None if the experiment no longer has it."""
    return next((side for name, side in sides.items() if trial.variant in (name, again(name))), None)


def of_limit(
    sides: Mapping[str, Variant], compute: Callable[[Trial, Limit], float | None]
) -> Callable[[Trial], float | None]:
    """Return a function of a trial from one of a trial and the first limit of its side."""

    def of(trial: Trial) -> float | None:
        side = side_of(sides, trial)
        return compute(trial, side.workload.limits[0]) if side is not None and side.workload else None

    return of


def use_measures(sides: Mapping[str, Variant]) -> tuple[Measure, ...]:
    """Return measures of the slots of each side's first limit: how many are held, and how many are of use."""
    return (
        Measure("slots_held_percent", "slots held", "%", of_limit(sides, held_percent)),
        Measure("slots_used_percent", "slots in which a step runs", "%", of_limit(sides, used_percent)),
    )


def empty_measure(sides: Mapping[str, Variant], *, longest: bool = False) -> Measure:
    """Return a measure of the time for which a slot of each side's first limit stays empty although a run waits."""

    def of(trial: Trial, limit: Limit) -> float | None:
        times_s = empty_times_s(limit, trial.launches)
        return (max(times_s) if longest else median(times_s)) if times_s else None

    which, share = ("longest", 100) if longest else ("median", 50)
    return Measure(f"slot_empty_{share}_s", f"{which} time until a free slot is taken", "s", of_limit(sides, of))


def makespan_s(trial: Trial) -> float | None:
    """Return the seconds from the first request to the end of the last run; None while one has not ended."""
    begun = [us for launch in trial.launches if (us := launch.at_us[Boundary.REQUESTED]) is not None]
    ended = [launch.ended_us for launch in trial.launches if launch.ended_us is not None]
    if not begun or len(ended) < len(trial.launches):
        return None
    return (max(ended) - min(begun)) / MICROSECONDS


def waits_s(trial: Trial, role: str = "") -> list[float]:
    """Return the queue waits of a trial's runs, or of those of one role, in the order of their creation, in seconds."""
    return [
        us / MICROSECONDS
        for launch in trial.launches
        if (us := launch.stages_us.get(Stage.QUEUE_WAIT)) is not None and role in ("", launch.role)
    ]


def wait_measure(role: str = "", share: float = 0.5) -> Measure:
    """Return a measure of a quantile of the queue waits within a trial, in seconds."""
    which = {0.5: "median", 1.0: "longest"}.get(share, f"{100 * share:g}th percentile of the")
    name = f"{role.replace(' ', '_') + '_' if role else ''}wait_{round(100 * share)}_s"
    label = f"{which} queue wait{f' of {role}' if role else ''}"

    def of(trial: Trial) -> float | None:
        waits = sorted(waits_s(trial, role))
        return waits[math.ceil(share * len(waits)) - 1] if waits else None

    return Measure(name, label, "s", of)


def held_percent(trial: Trial, limit: Limit) -> float | None:
    """Return the share of a limit's slots that was taken, in percent, between the first start and the last end.

    None while one has not ended, or if the trial raises the limit.
    """
    spans = spans_of(limit, trial.launches)
    ends = [span.end_us for span in spans if span.end_us is not None]
    if not spans or len(ends) < len(spans) or limit.pool:
        return None
    whole_s = seconds(max(ends) - spans[0].start_us)
    return 100 * in_progress_s(spans) / (limit.slots * whole_s) if whole_s else None


def used_percent(trial: Trial, limit: Limit) -> float | None:
    """Return the share of a limit's slots in which steps ran, in percent, over the whole makespan; None likewise."""
    whole_s = makespan_s(trial)
    steps = spans_of(Limit(limit.name, limit.slots, limit.roles, Unit.STEPS), trial.launches)
    return 100 * in_progress_s(steps) / (limit.slots * whole_s) if whole_s and not limit.pool else None


MAKESPAN = Measure("makespan_s", "makespan", "s", makespan_s)
IN_PROGRESS_AT_ONCE = Measure(
    "runs_at_once",
    "most runs in progress",
    "",
    lambda trial: float(most_at_once(spans_of(Limit("", 1), trial.launches))),
)
