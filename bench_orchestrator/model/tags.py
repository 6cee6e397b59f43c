"""The names that identify the bench in a Dagster instance: its code location, its runs' tags and its asset keys."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

META_LOCATION = "bench_orchestrator"
"""The code location that sweeps run in."""


class Tag(StrEnum):
    """The run tags that identify the bench's runs, also for filters on the runs page."""

    KIND = "bench/kind"
    """`sweep`, `trial`, `harvest`, `observation`, or `filler`: a run that only fills the queue."""
    SCENARIO = "bench/scenario"
    SWEEP = "bench/sweep"
    VARIANT = "bench/variant"
    TRIAL = "bench/trial"
    ROLE = "bench/role"
    """What a run is in a trial with several runs."""
    WARMUP = "bench/warmup"
    REQUESTED_AT = "bench/requested_at_us"
    START = "bench/start"
    """A name that `bench run` gives the start of a sweep, the same in each of its requests."""
    HARVEST_OF = "bench/harvest_of"
    """The run id of the sweep that a harvest run reads."""
    HARVEST_AS_OF = "bench/harvest_as_of_us"
    """When that sweep's run last changed."""
    OBSERVATION = "bench/observation"
    """A name that the sensor gives the observation that it asks for."""


SCHEDULED_TIME_TAG = ".dagster/scheduled_execution_time"
"""Dagster's tag of a schedule's run: the time for which it was meant, in ISO format. GraphQL omits it."""

TICK_TAG = "dagster/tick"
"""Dagster's tag of a run that a tick of a schedule or sensor asked for: the tick's id."""

PARTITION_TAG = "dagster/partition"
"""Dagster's tag of a run with a partition: its key."""

BACKFILL_TAG = "dagster/backfill"
"""Dagster's tag of a backfill's run: the backfill's id."""

COPYING_TAGS = frozenset(
    {
        "dagster/parent_run_id",
        "dagster/root_run_id",
        "dagster/retry_number",
        "dagster/parent_backfill_id",
        "dagster/root_backfill_id",
    }
)
"""Dagster's tags of a run that repeats an earlier run or backfill. It has copies of the earlier one's tags."""

NO_RETRIES: Mapping[str, str] = MappingProxyType({"dagster/max_retries": "0"})
"""Tags of runs that an instance must not retry: a second sweep, harvest or launch would begin from the start."""

HARVEST_SENSOR = "harvest_sensor"
"""The sensor that asks for harvests."""

DEPLOY_SENSOR = "deploy_sensor"
"""The sensor that launches after deploys."""

OBSERVE_SENSOR = "observe_sensor"
"""The sensor that asks for observations."""

OBSERVATION = "observation"
"""The kind of the runs that observe others. They are never observed themselves: each would ask for another."""

SWEEPS_ASSET = "sweeps"
"""The asset under which a sweep records its plan, as a materialization, and its trials, as observations."""

MEASUREMENTS_ASSET = "launch_measurements"

OBSERVED_ASSET = "observed_launches"
