"""Hand-made sweeps for tests of everything that reads measurements: skewed upwards, like the study's.

Nothing of a sweep can be changed, so those that many tests ask for are made once in a process.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate
from typing import Any

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Launch, Outcome, Sweep, Trial
from bench_orchestrator.model.plan import Location, PlannedTrial, SweepPlan
from bench_orchestrator.model.runs import Pod
from bench_orchestrator.model.stages import INIT_STAGES, QUEUE_STAGES, BootStage, Boundary, Stage, StepWorker

SWEEP_ID = "20260714-093000-4f2a"
CREATED_US = 1_784_021_400 * MICROSECONDS
"""2026-07-14 09:30 UTC."""

ENVIRONMENT: Mapping[str, Any] = {
    "python": "3.12.3",
    "dagster": "1.13.27",
    "bench": "0.1.0",
    "cpu_count": 2,
    "cpu_model": "Intel(R) Xeon(R) CPU @ 2.20GHz",
    "launcher": "DefaultRunLauncher",
    "coordinator": "QueuedRunCoordinator",
    "storage": "SqliteEventLogStorage",
    "max_concurrent_runs": 10,
    "dequeue_interval_s": 5,
    "platform": "Linux-6.8 x86_64",
}

SIZES: Mapping[str, tuple[int, int]] = {
    "a10": (10, 0),
    "a250": (250, 0),
    "a500": (500, 0),
    "a2k": (2_000, 0),
    "a5k": (5_000, 0),
    "a10k": (10_000, 0),
    "a1p2k": (1, 2_000),
    "a10p10k": (10, 10_000),
}
"""Assets and partitions of each sample location."""

STUDY = ("a250", "a500", "a2k", "a5k", "a10k", "a1p2k", "a10p10k")


def make_trial(
    number: int = 1,
    location: str = "a250",
    *,
    stages_us: Mapping[Stage, int] | None = None,
    outcome: Outcome = Outcome.OK,
    reason: str = "",
    warmup: bool = False,
    block: int = 1,
    variant: str = "default",
    warnings: tuple[str, ...] = (),
    size: tuple[int, int] | None = None,
) -> Trial:
    """Return a trial whose launch's instants, queue, init and lag follow from its stages; unmeasured if not ok."""
    asset_count, partition_count = size or SIZES[location]
    launch = Launch(
        run_id=None if outcome is Outcome.REJECTED else f"{number:08x}-0000-4000-8000-000000000000",
        outcome=outcome,
        reason=reason,
        warnings=warnings,
    )
    if outcome is Outcome.OK:
        launch = _with_stages(launch, number, location, stages_us or make_stages(location, random.Random(number)))
    return Trial(
        sweep_id=SWEEP_ID,
        number=number,
        scenario="all-locations",
        variant=variant,
        location=location,
        asset_count=asset_count,
        partition_count=partition_count,
        block=block,
        warmup=warmup,
        asset_key=f"{location}/asset_0",
        partition_key="p0" if partition_count else None,
        launches=(launch,),
    )


def _with_stages(launch: Launch, number: int, location: str, stages_us: Mapping[Stage, int]) -> Launch:
    starts = accumulate(stages_us.values(), initial=CREATED_US + number * 60 * MICROSECONDS)
    at_us = dict(zip(Boundary, starts, strict=True))
    queue_us = sum(stages_us[stage] for stage in QUEUE_STAGES)
    init_us = sum(stages_us[stage] for stage in INIT_STAGES)
    return replace(
        launch,
        executor=StepWorker.MULTIPROCESS,
        at_us=at_us,
        ended_us=at_us[Boundary.STEP_STARTED] + 400_000,
        stages_us=stages_us,
        queue_us=queue_us,
        init_us=init_us,
        lag_us=queue_us + init_us,
        time_to_code_us=sum(stages_us.values()),
        step_process={"import_s": 1.5, "rss_bytes": 210_000_000, "location": location},
    )


def relaunched(trial: Trial, **changes: Any) -> Trial:
    """Return the trial with these fields of its launch changed."""
    return replace(trial, launches=(replace(trial.launch, **changes),))


def unmeasured(trial: Trial, outcome: Outcome, reason: str) -> Trial:
    """Return the same trial with this outcome."""
    bare = make_trial(
        trial.number,
        trial.location,
        outcome=outcome,
        reason=reason,
        warmup=trial.warmup,
        block=trial.block,
        variant=trial.variant,
        size=(trial.asset_count, trial.partition_count),
    )
    return replace(bare, sweep_id=trial.sweep_id, scenario=trial.scenario, deployment=trial.deployment)


