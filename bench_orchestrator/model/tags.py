"""The names by which the bench finds itself in a Dagster deployment: its location, its runs and its events."""

from enum import StrEnum

META_LOCATION = "bench_orchestrator"
"""The code location that sweeps run in."""


class Tag(StrEnum):
    """The run tags by which the bench knows its runs; they are also how a person filters the runs page."""

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
    """When that sweep's run had last changed."""


SWEEPS_ASSET = "sweeps"
"""The asset a sweep records itself under: its plan as a materialization, its trials as observations."""

MEASUREMENTS_ASSET = "launch_measurements"
