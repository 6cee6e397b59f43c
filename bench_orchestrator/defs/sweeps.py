"""One job per scenario: launched from the UI with a click, from a schedule, or by `bench run`."""

from collections.abc import Iterator
from copy import copy
from typing import Any

import dagster as dg
from pydantic import Field, create_model

from bench_orchestrator.defs.resources import WebserverResource
from bench_orchestrator.environment import blocking_limit, describe_environment
from bench_orchestrator.event_log import (
    IN_PROGRESS,
    find_runs,
    get_run,
    note_event,
    plan_event,
    read_run_log,
)
from bench_orchestrator.launching import Webserver
from bench_orchestrator.model import SWEEPS_ASSET, Outcome, Scenario, SweepPlan, Tag, TrialNote
from bench_orchestrator.planning import PreflightError, find_targets, plan_trials
from bench_orchestrator.scenarios import MONITOR, SCENARIOS, sweep_job_name, sweep_op_name
from bench_orchestrator.sweep import Pace, SweepAbortedError, now_us, run_trials, seconds, trial_tags
from bench_orchestrator.timeline import timeline

OWNERS = ["team:platform"]
"""Of every asset of the meta location."""

SWEEP_POOL = "bench_sweep"
"""Its limit of 1 keeps a second sweep in the queue while one runs."""


class SweepConfig(dg.Config):
    """What a sweep does; every field has the scenario's default."""

    locations: list[str] = Field(min_length=1, description="Code locations to launch in, each once per block.")
    repeats: int = Field(ge=1, description="Measured launches per location.")
    warmups: int = Field(ge=0, description="Launches per location before those, recorded and left out.")
    seed: int = Field(
        default=0,
        ge=0,
        description="Decides the order of trials and the assets. 0: a new one for every sweep.",
    )
    timeout_s: float = Field(
        default=300,
        gt=0,
        description="Seconds a trial may take before it is terminated and counted as timed out.",
    )
    pause_s: float = Field(default=1, ge=0, description="Seconds of rest after each trial.")
    jitter_s: float = Field(
        default=5,
        ge=0,
        description="Random addition to the rest, up to this many seconds. Keep it at the daemon's dequeue interval "
        "or above, so that requests do not fall into step with it.",
    )


sweeps = dg.AssetSpec(
    SWEEPS_ASSET,
    description="Every sweep that was started: one materialization holds its whole plan, recorded before its first "
    "launch; one observation per trial says how it ended.",
    group_name="measurements",
    kinds={"dagster"},
    owners=OWNERS,
)


def scenario_config(scenario: Scenario) -> type[Any]:
    """The SweepConfig that has a scenario's defaults, so that its job runs without any configuration."""
    defaults = {"locations": list(scenario.locations), "repeats": scenario.repeats, "warmups": scenario.warmups}
    fields: dict[str, Any] = {}
    for name, default in defaults.items():
        field = copy(SweepConfig.model_fields[name])
        field.default = default
        fields[name] = (field.annotation, field)
    return create_model("ScenarioConfig", __base__=SweepConfig, **fields)


def _sweep_job(scenario: Scenario) -> dg.JobDefinition:
    op_name = sweep_op_name(scenario.name)
    config_class = scenario_config(scenario)

    @dg.op(name=op_name, description=scenario.question, pool=SWEEP_POOL, out=dg.Out(dg.Nothing))
    def sweep(
        context: dg.OpExecutionContext,
        config: config_class,  # type: ignore[valid-type]
        webserver: WebserverResource,
    ) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
        yield from _carry_out(context, scenario, config, webserver.connect())

    @dg.job(
        name=sweep_job_name(scenario.name),
        description=f"{scenario.question}\n\nLaunches {', '.join(scenario.locations)}, "
        f"{scenario.repeats} times each after {scenario.warmups} warm-up, in randomised blocks, one at a time. "
        "The results appear in the asset catalog (launch_measurements and the charts) when it is over.",
        config=dg.RunConfig(ops={op_name: config_class()}),
        tags={Tag.KIND: "sweep", Tag.SCENARIO: scenario.name},
        # One process: a sweep that waits should not cost a second interpreter.
        executor_def=dg.in_process_executor,
    )
    def sweep_job() -> None:
        sweep()

    return sweep_job


