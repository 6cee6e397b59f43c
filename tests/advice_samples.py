"""Evidence for tests of remedies, claims and advice: experiments whose sides differ roughly as on two cores."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from experiment_samples import experiment_sweep
from samples import CREATED_US, ENVIRONMENT, make_sweep, make_trial, measured_sweep, relaunched

from bench_orchestrator.analysis.evaluation import evaluate
from bench_orchestrator.analysis.evidence import Evidence
from bench_orchestrator.analysis.lag_model import LagModel, fit_lags
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Sweep, Trial
from bench_orchestrator.model.stages import INIT_STAGES, QUEUE_STAGES, Stage
from bench_orchestrator.scenarios.experiment import MEBIBYTE
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from synthetic_locations.shape import Shape

FITTED_SIZES = (250, 500, 2_000, 5_000, 10_000)
STAGES_S: Mapping[Stage, tuple[float, float]] = {
    Stage.SUBMIT: (0.1, 0.0),
    Stage.PLAN_EVENTS: (0.1, 0.0),
    Stage.QUEUE_WAIT: (0.0, 0.0),
    Stage.WORKER_BOOT: (1.5, 0.0),
    Stage.WORKER_LOAD: (0.2, 0.001),
    Stage.EXECUTOR_START: (0.1, 0.0),
    Stage.STEP_BOOT: (1.2, 0.0),
    Stage.STEP_LOAD: (0.2, 0.0005),
    Stage.STEP_INIT: (0.0, 0.0),
}
"""Seconds without assets, and per asset: in total, without the queue, 3.2 s and 1.5 ms per asset."""

EFFECTS: Mapping[str, Mapping[str, Mapping[Stage, float]]] = {
    "executors": {
        "forkserver, module, 1 step": {Stage.STEP_BOOT: 1.1, Stage.STEP_LOAD: 0.45},
        "forkserver, job, 1 step": {Stage.STEP_BOOT: 1.6, Stage.STEP_LOAD: 0.08},
    },
    "imports": {
        "at the top": {Stage.WORKER_LOAD: 2.4, Stage.STEP_LOAD: 2.4},
    },
    "loading": {
        "a plain function": {Stage.WORKER_LOAD: 2.0},
        "memoised, no garbage collection": {Stage.WORKER_LOAD: 0.7, Stage.STEP_LOAD: 0.7},
    },
}
"""The durations of a side's stages, as multiples of those of `experiment_samples`."""


@lru_cache(maxsize=64)
def sample_experiment(name: str, *, quick: bool = False) -> Sweep:
    """Return a sweep of an experiment whose sides differ; a baseline's A/A arm equals the baseline."""
    sweep = experiment_sweep(name, quick=quick)
    effects = EFFECTS.get(name, {})
    return replace(
        sweep,
        trials=tuple(
            with_stages(
                replace(trial, sweep_id=sweep.plan.sweep_id), effects.get(trial.variant.removesuffix(", again"), {})
            )
            for trial in sweep.trials
        ),
    )


@lru_cache(maxsize=64)
def sample_evidence(*experiments: str, sized: bool = True) -> Evidence:
    """Return the study's sweep (unless `sized` is False) and these experiments; all of them by default."""
    sweeps = (measured_sweep(),) if sized else ()
    return Evidence(sweeps, tuple(evaluate(sample_experiment(name)) for name in experiments or EXPERIMENTS))


def with_stages(trial: Trial, factors: Mapping[Stage, float]) -> Trial:
    """Return the same launch with these stages multiplied."""
    if trial.launch.lag_us is None:
        return trial
    stages_us = {stage: round((us or 0) * factors.get(stage, 1)) for stage, us in trial.launch.stages_us.items()}
    longer_us = sum(stages_us.values()) - sum(us or 0 for us in trial.launch.stages_us.values())
    queue_us, init_us = (sum(stages_us[stage] for stage in stages) for stages in (QUEUE_STAGES, INIT_STAGES))
    return relaunched(
        trial,
        stages_us=stages_us,
        queue_us=queue_us,
        init_us=init_us,
        lag_us=queue_us + init_us,
        time_to_code_us=sum(stages_us.values()),
        work_us=None if trial.launch.work_us is None else trial.launch.work_us + longer_us,
    )


