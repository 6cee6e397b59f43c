"""Steps of an extract–transform–load run, as an executor with some slots begins them, for tests."""

from collections.abc import Iterable

from bench_orchestrator.model.launch import Launch, Outcome
from bench_orchestrator.model.runs import StepSpan
from bench_orchestrator.model.stages import Boundary

S = 1_000_000
STAGES = ("extract", "transform_1", "load")


def step(key: str, begun_s: float, ended_s: float | None, *, boot_s: float | None = None) -> StepSpan:
    """Return a step that starts so many seconds after the executor began it; None: in the run worker's process."""
    begun_us = round(begun_s * S)
    launched_us, started_us = (None, begun_us) if boot_s is None else (begun_us, begun_us + round(boot_s * S))
    return StepSpan(key, launched_us, started_us, None if ended_s is None else round(ended_s * S))


def run_of(steps: Iterable[StepSpan], *, run_id: str = "run1", work: int = 0) -> Launch:
    """Return a run that was requested at 0 and started at 1 s."""
    at_us = dict.fromkeys(Boundary, 0) | {Boundary.RUN_STARTED: 1 * S}
    steps = tuple(steps)
    ended_us = max((one.ended_us or 0 for one in steps), default=0) + 1 * S
    return Launch(run_id, Outcome.OK, at_us=at_us, ended_us=ended_us, steps=steps, work=work, role="run")


def etl_run(
    batches: int, *, slots: int = 1, prioritised: bool = False, static: bool = False, step_s: float = 1.0
) -> Launch:
    """Return the run of a job with STAGES whose split ends at 2 s, all of whose steps take equally long.

    As Dagster's executors do, it begins the step that was ready first, or, if prioritised, that of the latest stage.
    """
    names = [f"batch_{number:02}" for number in range(batches)]
    steps = [step("split", 1, 2)]
    ready = [(0, name) for name in names]
    now_s = 2.0
    while ready:
        chosen = sorted(ready, key=lambda one: -one[0] if prioritised else 0)[:slots]
        for stage, name in chosen:
            key = f"{STAGES[stage]}_{name}" if static else f"{STAGES[stage]}[{name}]"
            steps.append(step(key, now_s, now_s + step_s))
        following = [(stage + 1, name) for stage, name in chosen if stage + 1 < len(STAGES)]
        ready = [*(one for one in ready if one not in chosen), *following]
        now_s += step_s
    return run_of(steps, work=batches)
