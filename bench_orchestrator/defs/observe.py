"""The asset that the launches of all finished runs are observed into, and its job."""

import time
from collections import Counter
from dataclasses import dataclass, field

import dagster as dg
from pydantic import Field

from bench_orchestrator import settings
from bench_orchestrator.defs.harvest import RESULTS_POOL
from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.defs.tables import describe_observed
from bench_orchestrator.model.bounds import LONGEST_S
from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.observed import Selection
from bench_orchestrator.model.tags import NO_RETRIES, OBSERVATION, OBSERVED_ASSET, Tag
from bench_orchestrator.results.store import Store
from bench_orchestrator.sources.finished import id_of
from bench_orchestrator.sources.observing import observe


class ObserveConfig(dg.Config):
    """Which runs are observed, and for how long."""

    locations: list[str] = Field(
        default=[],
        description="Code locations whose runs are observed: `sales` for all of its runs, `sales=0.1` for a tenth, `*` "
        f"for all other locations. Empty: those of {settings.OBSERVED_LOCATIONS}, or all.",
    )
    of_bench: bool = Field(
        default=False,
        description="Whether sweeps, their trials and their harvests are observed, too; trials are in "
        f"launch_measurements anyway. {settings.OBSERVE_BENCH} says it for all observations.",
    )
    budget_s: float = Field(
        default=30.0,
        gt=0,
        le=LONGEST_S,
        description="Seconds after which the observation ends, once it has saved what it has read. The next one goes "
        "on from there.",
    )

    @property
    def selection(self) -> Selection:
        """The selection, with the environment's where nothing is configured.

        Raises:
            UnusableError: a location's share is no number from 0 to 1.
        """
        told = self.locations or settings.observed_locations()
        try:
            return Selection.parse(told, of_bench=self.of_bench or settings.observes_bench())
        except UnusableError as error:
            raise UnusableError(f"{'locations' if self.locations else settings.OBSERVED_LOCATIONS}: {error}") from error


@dataclass
class Tally:
    """What an observation has saved."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    left_out: int = 0
    deleted: int = 0
    unreadable: list[str] = field(default_factory=list)
    """The ids of runs whose records cannot be read."""
    doubtful: int = 0
    """Launches with warnings."""
    complete: bool = False
    """Whether there was nothing left to observe."""


def observe_into(store: Store, instance: dg.DagsterInstance, selection: Selection, budget_s: float) -> Tally:
    """Save the finished runs that are not observed yet, some at a time, until there are none or the time is over.

    Raises:
        StoreError: another process keeps the file open for too long, or the file is not a results database.
    """
    ends_s, tally, instance_id = time.monotonic() + budget_s, Tally(), id_of(instance)
    for observation in observe(instance, store.observation_progress(instance_id), selection):
        store.save_observed(instance_id, observation)
        launches = [one.launch for one in observation.observed]
        tally.outcomes.update(launch.outcome for launch in launches if launch.outcome)
        tally.doubtful += sum(bool(launch.warnings) for launch in launches)
        tally.left_out += len(observation.looked_at) - len(launches) - len(observation.unreadable)
        tally.deleted += observation.deleted
        tally.unreadable += observation.unreadable
        if time.monotonic() >= ends_s:
            return tally
    tally.complete = True
    return tally


@dg.asset(
    name=OBSERVED_ASSET,
    description="One row per finished run of this Dagster instance, of any code location, in a DuckDB table: its "
    "outcome and all stages of its launch, as in `launch_measurements`. It launches nothing: `observe_sensor`, if it "
    "is on, asks for a run of the job `observe` when runs have finished. Sweeps and their trials are left out.",
    group_name="measurements",
    kinds={"duckdb"},
    pool=RESULTS_POOL,
    metadata=describe_observed(),
)
def observed_launches(
    context: dg.AssetExecutionContext, config: ObserveConfig, results: ResultsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Observe the runs that have finished since the last observation, until the time is over."""
    store, instance = results.store, context.instance
    tally = observe_into(store, instance, config.selection, config.budget_s)
    if tally.deleted:
        context.log.warning(f"{tally.deleted:,} runs were deleted before they were observed.")
    for run_id in tally.unreadable:
        context.log.warning(f"Dagster cannot read its record of run {run_id}; it is left out.")
    progress = store.observation_progress(id_of(instance))
    return dg.MaterializeResult(
        metadata={
            "launches": tally.outcomes.total(),
            **{f"launches/{outcome}": count for outcome, count in sorted(tally.outcomes.items())},
            "launches_with_warnings": tally.doubtful,
            "runs_left_out": tally.left_out,
            "runs_deleted": tally.deleted,
            "runs_deleted/ever": progress.deleted,
            "runs_unreadable": len(tally.unreadable),
            "complete": tally.complete,
            "observed_until": dg.MetadataValue.timestamp(progress.until_us / MICROSECONDS),
            "database": dg.MetadataValue.path(store.path),
            "dagster/row_count": store.count_observed(),
        }
    )


observe_job = dg.define_asset_job(
    "observe",
    selection=dg.AssetSelection.assets(observed_launches),
    description="Reads runs of any code location that have finished since the last observation from the event log into "
    "the results database. Launches nothing.",
    tags={Tag.KIND: OBSERVATION, **NO_RETRIES},
    executor_def=dg.in_process_executor,
)