def _carry_out(
    context: dg.OpExecutionContext, scenario: Scenario, config: SweepConfig, webserver: Webserver
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    try:
        plan = _plan(context, scenario, config, webserver)
    except PreflightError as error:
        raise dg.Failure(f"Nothing was launched. {error}", allow_retries=False) from error
    context.log.info(
        f"Sweep {plan.sweep_id}: {len(plan.trials)} trials in {len(plan.locations)} locations, seed {plan.seed}"
    )
    yield plan_event(plan)

    counts = dict.fromkeys(Outcome, 0)
    pace = Pace(config.timeout_s, config.pause_s, config.jitter_s)
    try:
        for note in run_trials(plan, webserver=webserver, instance=context.instance, pace=pace):
            counts[note.outcome] += 1
            line = _trial_line(context.instance, plan, note)
            (context.log.info if note.outcome is Outcome.OK else context.log.warning)(line)
            yield note_event(note, line)
    except SweepAbortedError as error:
        summary = _summary(plan, counts, "is over")
        raise dg.Failure(f"{summary}. It ended early: {error}", allow_retries=False) from error
    except Exception:
        raise
    except BaseException:  # how Dagster interrupts a run, while a trial is waited for or between two
        context.log.warning(_summary(plan, counts, "was canceled"))
        raise
    context.log.info(_summary(plan, counts, "is over"))


def _plan(context: dg.OpExecutionContext, scenario: Scenario, config: SweepConfig, webserver: Webserver) -> SweepPlan:
    """Preflight and plan.

    Raises:
        PreflightError: with all that stands in the way.
    """
    instance = context.instance
    _refuse_second_sweep(context)
    targets = find_targets(webserver, config.locations)
    seed = config.seed or now_us() % 1_000_000
    locations, trials = plan_trials(webserver, targets, repeats=config.repeats, warmups=config.warmups, seed=seed)
    plan = SweepPlan(
        sweep_id=f"{scenario.name}-{context.run_id[:8]}",
        scenario=scenario.name,
        seed=seed,
        created_us=now_us(),
        locations=locations,
        trials=trials,
        settings=config.model_dump(exclude={"seed"}),
        environment=describe_environment(instance),
    )
    blocked = blocking_limit(instance, dict(context.run.tags), trial_tags(plan, trials[0], 0))
    if blocked:
        raise PreflightError(f"The run limits cannot let the sweep and a trial run together: {blocked}")
    return plan


def _refuse_second_sweep(context: dg.OpExecutionContext) -> None:
    """The pool holds a second sweep back; this is for deployments whose pools have no limit."""
    own = get_run(context.instance, context.run_id)
    others = find_runs(context.instance, {Tag.KIND: "sweep"}, statuses=IN_PROGRESS)
    for other in others:
        if own and (other.created_us, other.run_id) < (own.created_us, own.run_id):
            raise PreflightError(
                f"The sweep of run {other.run_id} is still running, and two at a time would measure each other. "
                f"Wait for it; for a queue instead of this error, give the pool {SWEEP_POOL!r} a limit of 1: "
                f"dagster instance concurrency set {SWEEP_POOL} 1"
            )


def _summary(plan: SweepPlan, counts: dict[Outcome, int], how: str) -> str:
    """The last line of the sweep's log."""
    ended = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "none"
    return f"Sweep {plan.sweep_id} {how}: {sum(counts.values())} of {len(plan.trials)} trials done ({ended})"


def _trial_line(instance: dg.DagsterInstance, plan: SweepPlan, note: TrialNote) -> str:
    """One line of the sweep's log: which trial, how it ended, and what it took."""
    trial = plan.trials[note.number - 1]
    kind = "warm-up" if trial.warmup else f"block {trial.block}"
    line = f"trial {note.number}/{len(plan.trials)} {trial.location} ({kind}): {note.outcome}"
    log = read_run_log(instance, note.run_id) if note.run_id else None
    if log is None or note.outcome is not Outcome.OK:
        reason = note.reason or (log.failure if log else "")
        return f"{line}, {reason}" if reason else line
    times = timeline(log.events, requested_us=note.requested_us, created_us=None)
    return f"{line}, queue {seconds(times.queue_us)}, init {seconds(times.init_us)}, lag {seconds(times.lag_us)}"


sweep_jobs = {scenario.name: _sweep_job(scenario) for scenario in SCENARIOS.values()}
monitor_job = sweep_jobs[MONITOR]