def make_stages(location: str, rng: random.Random) -> dict[Stage, int]:
    """Return stages of about the durations on two cores with SQLite; an occasional launch is much slower."""
    assets, partitions = SIZES[location]
    slow = rng.lognormvariate(0.0, 0.08) + (0.25 if rng.random() < 0.1 else 0.0)
    seconds = {
        Stage.SUBMIT: 0.12 + assets * 2e-5,
        Stage.PLAN_EVENTS: 0.02,
        Stage.QUEUE_WAIT: rng.uniform(0.3, 4.9),
        Stage.WORKER_BOOT: 1.6 * slow,
        Stage.WORKER_LOAD: (1.4 + assets * 1.2e-3 + partitions * 2e-6) * slow,
        Stage.EXECUTOR_START: 0.15 * slow,
        Stage.STEP_BOOT: 1.7 * slow,
        Stage.STEP_LOAD: (0.9 + assets * 6e-4) * slow,
        Stage.STEP_INIT: 0.12 * slow,
    }
    return {stage: round(seconds[stage] * MICROSECONDS) for stage in Stage}


def make_sweep(trials: Iterable[Trial], *, scenario: str = "all-locations", status: str = "complete") -> Sweep:
    """Return the sweep of these trials, with a matching plan."""
    in_order = sorted(trials, key=lambda trial: trial.number)
    sizes = {trial.location: (trial.asset_count, trial.partition_count) for trial in in_order}
    plan = SweepPlan(
        sweep_id=SWEEP_ID,
        scenario=scenario,
        seed=7,
        created_us=CREATED_US,
        locations=tuple(Location(name, "__repository__", "__ASSET_JOB", *size) for name, size in sizes.items()),
        trials=tuple(
            PlannedTrial(
                number=trial.number,
                block=trial.block,
                location=trial.location,
                variant=trial.variant,
                warmup=trial.warmup,
                asset_keys=(trial.asset_key,),
                partition_key=trial.partition_key,
                work=trial.launch.work or None,
                deployment=trial.deployment,
            )
            for trial in in_order
        ),
        settings={"repeats": 5, "warmups": 1, "timeout_s": 300, "pause_s": 1.0, "jitter_s": 5.0},
        environment=ENVIRONMENT,
    )
    return Sweep(plan=plan, status=status, trials=tuple(in_order))


def measured_sweep(locations: Sequence[str] = STUDY, repeats: int = 5) -> Sweep:
    """Return a sweep without failures: one warm-up block, then `repeats` blocks."""
    return _measured_sweep(tuple(locations), repeats)


@lru_cache(maxsize=32)
def _measured_sweep(locations: tuple[str, ...], repeats: int) -> Sweep:
    trials = [
        make_trial(block * len(locations) + position + 1, location, block=block + 1, warmup=block == 0)
        for block in range(repeats + 1)
        for position, location in enumerate(locations)
    ]
    return make_sweep(trials)


@lru_cache
def troubled_sweep() -> Sweep:
    """Return the study's sweep with failures: all of a10k timed out, others failed occasionally, one has a warning."""
    troubles = {
        ("a500", 3): (Outcome.FAILED, "step `asset_0` failed: ValueError: <b>boom</b> | see *log*"),
        ("a5k", 2): (Outcome.LOST, "launched, and its events are gone"),
        ("a5k", 4): (Outcome.CANCELED, "canceled from the UI"),
        ("a1p2k", 5): (Outcome.REJECTED, "the webserver refused: InvalidSubsetError"),
    }

    def trouble(trial: Trial) -> Trial:
        if trial.location == "a10k":
            outcome, reason = Outcome.TIMED_OUT, "no STEP_START within 300 s"
        elif (trial.location, trial.block) in troubles:
            outcome, reason = troubles[trial.location, trial.block]
        elif trial.number == 20:
            return relaunched(trial, warnings=("worker boot was negative by 3 ms: clocks differ; read as zero",))
        else:
            return trial
        return unmeasured(trial, outcome, reason)

    sweep = measured_sweep()
    return replace(sweep, trials=tuple(trouble(trial) for trial in sweep.trials))


def failed_sweep() -> Sweep:
    """Return a sweep without a single success."""
    return make_sweep(
        make_trial(number, location, outcome=Outcome.REJECTED, reason="no such job")
        for number, location in enumerate(("a250", "a2k"), start=1)
    )


def on_kubernetes(trial: Trial) -> Trial:
    """Return the launch with its worker boot split: a tenth for each piece, the rest for the interpreter."""
    whole_us = trial.launch.stages_us[Stage.WORKER_BOOT] or 0
    boot_us = dict.fromkeys(BootStage, whole_us // 10)
    boot_us[BootStage.START_PYTHON] = whole_us - 4 * (whole_us // 10)
    return relaunched(trial, boot_us=boot_us, pod=Pod(name="dagster-run-1-x", node="node1"))
