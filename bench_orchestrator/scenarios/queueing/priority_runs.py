"""Which run is next: one that is needed now, requested behind a backfill that fills the queue."""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from statistics import median

from bench_orchestrator.model.launch import Launch, Trial
from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.model.runs import FINISHED, IN_PROGRESS, RunStatus
from bench_orchestrator.model.stages import Boundary, Stage
from bench_orchestrator.model.workload import Await, Backfill, Limit, Submit, Workload
from bench_orchestrator.scenarios.experiment import Experiment, Gate, Measure, Remedy, seconds
from bench_orchestrator.scenarios.queueing.runs import MAKESPAN, queue_settings, wait_measure, waits_s
from bench_orchestrator.timeline.occupancy import Breach, spans_of

_BACKFILL = "backfill"
_URGENT = "urgent run"
"""The run that has a higher priority than the backfill."""
_EQUAL = "urgent run without priority"

_ENQUEUED = (RunStatus.QUEUED, *IN_PROGRESS, *FINISHED)

_SETTLED_US = 200_000
"""How long after an event the run's status may change, by which the daemon knows of it: Dagster stores the event first,
and SQLite lets one process write at a time."""


def _tags(priority: int) -> dict[str, str]:
    """Return the tags of runs with a priority; 0 is Dagster's default."""
    return {"dagster/priority": str(priority)} if priority else {}


def _sides(location: str, partitions: int, limit: int) -> tuple[Variant, ...]:
    def side(name: str, role: str = _URGENT, *, priority: int = 0, backfill: int = 0, prompt: bool = False) -> Variant:
        actions = (
            Backfill(_BACKFILL, partitions, tags=_tags(backfill)),
            Await(_BACKFILL, _ENQUEUED, partitions),
            Submit(role, tags=_tags(priority)),
        )
        return Variant(
            name,
            (location,),
            work=partitions + 1,
            instance=queue_settings(limit, prompt=prompt, dequeue_interval_seconds=1),
            warm=True,
            workload=Workload(actions, (Limit("max_concurrent_runs", limit),)),
        )

    return (
        side("no priority", _EQUAL),
        side("priority 10", priority=10),
        side("backfill of priority -10", backfill=-10),
        side("priority 10, at once", priority=10, prompt=True),
    )


def _overtaking(launches: Sequence[Launch], run: Launch) -> list[Launch]:
    """Return the launches that were started after a run was enqueued and before it was started, in their order."""
    enqueued_us, started_us = run.at_us[Boundary.ENQUEUED], run.at_us[Boundary.STARTING]
    between = [
        (at_us, launch)
        for launch in launches
        if (at_us := launch.at_us[Boundary.STARTING]) is not None
        and enqueued_us is not None
        and enqueued_us < at_us
        and (started_us is None or at_us < started_us)
    ]
    return [launch for _, launch in sorted(between, key=itemgetter(0))]


def _free_slots(limit: Limit, launches: Sequence[Launch], run: Launch) -> int:
    """Return how many slots of the limit were free when a run was enqueued."""
    at_us = run.at_us[Boundary.ENQUEUED] or 0
    taken = sum(
        span.start_us <= at_us and (span.end_us is None or at_us + _SETTLED_US < span.end_us)
        for span in spans_of(limit, launches)
    )
    return limit.slots - taken


def _late(workload: Workload, launches: Sequence[Launch]) -> Iterator[Breach]:
    (limit,) = workload.limits
    for run in launches:
        if run.role == _URGENT:
            for launch in _overtaking(launches, run)[_free_slots(limit, launches, run) :]:
                what = f"run {launch.run_id} took a slot that became free after run {run.run_id} was enqueued"
                yield Breach(launch.run_id or "", f"priorities were not kept: {what}")


def _urgent(trial: Trial) -> Launch | None:
    return next((launch for launch in trial.launches if launch.role in (_URGENT, _EQUAL)), None)


def _wait_s(trial: Trial) -> float | None:
    run = _urgent(trial)
    return seconds(run.stages_us[Stage.QUEUE_WAIT]) if run else None


def _inversions(trial: Trial) -> float | None:
    run = _urgent(trial)
    return float(len(_overtaking(trial.launches, run))) if run and run.at_us[Boundary.STARTING] else None


def _of_others(trial: Trial) -> float | None:
    """Return the urgent run's wait in percent of the median wait of the backfill's runs."""
    own_s, others_s = _wait_s(trial), waits_s(trial, _BACKFILL)
    return 100 * own_s / median(others_s) if own_s is not None and any(others_s) else None


_WAIT = Measure("urgent_wait_s", "queue wait of the urgent run", "s", _wait_s)

EXPERIMENT = Experiment(
    Scenario(
        "priority-runs",
        "How long does a run wait that is requested behind a backfill, with a priority and without?",
        variants=_sides("a10p200_sleep500ms_inprocess", 200, 8),
        quick_variants=_sides("a10p200_sleep200ms_inprocess", 8, 2)[:2],
        repeats=3,
        warmups=0,
        timeout_s=600,
        holds_equal="the code location, its warm server (so that two CPUs suffice), a backfill with a run for each "
        "partition, all of them enqueued before the urgent run is requested, the limit on concurrent runs.",
    ),
    flat=True,
    headline=_WAIT,
    measures=(
        _WAIT,
        Measure("inversions", "runs started between its enqueueing and its start", "", _inversions),
        wait_measure(_BACKFILL),
        Measure("wait_of_others_percent", "its wait over the backfill's median", "%", _of_others),
        MAKESPAN,
    ),
    remedies=(
        Remedy(
            "Give a run that must not wait a priority",
            "priority 10",
            "Runs of lower priority wait longer; without end, if there are always runs of a higher one.",
            'urgent = dg.define_asset_job(\n    "urgent", selection=["orders"], tags={"dagster/priority": "10"}\n)',
            "python",
        ),
        Remedy(
            "Give backfills a low priority",
            "backfill of priority -10",
            "A backfill waits for as long as other runs fill the queue. In the UI, the same tag is set in its dialog.",
            "history = dg.define_asset_job(  # to be backfilled\n"
            '    "history", selection=["orders"], tags={"dagster/priority": "-10"}\n'
            ")",
            "python",
        ),
    ),
    gate=Gate(
        "a run of higher priority takes the first slot that becomes free after it was enqueued (one that was free "
        "before may be filled by the look that the daemon had begun)",
        _late,
    ),
)
