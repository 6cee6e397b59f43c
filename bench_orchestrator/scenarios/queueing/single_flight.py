"""A schedule that skips while its last run is in progress: never two at once, and what it costs in skipped ticks."""

from statistics import median

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Trial
from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.model.stages import Boundary
from bench_orchestrator.model.workload import Limit, Schedule, Unit, Workload
from bench_orchestrator.scenarios.experiment import Experiment, Measure
from bench_orchestrator.scenarios.queueing.runs import queue_settings, side_of

_ROLE = "scheduled run"
_LIMIT = Limit("single flight", 1, (_ROLE,), Unit.RUNS_AND_QUEUED)


def _side(seconds: int, ticks: int, runs: int) -> Variant:
    """Return a side whose runs take that long, and as many as the ticks that find none in progress."""
    return Variant(
        f"runs of {seconds} s",
        (f"a3_sleep{1000 * seconds}ms_singleflight_inprocess",),
        work=runs,
        instance=queue_settings(),
        warm=True,
        workload=Workload((Schedule(_ROLE, ticks, runs),), (_LIMIT,)),
    )


_FULL = (_side(5, 2, 2), _side(70, 3, 2))
_QUICK = (_side(1, 1, 1), _side(61, 2, 1))
_SIDES = {side.name: side for side in (*_FULL, *_QUICK)}


def _delay_s(trial: Trial) -> float | None:
    """Return the median time from the time that a run was meant for to its creation, in seconds."""
    delays_us = [
        created_us - scheduled_us
        for launch in trial.launches
        if (created_us := launch.at_us[Boundary.CREATED]) is not None
        and (scheduled_us := launch.at_us[Boundary.REQUESTED]) is not None
    ]
    return median(delays_us) / MICROSECONDS if delays_us else None


def _skipped(trial: Trial) -> float | None:
    """Return how many ticks launched no run. The trial has come to its end, so there were as many as planned."""
    side = side_of(_SIDES, trial)
    if side is None or side.workload is None:
        return None
    ticks = sum(action.ticks for action in side.workload.actions if isinstance(action, Schedule))
    return float(ticks - len(trial.launches))


_DELAY = Measure("tick_delay_s", "from the scheduled time to the run's creation", "s", _delay_s)

EXPERIMENT = Experiment(
    Scenario(
        "single-flight",
        "Does a schedule that skips while its last run is in progress ever have two runs, and how late does it launch?",
        variants=_FULL,
        quick_variants=_QUICK,
        repeats=3,
        warmups=0,
        timeout_s=600,
        holds_equal="the schedule (every minute, which looks for an unfinished run of its own), its warm code server, "
        "the queue, the number of runs.",
    ),
    flat=True,
    headline=_DELAY,
    measures=(_DELAY, Measure("skipped_ticks", "skipped ticks", "", _skipped)),
)
