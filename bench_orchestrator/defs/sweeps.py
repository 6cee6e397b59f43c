"""One job per scenario: launched from the UI with a click, from a schedule, or by `bench run`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import dagster as dg

from bench_orchestrator.analysis.evidence import location_sweeps
from bench_orchestrator.analysis.lag_model import comparable_sizes, predict_lags
from bench_orchestrator.defs.resources import ResultsResource, WebserverResource
from bench_orchestrator.defs.sweep_config import SweepConfig, scenario_config
from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.plan import PlannedTrial, Prediction, Scenario, SweepPlan, Variant
from bench_orchestrator.model.tags import SWEEPS_ASSET, Tag
from bench_orchestrator.results.store import StoreError
from bench_orchestrator.scenarios.registry import MONITOR, SCENARIOS, sweep_job_name, sweep_op_name
from bench_orchestrator.sources.instance import IN_PROGRESS, find_runs, get_run, read_run_log
from bench_orchestrator.sources.processes import UsageMeter, settle
from bench_orchestrator.sweeps.deployments import Site, open_sites
from bench_orchestrator.sweeps.environment import blocking_limit, describe_environment
from bench_orchestrator.sweeps.harvest import find_interrupted, missing_trials
from bench_orchestrator.sweeps.journal import note_event, plan_event
from bench_orchestrator.sweeps.planning import location_variants, plan_sweep
from bench_orchestrator.sweeps.runner import Pace, SweepAbortedError, run_trials, seconds, trial_tags
from bench_orchestrator.timeline.stages import timeline
from bench_orchestrator.webserver import Webserver, WebserverError

OWNERS = ["team:platform"]
"""The owners of all assets of the meta location."""

_SENSOR_PATIENCE_S = 90.0

SWEEP_POOL = "bench_sweep"
"""With a limit of 1, a second sweep stays in the queue while one runs."""


sweeps = dg.AssetSpec(
    SWEEPS_ASSET,
    description="The journal of all sweeps. A materialization holds a sweep's whole plan, recorded before its first "
    "launch; an observation per trial records how it ended.",
    group_name="measurements",
    kinds={"dagster"},
    owners=OWNERS,
)


def _sweep_job(scenario: Scenario) -> dg.JobDefinition:
    op_name = sweep_op_name(scenario.name)
    config_class = scenario_config(scenario)

    @dg.op(name=op_name, description=scenario.question, pool=SWEEP_POOL, out=dg.Out(dg.Nothing))
    def sweep(
        context: dg.OpExecutionContext,
        config: config_class,  # type: ignore[valid-type]
        webserver: WebserverResource,
        results: ResultsResource,
    ) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
        yield from _carry_out(context, scenario, config, webserver.connect(), results)

    @dg.job(
        name=sweep_job_name(scenario.name),
        description=_describe(scenario),
        config=dg.RunConfig(ops={op_name: config_class()}),
        tags={Tag.KIND: "sweep", Tag.SCENARIO: scenario.name},
        # One process: a sweep that waits should not cost a second interpreter.
        executor_def=dg.in_process_executor,
    )
    def sweep_job() -> None:
        sweep()

    return sweep_job


def _describe(scenario: Scenario) -> str:
    """The job's description in the UI."""
    sides = [side.name for side in scenario.variants] or scenario.locations
    text = (
        f"{scenario.question}\n\nLaunches {', '.join(sides)}, {scenario.repeats} times each after {scenario.warmups} "
        "warm-up, in randomised blocks, one at a time. "
    )
    if scenario.variants:
        text += (
            f"{sides[0]} is the baseline and is launched twice per block, to show the noise. "
            f"Held equal: {scenario.holds_equal} Except on Kubernetes, the sweep starts a temporary deployment for "
            "sides that this one does not serve. "
        )
    return (
        text + "When it is over, the results appear in the asset catalog: launch_measurements and the assets after it."
    )