def sized_sweep(
    sizes: Sequence[int] = FITTED_SIZES,
    *,
    noise: float = 0.0,
    seed: int = 1,
    scenario: str = "assets-scaling",
    environment: Mapping[str, Any] | None = None,
    day: int = 0,
    repeats: int = 5,
) -> Sweep:
    """Return a sweep of locations of these sizes, with the durations of `STAGES_S` plus noise."""
    rng = random.Random(seed)
    circumstances = {**ENVIRONMENT, **(environment or {})}
    interval_s = circumstances["dequeue_interval_s"] or 0
    sweep_id = f"{scenario}-{day}"
    trials = tuple(
        replace(
            _sized_launch(block * len(sizes) + position, size, rng, noise, interval_s), sweep_id=sweep_id, block=block
        )
        for block in range(1, repeats + 1)
        for position, size in enumerate(sizes)
    )
    plan = replace(
        make_sweep([]).plan,
        sweep_id=sweep_id,
        scenario=scenario,
        environment=circumstances,
        created_us=CREATED_US + day * 86_400 * MICROSECONDS,
    )
    return Sweep(plan, "complete", trials)


RUN_MIB: Mapping[bool, tuple[float, float]] = {False: (180, 0.02), True: (100, 0.006)}
SERVER_MIB: Mapping[bool, tuple[float, float]] = {False: (100, 0.02), True: (130, 0.025)}
LAUNCH_CPU_S: Mapping[bool, tuple[float, float]] = {False: (4, 0.0016), True: (0.3, 0)}
"""By whether the server is warm: without assets, and per asset."""


@lru_cache(maxsize=64)
def used_sweep(*, spread: float = 0.0, quick: bool = False) -> Sweep:
    """Return a sweep of `definitions-cache` with the usage of `RUN_MIB`, `SERVER_MIB` and `LAUNCH_CPU_S`.

    Args:
        spread: largest deviation of a launch's CPU and code server, as a fraction. All but every third launch miss
            up to as much of the run's peak.
    """
    sweep = experiment_sweep("definitions-cache", quick=quick)
    warm = {variant.name: bool(variant.warm) for variant in sweep.plan.variants}
    rng = random.Random(1)

    def used(trial: Trial) -> Trial:
        run_mib, server_mib, cpu_s = (
            level[warm[trial.variant]][0] + level[warm[trial.variant]][1] * trial.asset_count
            for level in (RUN_MIB, SERVER_MIB, LAUNCH_CPU_S)
        )
        usage = {
            "run_peak_rss_bytes": 3 * run_mib * MEBIBYTE,
            "run_peak_pss_bytes": run_mib * MEBIBYTE * (1 - spread * rng.random() * (trial.block % 3 != 0)),
            "code_server_bytes": server_mib * MEBIBYTE * (1 + spread * rng.uniform(-1, 1)),
            "run_cpu_s": 0.9 * cpu_s * (1 + spread * rng.uniform(-1, 1)),
            "code_server_cpu_s": 0.1 * cpu_s,
        }
        return replace(trial, usage=usage)

    return replace(sweep, trials=tuple(map(used, sweep.trials)))


def fitted(*sweeps: Sweep) -> LagModel:
    model = fit_lags(sweeps)
    assert model is not None
    return model


def _sized_launch(trial: int, assets: int, rng: random.Random, noise: float, interval_s: float) -> Trial:
    slow = rng.lognormvariate(0, noise) if noise else 1.0
    stages_us = {stage: round((a + b * assets) * slow * MICROSECONDS) for stage, (a, b) in STAGES_S.items()}
    stages_us[Stage.QUEUE_WAIT] = round((0.1 + rng.random() * interval_s) * MICROSECONDS)
    return make_trial(trial, Shape(assets).name, stages_us=stages_us, size=(assets, 0))
