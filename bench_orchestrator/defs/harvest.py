"""The asset that the launches of finished sweeps are harvested into, and its job."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.defs.sweeps import sweeps
from bench_orchestrator.defs.tables import describe_measurements
from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.runs import FINISHED
from bench_orchestrator.model.tags import MEASUREMENTS_ASSET, NO_RETRIES, Tag
from bench_orchestrator.model.text import legible
from bench_orchestrator.results.store import SweepSummary
from bench_orchestrator.sources.instance import find_runs
from bench_orchestrator.sweeps.entries import JournalError
from bench_orchestrator.sweeps.harvest import harvest_sweep

RESULTS_POOL = "bench_results"
"""Serialises harvest runs, because DuckDB has one writer at a time."""

OUTCOME_CHECK = "every_trial_ok"

_MOST_LINES = 5
"""Maximum sweeps that the check names."""


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
    """Harvest finished sweeps into the results database, each in its own transaction.

    A sweep whose journal cannot be read is reported, and the others are harvested.

    Raises:
        UnusableError: this instance has no run of a requested id; the others were harvested before.
    """
    run_ids = config.sweep_runs or [
        run.run_id for run in find_runs(context.instance, {Tag.KIND: "sweep"}, statuses=FINISHED)
    ]
    harvested: list[str] = []
    unreadable: list[str] = []
    unknown: list[str] = []
    outcomes: Counter[Outcome] = Counter()
    warnings = 0
    for run_id in run_ids:
        try:
            sweep = harvest_sweep(context.instance, run_id)
        except JournalError as error:
            context.log.warning(str(error))
            unreadable.append(str(error))
            continue
        except UnusableError as error:
            unknown.append(str(error))
            continue
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
    if unknown:
        raise UnusableError(f"{' '.join(unknown)} Sweeps harvested: {len(harvested)}.")
    metadata: dict[str, Any] = {
        "sweeps": len(harvested),
        "launches": outcomes.total(),
        **{f"launches/{outcome}": outcomes[outcome] for outcome in Outcome},
        "launches_with_warnings": warnings,
        "database": dg.MetadataValue.path(results.store.path),
        "dagster/row_count": results.store.count_launches(),
    }
    return dg.MaterializeResult(
        metadata=metadata, check_results=[_check_outcomes(results.store.list_sweeps(harvested), unreadable)]
    )


def _check_outcomes(summaries: Sequence[SweepSummary], unreadable: Sequence[str]) -> dg.AssetCheckResult:
    """Warn about sweeps that could not be read, and about those with trials that gave no measurement."""
    lines = [*unreadable, *(f"{one.ok} of {one.trials} trials of {one.sweep_id} succeeded." for one in summaries)]
    return dg.AssetCheckResult(
        check_name=OUTCOME_CHECK,
        passed=not unreadable and all(one.ok == one.trials for one in summaries),
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(lines[:_MOST_LINES]) or "No sweep was harvested.",
        metadata={
            "sweeps": [one.sweep_id for one in summaries],
            "unreadable_sweeps": len(unreadable),
            "trials": sum(one.trials for one in summaries),
            "ok": sum(one.ok for one in summaries),
        },
    )


harvest_job = dg.define_asset_job(
    "harvest",
    selection=dg.AssetSelection.assets(launch_measurements).downstream(),
    description="Reads finished sweeps from the event log into the results database; updates charts and evaluations.",
    tags={Tag.KIND: "harvest", **NO_RETRIES},
    executor_def=dg.in_process_executor,
)
