"""Hand-made sweeps of experiments, with durations as on two cores, for tests of everything that compares sides.

A launch's durations follow from its variant: the size of the location, the work, the executor, the limits.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from batch_samples import etl_run
from samples import CREATED_US, ENVIRONMENT, make_sweep, make_trial, relaunched, unmeasured

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Launch, Outcome, Sweep, Trial
from bench_orchestrator.model.plan import Prediction, ServerState, Variant
from bench_orchestrator.model.runs import StepSpan
from bench_orchestrator.model.stages import Boundary, Stage, StepWorker
from bench_orchestrator.model.workload import Submit, Workload
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from bench_orchestrator.sweeps.planning import with_baselines_again
from synthetic_locations.shape import parse_shape

_SERVER_S = {ServerState.AS_IT_IS: 0.0, ServerState.REPLACED: 0.4, ServerState.FROM_ZERO: 5.0}
"""How much the treatment of the code server adds to the submit stage."""

SUFFIX = "4f2a91c3"
"""The date in the sweeps' ids."""


_BEFORE_QUEUE = (Boundary.REQUESTED, Boundary.CREATED, Boundary.ENQUEUED)


@lru_cache(maxsize=64)
def experiment_sweep(
    name: str = "split-definitions", *, repeats: int = 8, quick: bool = False, predicted: bool = False, seed: int = 1
) -> Sweep:
    """Return a sweep of an experiment without failures: one warm-up block, then the others."""
    rng = random.Random(seed)
    scenario = EXPERIMENTS[name].scenario
    small = quick or bool(scenario.variants[0].workload)  # a handful of runs, which make the same kind of trial
    variants = with_baselines_again(scenario.quick_variants if small else scenario.variants)
    shuffled = [variant for variant in variants if not variant.in_turn]
    planned = [
        (block, variant, rng.choice(variant.locations))
        for block in range(1, repeats + 2)
        for variant in rng.sample(shuffled, len(shuffled))
    ]
    in_turn = [(repeats + 2, v, location) for v in variants if v.in_turn for location in v.locations]
    trials = [
        make_side_launch(variant, location, trial, block, rng, scenario=name, warmup=block == 1)
        for trial, (block, variant, location) in enumerate([*planned, *in_turn], start=1)
    ]
    sweep = make_sweep(trials, scenario=name)
    plan = replace(
        sweep.plan,
        sweep_id=f"{name}-{SUFFIX}",
        locations=tuple(
            replace(location, deployment="own", load_s=2.0 + location.asset_count * 1e-3)
            for location in sweep.plan.locations
        ),
        settings={"repeats": repeats, "warmups": 1, "timeout_s": 300, "quick": quick, "only": []},
        variants=variants,
        environments={"own": ENVIRONMENT},
        predicted_startups_s={"nine locations": Prediction(4.6, 4.2, 5.1, "the fit of assets-scaling")}
        if predicted
        else {},
    )
    return replace(sweep, plan=plan)


def make_side_launch(
    variant: Variant,
    location: str,
    number: int,
    block: int,
    rng: random.Random,
    *,
    scenario: str,
    warmup: bool = False,
) -> Trial:
    """Return a launch that did its work."""
    if variant.workload is not None:
        return _workload(variant, variant.workload, location, number, block, rng, scenario=scenario, warmup=warmup)
    assets, work = asset_count(location), variant.work or 1
    in_process = "_inprocess" in location
    steps = 1 if "_multi" in location or "_fused" in location else work
    slow = rng.lognormvariate(0.0, 0.05) * (1 / variant.cpus if variant.cpus and variant.cpus < 1 else 1)
    config = variant.instance.get("run_coordinator", {}).get("config", {})
    step_s = 0.0 if in_process else (2.2 + assets * 6e-4) * slow
    stages_s = {
        Stage.SUBMIT: 0.1 + 0.004 * variant.assets + _SERVER_S[variant.server] * slow,
        Stage.PLAN_EVENTS: 0.01 + 0.004 * variant.assets * variant.partitions,
        Stage.QUEUE_WAIT: rng.uniform(0.1, config.get("dequeue_interval_seconds", 1)),
        Stage.WORKER_BOOT: 1.6 * slow,
        Stage.WORKER_LOAD: (0.9 + assets * 9e-4) * slow,
        Stage.EXECUTOR_START: 0.15 * slow,
        Stage.STEP_BOOT: 0.5 * step_s,
        Stage.STEP_LOAD: 0.5 * step_s,
        Stage.STEP_INIT: 0.1 * slow,
    }
    stages_us = {stage: round(s * MICROSECONDS) for stage, s in stages_s.items()}
    trial = make_trial(
        number,
        location,
        stages_us=stages_us,
        warmup=warmup,
        block=block,
        variant=variant.name,
        size=(assets, 0),
    )
    code_us = sum(stages_us.values())
    each_us = round((step_s + 0.3) * MICROSECONDS)
    work_us = code_us + 200_000 + (steps - 1) * each_us
    requested_us = CREATED_US + number * 60 * MICROSECONDS
    memory_bytes = 180e6 + assets * 12e3
    usage = {
        "run_cpu_s": (stages_s[Stage.WORKER_LOAD] + 1.5 + steps * step_s) * 0.9,
        "run_peak_rss_bytes": memory_bytes * (1 if in_process else 2),
        "code_server_bytes": memory_bytes,
        "daemon_cpu_s": 0.2,
        "wall_s": work_us / MICROSECONDS + 2,
    }
    trial = replace(
        trial,
        sweep_id=f"{scenario}-{SUFFIX}",
        scenario=scenario,
        deployment="own",
        assets=variant.assets,
        usage=usage | ({"throttled_s": 0.5 / variant.cpus} if variant.cpus else {}),
    )
    return relaunched(
        trial,
        executor=StepWorker.IN_PROCESS if in_process else StepWorker.MULTIPROCESS,
        work=work,
        work_us=work_us,
        materialized_us=requested_us + work_us,
        ended_us=requested_us + work_us + 200_000,
        steps=tuple(
            StepSpan(
                f"step_{step}",
                None if in_process else requested_us + code_us + (step - 1) * each_us,
                requested_us + code_us + step * each_us,
                requested_us + code_us + step * each_us + 100_000,
            )
            for step in range(steps)
        ),
    )


