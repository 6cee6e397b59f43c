"""Which step of a job comes next: an extract–transform–load job whose batches advance together, or one by one."""

from collections.abc import Callable, Iterator, Sequence

from bench_orchestrator.model.launch import Launch, Trial
from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.model.stages import Boundary
from bench_orchestrator.model.workload import Limit, Submit, Unit, Workload
from bench_orchestrator.scenarios.experiment import Ahead, Experiment, Gate, Measure, Remedy, seconds
from bench_orchestrator.scenarios.queueing.runs import MAKESPAN
from bench_orchestrator.timeline.batches import LOAD, chains, first_load_us, flights, inversions, split_step
from bench_orchestrator.timeline.occupancy import Breach, in_progress_s, most_at_once

PRIORITISED = "dynamic with priorities"
_JOBS = {"static": "etl_static", "dynamic": "etl_dynamic", PRIORITISED: "etl_prioritised"}


def _sides(location: str, batches: int, at_once: int) -> tuple[Variant, ...]:
    limit = Limit("max_concurrent of the executor", at_once, unit=Unit.STEPS)
    return tuple(
        Variant(
            name,
            (location,),
            work=batches,
            warm=True,
            workload=Workload((Submit("run", job=job),), (limit,)),
        )
        for name, job in _JOBS.items()
    )


def _first_load_s(trial: Trial, since: Boundary) -> float | None:
    loaded_us, since_us = first_load_us(trial.launch), trial.launch.at_us[since]
    return None if loaded_us is None or since_us is None else seconds(loaded_us - since_us)


def _mean_in_flight(trial: Trial) -> float | None:
    """Return the mean number of batches in flight, from the first one's start to the last one's load."""
    spans = flights(trial.launch)
    ends = [span.end_us for span in spans if span.end_us is not None]
    if not spans or len(ends) < len(spans):
        return None
    whole_s = seconds(max(ends) - min(span.start_us for span in spans))
    return in_progress_s(spans) / whole_s if whole_s else None


def _counted(count: Callable[[Launch], int]) -> Callable[[Trial], float | None]:
    """Return a measure that counts something about a run's batches; None for a run without batches."""
    return lambda trial: float(count(trial.launch)) if chains(trial.launch) else None


FIRST_LOAD_FROM_REQUEST = Measure(
    "first_load_from_request_s",
    "first batch loaded, from the request",
    "s",
    lambda trial: _first_load_s(trial, Boundary.REQUESTED),
)
FIRST_LOAD = Measure(
    "first_load_s",
    "first batch loaded, from the run's start",
    "s",
    lambda trial: _first_load_s(trial, Boundary.RUN_STARTED),
    FIRST_LOAD_FROM_REQUEST,
)


def _breaches(_workload: Workload, launches: Sequence[Launch]) -> Iterator[Breach]:
    """Yield the batches that were not loaded once. A batch's load materializes one unit of work."""
    for launch in launches:
        batches, run_id = chains(launch), launch.run_id or ""
        for batch, steps in batches.items():
            if not any(split_step(step.key)[0] == LOAD and step.ended_us is not None for step in steps):
                yield Breach(run_id, f"run {run_id} did not load {batch}")
        if launch.work != len(batches):
            yield Breach(run_id, f"run {run_id} loaded {launch.work} times, {len(batches)} batches")


EXPERIMENT = Experiment(
    Scenario(
        "priority-ops",
        "How soon is the first batch of a job done if its steps have priorities, and what does that cost?",
        variants=_sides("a1_etl60x5_sleep500ms_at4", 60, 4),
        quick_variants=_sides("a1_etl6x3_sleep200ms_at2", 6, 2),
        repeats=3,
        warmups=0,
        timeout_s=900,
        holds_equal="the code location, its warm server (so that starting step processes does not dominate), batches, "
        "stages and their work, the number of steps executed at once.",
    ),
    flat=True,
    headline=FIRST_LOAD,
    measures=(
        FIRST_LOAD,
        FIRST_LOAD_FROM_REQUEST,
        MAKESPAN,
        Measure(
            "batches_in_flight",
            "most batches in flight",
            "",
            _counted(lambda launch: most_at_once(flights(launch))),
        ),
        Measure("mean_in_flight", "batches in flight, on average", "", _mean_in_flight),
        Measure("inversions", "steps begun while a later stage waited", "", _counted(inversions)),
    ),
    remedies=(
        Remedy(
            "Finish a batch before the next begins",
            PRIORITISED,
            "Batches end one after the other: the last one is not earlier.",
            "@dg.job\n"
            "def batches():\n"
            '    first, second = (op.tag({"dagster/priority": p}) for op, p in ((transform, "1"), (load, "2")))\n'
            "    split().map(lambda batch: second(first(extract(batch))))",
            "python",
        ),
    ),
    gate=Gate("every batch is loaded once", _breaches),
    ahead=Ahead(PRIORITISED, FIRST_LOAD),
)
