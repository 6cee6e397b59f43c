"""The sensor that notices finished sweeps, and the asset that their launches are harvested into."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.defs.sweeps import sweeps
from bench_orchestrator.defs.tables import describe_measurements
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.runs import FINISHED, IN_PROGRESS, Run, RunStatus
from bench_orchestrator.model.tags import MEASUREMENTS_ASSET, Tag
from bench_orchestrator.model.text import legible
from bench_orchestrator.results.store import SweepSummary
from bench_orchestrator.sources.instance import end_as_failed, find_runs
from bench_orchestrator.sweeps.harvest import harvest_sweep
from bench_orchestrator.sweeps.journal import read_journal
from bench_orchestrator.sweeps.liveness import given_up, may_go_on, overdue

RESULTS_POOL = "bench_results"
"""Serialises harvest runs, because DuckDB has one writer at a time."""

_OVERLAP_US = 60 * MICROSECONDS
"""Dagster stamps runs in several processes, so the sensor looks back a little behind the last update it saw."""

OUTCOME_CHECK = "every_trial_ok"

_MOST_LINES = 5
"""Maximum sweeps that the check names."""

_LONGEST_BACKOFF_S = 600.0


class HarvestConfig(dg.Config):
    """The sweeps to harvest."""

    sweep_runs: list[str] = Field(
        default=[],
        description="Run ids of sweeps to harvest. Empty: all sweeps of this instance. Existing rows do not change.",
    )


@dg.asset(
    name=MEASUREMENTS_ASSET,
    deps=[sweeps],
    description="One row per launch in a DuckDB table: its outcome, the raw instants from the event log, all stages of "
    "the launch, queue time, init time, launch lag, and the environment. A trial that led to no launch has a row as "
    "well. Harvesting a sweep again gives the same rows.",
    group_name="measurements",
    kinds={"duckdb"},
    pool=RESULTS_POOL,
    metadata=describe_measurements(),
    check_specs=[
        dg.AssetCheckSpec(
            OUTCOME_CHECK,
            asset=MEASUREMENTS_ASSET,
            description="Every trial of the harvested sweeps succeeded. Failed launches are kept and shown, never "
            "dropped.",
        )
    ],
)
def launch_measurements(
    context: dg.AssetExecutionContext, config: HarvestConfig, results: ResultsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Harvest finished sweeps into the results database, each in its own transaction."""
    run_ids = config.sweep_runs or [
        run.run_id for run in find_runs(context.instance, {Tag.KIND: "sweep"}, statuses=FINISHED)
    ]
    harvested: list[str] = []
    outcomes: Counter[Outcome] = Counter()
    warnings = 0
    for run_id in run_ids:
        sweep = harvest_sweep(context.instance, run_id)
        if sweep is None:
            context.log.warning(
                f"The sweep of run {run_id} ended before it recorded a plan; there is nothing to harvest."
            )
            continue
        results.store.save(sweep)
        context.log.info(f"Harvested {legible(sweep.plan.sweep_id)}: {len(sweep.trials)} launches, {sweep.status}")
        harvested.append(sweep.plan.sweep_id)
        outcomes.update(trial.outcome for trial in sweep.trials)
        warnings += sum(bool(launch.warnings) for trial in sweep.trials for launch in trial.launches)
    metadata: dict[str, Any] = {
        "sweeps": len(harvested),
        "launches": outcomes.total(),
        **{f"launches/{outcome}": outcomes[outcome] for outcome in Outcome},
        "launches_with_warnings": warnings,
        "database": dg.MetadataValue.path(results.store.path),
        "dagster/row_count": results.store.count_launches(),
    }
    return dg.MaterializeResult(
        metadata=metadata, check_results=[_check_outcomes(results.store.list_sweeps(harvested))]
    )


def _check_outcomes(summaries: Sequence[SweepSummary]) -> dg.AssetCheckResult:
    """Warn about sweeps with trials that gave no measurement."""
    lines = [f"{one.ok} of {one.trials} trials of {one.sweep_id} succeeded." for one in summaries]
    return dg.AssetCheckResult(
        check_name=OUTCOME_CHECK,
        passed=all(one.ok == one.trials for one in summaries),
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(lines[:_MOST_LINES]) or "No sweep was harvested.",
        metadata={
            "sweeps": [one.sweep_id for one in summaries],
            "trials": sum(one.trials for one in summaries),
            "ok": sum(one.ok for one in summaries),
        },
    )