def _workload(
    variant: Variant,
    workload: Workload,
    location: str,
    number: int,
    block: int,
    rng: random.Random,
    *,
    scenario: str,
    warmup: bool,
) -> Trial:
    """Return a trial whose runs start one after the other."""
    roles = [role for role, count in workload.expected().items() for _ in range(count)]
    one = replace(variant, workload=None, work=1)
    trial = make_side_launch(one, location, number, block, rng, scenario=scenario, warmup=warmup)
    if (etl := parse_shape(location).etl) is not None:
        trial = _with_batches(trial, workload, etl.batches)
    launches = (
        replace(delayed(trial.launch, run), run_id=f"{number:08x}-{run:04}-4000-8000-000000000000", role=role)
        for run, role in enumerate(roles)
    )
    return replace(trial, launches=tuple(launches))


def _with_batches(trial: Trial, workload: Workload, batches: int) -> Trial:
    """Return the trial with the steps of an extract–transform–load job in place of its own."""
    (job,) = (action.job for action in workload.actions if isinstance(action, Submit))
    (limit,) = workload.limits
    run = etl_run(batches, slots=limit.slots, prioritised=job == "etl_prioritised", static=job == "etl_static")
    first_us = trial.launch.at_us[Boundary.STEP_STARTED] or 0
    later_us = first_us - (run.steps[0].started_us or 0)
    steps = tuple(
        StepSpan(step.key, None, (step.started_us or 0) + later_us, (step.ended_us or 0) + later_us)
        for step in run.steps
    )
    ended_us = steps[-1].ended_us or 0
    work_us = ended_us - (trial.launch.at_us[Boundary.REQUESTED] or 0)
    return relaunched(
        trial, steps=steps, work=batches, materialized_us=ended_us, work_us=work_us, ended_us=ended_us + 200_000
    )


def delayed(launch: Launch, seconds: int) -> Launch:
    """Return the launch with so much more time in the queue."""
    more_us = seconds * MICROSECONDS

    def later(us: int | None) -> int | None:
        return None if us is None else us + more_us

    waits_us = {Stage.QUEUE_WAIT: (launch.stages_us[Stage.QUEUE_WAIT] or 0) + more_us}
    return replace(
        launch,
        at_us={at: us if at in _BEFORE_QUEUE else later(us) for at, us in launch.at_us.items()},
        stages_us={**launch.stages_us, **waits_us},
        ended_us=later(launch.ended_us),
        materialized_us=later(launch.materialized_us),
        queue_us=later(launch.queue_us),
        lag_us=later(launch.lag_us),
        time_to_code_us=later(launch.time_to_code_us),
        work_us=later(launch.work_us),
        steps=tuple(
            StepSpan(step.key, later(step.launched_us), later(step.started_us), later(step.ended_us))
            for step in launch.steps
        ),
    )


def asset_count(location: str) -> int:
    """Return the number of assets in the location's name."""
    match = re.match(r"a(\d+)(k?)", location)
    assert match
    return int(match[1]) * (1000 if match[2] else 1)


@lru_cache
def troubled_experiment() -> Sweep:
    """Return a sweep with failures: one side never succeeded, and others failed occasionally."""
    sweep = experiment_sweep()
    troubles = {
        ("one location", 3): (Outcome.TIMED_OUT, "not over 300 s after its request"),
        ("one location, again", 5): (Outcome.LOST, "launched, and its events are gone"),
        ("nine locations", 6): (Outcome.FAILED, "it succeeded, but did 0 of 1 units of work"),
        ("path through nine", 10): (Outcome.CANCELED, "canceled from the UI"),
    }

    def trouble(trial: Trial) -> Trial:
        if trial.variant == "three locations":
            return unmeasured(trial, Outcome.REJECTED, "the webserver refused: InvalidSubsetError")
        if (ending := troubles.get((trial.variant, trial.block))) is not None:
            return unmeasured(trial, *ending)
        return trial

    return replace(sweep, trials=tuple(map(trouble, sweep.trials)))


def only_variants(sweep: Sweep, names: Sequence[str]) -> Sweep:
    """Return the same sweep with only these variants."""
    kept = set(names)
    plan = replace(
        sweep.plan,
        variants=tuple(variant for variant in sweep.plan.variants if variant.name in kept),
        trials=tuple(trial for trial in sweep.plan.trials if trial.variant in kept),
        settings={**sweep.plan.settings, "only": list(names)},
    )
    return Sweep(plan, sweep.status, tuple(trial for trial in sweep.trials if trial.variant in kept))
