"""One job per scenario: launched from the UI with a click, from a schedule, or by `bench run`."""

from collections.abc import Iterator
from contextlib import closing

import dagster as dg

from bench_orchestrator.defs.resources import ResultsResource, WebserverResource
from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.plan import Scenario, SweepPlan
from bench_orchestrator.model.tags import NO_RETRIES, SWEEPS_ASSET, Tag
from bench_orchestrator.model.text import legible
from bench_orchestrator.results.queries import comparable_sweeps
from bench_orchestrator.scenarios.registry import MONITOR, SCENARIOS, sweep_job_name, sweep_op_name
from bench_orchestrator.sweeps.config import scenario_config
from bench_orchestrator.sweeps.journal import note_event, plan_event
from bench_orchestrator.sweeps.runner import SweepAbortedError
from bench_orchestrator.sweeps.session import SWEEP_POOL, Session, carry_out

sweeps = dg.AssetSpec(
    SWEEPS_ASSET,
    description="The journal of all sweeps. A materialization holds a sweep's whole plan, recorded before its first "
    "launch; an observation per trial records how it ended.",
    group_name="measurements",
    kinds={"dagster"},
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
        session = Session(
            run_id=context.run_id,
            run_tags=context.run.tags,
            instance=context.instance,
            webserver=webserver.connect(),
            history=lambda: comparable_sweeps(results.store),
            say=lambda line: context.log.info(legible(line)),
            warn=lambda line: context.log.warning(legible(line)),
        )
        try:
            with closing(carry_out(scenario, config, session)) as entries:
                for entry in entries:
                    yield plan_event(entry) if isinstance(entry, SweepPlan) else note_event(entry.note, entry.line)
        except (PreflightError, SweepAbortedError) as error:
            raise dg.Failure(legible(str(error)), allow_retries=False) from error

    @dg.job(
        name=sweep_job_name(scenario.name),
        description=_describe(scenario),
        config=dg.RunConfig(ops={op_name: config_class()}),
        tags={Tag.KIND: "sweep", Tag.SCENARIO: scenario.name, **NO_RETRIES},
        # One process: a sweep that waits should not cost a second interpreter.
        executor_def=dg.in_process_executor,
    )
    def sweep_job() -> None:
        sweep()

    return sweep_job


def _describe(scenario: Scenario) -> str:
    """Return the job's description for the UI."""
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


sweep_jobs = {scenario.name: _sweep_job(scenario) for scenario in SCENARIOS.values()}
monitor_job = sweep_jobs[MONITOR]