harvest_job = dg.define_asset_job(
    "harvest",
    selection=dg.AssetSelection.assets(launch_measurements).downstream(),
    description="Reads finished sweeps from the event log into the results database; updates charts and evaluations.",
    tags={Tag.KIND: "harvest"},
    executor_def=dg.in_process_executor,
)


@dg.sensor(
    name="harvest_sensor",
    job=harvest_job,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Harvests each finished sweep once. Waits while a sweep is running, so as not to disturb the "
    "measurement. Repeats a harvest that failed.",
)
def harvest_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Ask for one harvest at a time, for the oldest finished sweep that has none.

    The harvest runs themselves show whether a sweep was harvested, so a kill between a tick and its cursor loses or
    repeats none. The cursor only bounds how far back to look. A sweep that continued after it had been considered dead
    has changed since, and is harvested again.
    """
    instance = context.instance
    _end_the_dead(context)
    running = find_runs(instance, {Tag.KIND: "sweep"}, statuses=IN_PROGRESS)
    if running:
        return dg.SkipReason(f"Sweep run {running[0].run_id} is in progress; harvesting waits for its end.")
    since_us = int(context.cursor) if context.cursor else None
    finished = find_runs(instance, {Tag.KIND: "sweep"}, statuses=FINISHED, updated_after_us=since_us)
    if not finished:
        return dg.SkipReason("No sweep has finished since the last one was harvested.")
    cursor_us = max(run.updated_us for run in finished)
    waiting: list[str] = []
    request: dg.RunRequest | None = None
    for sweep_run in sorted(finished, key=lambda run: run.updated_us):
        attempts = find_runs(instance, {Tag.HARVEST_OF: sweep_run.run_id})
        as_of = str(sweep_run.updated_us)
        # Harvest runs of earlier releases lack this tag.
        done = any(
            run.status is RunStatus.SUCCESS and run.tags.get(Tag.HARVEST_AS_OF, as_of) == as_of for run in attempts
        )
        if done or read_journal(instance, sweep_run.run_id) is None:
            continue
        cursor_us = min(cursor_us, sweep_run.updated_us)
        reason = _why_wait(instance, sweep_run, attempts)
        if reason:
            waiting.append(reason)
        else:
            request = _harvest_request(sweep_run, len(attempts))
            break
    cursor = str(cursor_us - _OVERLAP_US)
    if request:
        return dg.SensorResult(run_requests=[request], cursor=cursor)
    return dg.SensorResult(skip_reason=" ".join(waiting) or "Every finished sweep has been harvested.", cursor=cursor)


def _end_the_dead(context: dg.SensorEvaluationContext) -> None:
    """Mark runs of the bench as failed whose process died without Dagster noticing."""
    for kind in ("sweep", "harvest"):
        for run in find_runs(context.instance, {Tag.KIND: kind}, statuses=IN_PROGRESS):
            reason = given_up(context.instance, run, now_us())
            if reason:
                context.log.warning(f"Run {run.run_id} is reported as failed. {reason}")
                end_as_failed(context.instance, run.run_id, reason)


def _why_wait(instance: dg.DagsterInstance, sweep_run: Run, attempts: list[Run]) -> str:
    """Return why a finished sweep is not harvested now; empty if it is."""
    if any(not run.finished for run in attempts):
        return f"The harvest of sweep run {sweep_run.run_id} is in progress."
    failed = [run for run in attempts if run.status is not RunStatus.SUCCESS]
    if failed:
        backoff_s = min(5 * 2.0 ** len(failed), _LONGEST_BACKOFF_S)
        if now_us() - failed[-1].updated_us < backoff_s * MICROSECONDS:
            return f"{len(failed)} harvests of sweep run {sweep_run.run_id} failed; the next one waits {backoff_s:g} s."
    if may_go_on(instance, sweep_run, now_us()):
        return f"Sweep run {sweep_run.run_id} may still be running: Dagster could not reach its worker."
    if not overdue(instance, sweep_run, now_us()):
        return f"Trials of sweep run {sweep_run.run_id} are still running."
    return ""


def _harvest_request(sweep_run: Run, earlier: int) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"{sweep_run.run_id}/{earlier}",
        run_config=dg.RunConfig(ops={MEASUREMENTS_ASSET: HarvestConfig(sweep_runs=[sweep_run.run_id])}),
        tags={
            Tag.KIND: "harvest",
            Tag.HARVEST_OF: sweep_run.run_id,
            Tag.HARVEST_AS_OF: str(sweep_run.updated_us),
            Tag.SCENARIO: sweep_run.tags.get(Tag.SCENARIO, ""),
        },
    )
