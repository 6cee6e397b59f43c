"""Hand-made runs and steps for tests of Gantt charts: a queue under a limit, and a job of batches in three orders."""

import heapq
from collections.abc import Callable, Sequence

from samples import CREATED_US, ENVIRONMENT

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Launch, Outcome
from bench_orchestrator.model.runs import StepSpan
from bench_orchestrator.model.stages import Boundary
from bench_orchestrator.waterfall.gantt import ChartedRun, Gantt, Unit
from bench_orchestrator.waterfall.gantt_layout import step_panel

STAGES = ("extract", "transform", "load")


def make_launch(
    number: int,
    enqueued_us: int | None,
    starting_us: int | None = None,
    started_us: int | None = None,
    ended_us: int | None = None,
    outcome: Outcome | None = Outcome.OK,
    steps: Sequence[StepSpan] = (),
) -> Launch:
    """Return a launch with these instants, in microseconds since `CREATED_US`."""
    instants = {Boundary.ENQUEUED: enqueued_us, Boundary.STARTING: starting_us, Boundary.STEP_STARTED: started_us}
    return Launch(
        run_id=f"{number:08x}-0000-4000-8000-000000000000",
        outcome=outcome,
        at_us=dict.fromkeys(Boundary)
        | {name: None if us is None else us + CREATED_US for name, us in instants.items()},
        ended_us=None if ended_us is None else ended_us + CREATED_US,
        steps=tuple(steps),
    )


def queue_of_runs(count: int, limit: int, seconds: int = 2) -> list[ChartedRun]:
    """Return runs that are enqueued 10 ms apart and wait for one of the slots; each starts for 1 s, then runs."""
    free_us = [0] * limit
    runs = []
    for number in range(count):
        enqueued_us = number * 10_000
        starting_us = max(heapq.heappop(free_us), enqueued_us)
        ended_us = starting_us + (seconds + 1) * MICROSECONDS
        heapq.heappush(free_us, ended_us)
        launch = make_launch(number, enqueued_us, starting_us, starting_us + MICROSECONDS, ended_us)
        runs.append(ChartedRun(launch, "one_step", "job one_step", ENVIRONMENT))
    return runs


def troubled_queue() -> list[ChartedRun]:
    """Return runs of two jobs: one failed, one was canceled in the queue, one is in progress, one waits."""
    second = MICROSECONDS
    launches = [
        make_launch(1, 0, 2 * second, 3 * second, 6 * second),
        make_launch(2, second, 2 * second, 4 * second, 5 * second, Outcome.FAILED),
        make_launch(3, second, None, None, 4 * second, Outcome.CANCELED),
        make_launch(4, 2 * second, 6 * second, 8 * second, None, None),
        make_launch(5, 3 * second, None, None, None, None),
    ]
    read_us = CREATED_US + 12 * second
    return [ChartedRun(one, f"job_{number % 2}", read_us=read_us) for number, one in enumerate(launches)]


def run_of_batches(
    batches: int, slots: int, key: Callable[[int, int], tuple[int, ...]], *, mapped: bool = True
) -> ChartedRun:
    """Return a run that extracts, transforms and loads batches.

    Args:
        slots: how many of its steps may be in progress at once.
        key: given stage and batch, the place of a step among those that may start; the smallest starts first.
        mapped: whether its steps are those of a dynamic map.
    """
    seconds, waiting = (1.0, 1.5, 0.7), [(key(0, batch), 0, batch) for batch in range(batches)]
    heapq.heapify(waiting)
    in_progress: list[tuple[int, int, int]] = []
    steps, clock_us = [], 0
    while waiting or in_progress:
        while waiting and len(in_progress) < slots:
            _, stage, batch = heapq.heappop(waiting)
            started_us = clock_us + 300_000 + 20_000 * len(in_progress)
            ended_us = started_us + round(seconds[stage] * MICROSECONDS) + 7_000 * batch
            heapq.heappush(in_progress, (ended_us, stage, batch))
            name = f"{STAGES[stage]}[batch_{batch}]" if mapped else f"{STAGES[stage]}_{batch}"
            steps.append(StepSpan(name, *(CREATED_US + us for us in (clock_us, started_us, ended_us))))
        clock_us, stage, batch = heapq.heappop(in_progress)
        if stage + 1 < len(STAGES):
            heapq.heappush(waiting, (key(stage + 1, batch), stage + 1, batch))
    first_us = min(step.started_us or 0 for step in steps) - CREATED_US
    launch = make_launch(7, -5 * MICROSECONDS, -2 * MICROSECONDS, first_us, clock_us + 200_000, steps=steps)
    return ChartedRun(launch, "etl", "job etl", ENVIRONMENT)


def by_stage(stage: int, batch: int) -> tuple[int, ...]:
    """Order the steps as they become ready, the earlier stage first."""
    return stage, batch


def by_batch(stage: int, batch: int) -> tuple[int, ...]:
    """Order the steps by a priority that rises along the chain."""
    return -stage, batch


def three_forms(batches: int = 13, slots: int = 4) -> Gantt:
    """Return the panels of a job in three forms: static, dynamic, and dynamic with priorities."""
    static = run_of_batches(batches, slots, by_stage, mapped=False)

    def split(step_key: str) -> tuple[str, str]:
        group, _, batch = step_key.partition("_")
        return group, batch

    panels = (
        step_panel(static, "static", split),
        step_panel(run_of_batches(batches, slots, by_stage), "dynamic map"),
        step_panel(run_of_batches(batches, slots, by_batch), "dynamic map with rising priority"),
    )
    return Gantt(Unit.STEPS, panels, ENVIRONMENT)