def _carry_out(
    context: dg.OpExecutionContext,
    scenario: Scenario,
    config: SweepConfig,
    webserver: Webserver,
    results: ResultsResource,
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    instance = context.instance
    home = Path(instance.root_directory)
    here = Site("", webserver, instance, UsageMeter(home), describe_environment(instance))
    say = context.log.info
    with ExitStack() as stack:
        try:
            _refuse_second_sweep(context)
            earlier = find_interrupted(instance, scenario.name, config.resume) if config.resume else None
            variants = _planned_variants(earlier.plan) if earlier else config.variants(scenario)
            sites = {variant.name: here for variant in variants}
            if scenario.variants:
                directory = home / ".bench" / "experiments" / context.run_id
                variants, sites = stack.enter_context(open_sites(variants, here, directory, say))
            if earlier:
                plan = _resume(context, earlier.plan, sites)
                owed = missing_trials(earlier)
                trials = [trial for trial in plan.trials if trial.number in owed]
            else:
                plan = plan_sweep(
                    f"{scenario.name}-{context.run_id[:8]}",
                    scenario,
                    variants,
                    sites,
                    repeats=config.repeats,
                    warmups=config.warmups,
                    seed=config.seed or now_us() % 1_000_000,
                    settings=config.model_dump(exclude={"seed", "resume"}),
                    # Sensors of a deployment that has just started are still adding dynamic partitions.
                    patience_s=_SENSOR_PATIENCE_S if any(site.name for site in sites.values()) else 0,
                )
                plan = replace(plan, predictions_s=_predict(context, plan, results))
                trials = list(plan.trials)
            _refuse_limits(context, plan)
        except (PreflightError, WebserverError) as error:
            raise dg.Failure(f"Nothing was launched. {error}", allow_retries=False) from error
        used = {site.name: site for site in sites.values()}
        # Before the plan is recorded: who follows the sweep sees what it does until then, and only its trials later.
        settle([site.meter for site in used.values()], config.settle_s, say)
        say(f"Sweep {plan.sweep_id}: {len(trials)} trials in {len(plan.locations)} locations, seed {plan.seed}")
        yield plan_event(plan)
        yield from _launch_trials(context, plan, trials, used)


def _launch_trials(
    context: dg.OpExecutionContext, plan: SweepPlan, trials: Sequence[PlannedTrial], sites: Mapping[str, Site]
) -> Iterator[dg.AssetObservation]:
    counts = dict.fromkeys(Outcome, 0)
    knobs = plan.settings
    pace = Pace(knobs["timeout_s"], knobs["pause_s"], knobs["jitter_s"])

    def summary(how: str) -> str:
        """The last line of the sweep's log."""
        ended = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "none"
        return f"Sweep {plan.sweep_id} {how}: {sum(counts.values())} of {len(trials)} trials done ({ended})"

    try:
        for note in run_trials(plan, sites, pace=pace, trials=trials):
            counts[note.outcome] += 1
            line = _trial_line(context.instance, plan, note)
            (context.log.info if note.outcome is Outcome.OK else context.log.warning)(line)
            yield note_event(note, line)
    except SweepAbortedError as error:
        raise dg.Failure(f"{summary('is over')}. It ended early: {error}", allow_retries=False) from error
    except Exception:
        raise
    except BaseException:  # how Dagster interrupts a run, while a trial is waited for or between two
        context.log.warning(summary("was canceled"))
        raise
    context.log.info(summary("is over"))


def _predict(context: dg.OpExecutionContext, plan: SweepPlan, results: ResultsResource) -> dict[str, Prediction]:
    """What an earlier sweep lets expect of an experiment's sides, before any of them is launched."""
    sizes = comparable_sizes(plan.variants)
    if len(set(sizes.values())) < 2:  # there is nothing to predict where size makes no difference
        return {}
    try:
        return predict_lags(location_sweeps(results.store), sizes, plan.environment["dequeue_interval_s"])
    except StoreError as error:
        context.log.warning(f"Nothing is predicted: {error}")
        return {}


def _planned_variants(plan: SweepPlan) -> tuple[Variant, ...]:
    """What a recorded plan launches: its variants, or its locations as they are."""
    return plan.variants or location_variants([location.name for location in plan.locations])


def _resume(context: dg.OpExecutionContext, plan: SweepPlan, sites: Mapping[str, Site]) -> SweepPlan:
    """The plan of an interrupted sweep, if it can be continued here; says what has changed since.

    Raises:
        PreflightError: its trials are not launched where they were.
    """
    here = {site.name for site in sites.values()}
    if not here.issuperset(trial.deployment for trial in plan.trials):
        raise PreflightError(
            f"The sweep {plan.sweep_id} started temporary deployments for locations that this deployment now serves. "
            "Resume it in a deployment that does not serve them."
        )
    now = describe_environment(context.instance)
    for name in ("dagster", "python", "bench", "cpu_model", "cpu_count"):
        if plan.environment[name] != now[name]:
            context.log.warning(f"{name} was {plan.environment[name]} when this sweep began and is {now[name]} now.")
    return plan


def _refuse_limits(context: dg.OpExecutionContext, plan: SweepPlan) -> None:
    """A trial beside the sweep needs a slot beside its own; those in the sweep's own deployments do not.

    Raises:
        PreflightError: the limits cannot let both run.
    """
    for trial in plan.trials:
        if not trial.deployment:
            blocked = blocking_limit(context.instance, dict(context.run.tags), trial_tags(plan, trial, 0))
            if blocked:
                raise PreflightError(f"The run limits do not let the sweep and a trial run together: {blocked}")
            return


def _refuse_second_sweep(context: dg.OpExecutionContext) -> None:
    """The pool holds a second sweep back; this is for deployments whose pools have no limit."""
    own = get_run(context.instance, context.run_id)
    others = find_runs(context.instance, {Tag.KIND: "sweep"}, statuses=IN_PROGRESS)
    for other in others:
        if own and (other.created_us, other.run_id) < (own.created_us, own.run_id):
            raise PreflightError(
                f"The sweep of run {other.run_id} is still running, and two at a time would disturb each other. "
                f"Wait for it. To queue sweeps instead, give the pool {SWEEP_POOL!r} a limit of 1: "
                f"dagster instance concurrency set {SWEEP_POOL} 1"
            )


def _trial_line(instance: dg.DagsterInstance, plan: SweepPlan, note: TrialNote) -> str:
    """One line of the sweep's log: which trial, how it ended, and what it took."""
    trial = plan.trials[note.number - 1]
    kind = "warm-up" if trial.warmup else f"block {trial.block}"
    side = f"{trial.variant}, " if plan.variants else ""
    line = f"trial {note.number}/{len(plan.trials)} {side}{trial.location} ({kind}): {note.outcome}"
    log = note.log or (read_run_log(instance, note.run_id) if note.run_id else None)
    if log is None or note.outcome is not Outcome.OK:
        reason = note.reason or (log.failure if log else "")
        return f"{line}, {reason}" if reason else line
    times = timeline(log.events, requested_us=note.requested_us, created_us=None)
    return f"{line}, queue {seconds(times.queue_us)}, init {seconds(times.init_us)}, lag {seconds(times.lag_us)}"


sweep_jobs = {scenario.name: _sweep_job(scenario) for scenario in SCENARIOS.values()}
monitor_job = sweep_jobs[MONITOR]
