"""The names that identify the bench in a Dagster instance: its code location, its runs' tags and its asset keys."""

from enum import StrEnum

META_LOCATION = "bench_orchestrator"
"""The code location that sweeps run in."""


class Tag(StrEnum):
    """The run tags that identify the bench's runs, also for filters on the runs page."""

    KIND = "bench/kind"
    """`sweep`, `trial` or `harvest`."""
    SCENARIO = "bench/scenario"
    SWEEP = "bench/sweep"
    VARIANT = "bench/variant"
    TRIAL = "bench/trial"
    WARMUP = "bench/warmup"
    REQUESTED_AT = "bench/requested_at_us"
    HARVEST_OF = "bench/harvest_of"
    """The run id of the sweep that a harvest run reads."""
    HARVEST_AS_OF = "bench/harvest_as_of_us"
    """When that sweep's run last changed."""


BACKFILL = "dagster/backfill"
"""Dagster's tag of a backfill's runs: its id."""

PARENT_RUN = "dagster/parent_run_id"
"""Dagster's tag of a run that is another's repetition: the id of that run, whose tags it has otherwise."""

SWEEPS_ASSET = "sweeps"
"""The asset under which a sweep records its plan, as a materialization, and its trials, as observations."""

MEASUREMENTS_ASSET = "launch_measurements"
