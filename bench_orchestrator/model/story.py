"""What a run's log tells beyond its launch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench_orchestrator.model.runs import RunLog


@dataclass(frozen=True)
class Story:
    """The log of a run, and what it tells beyond the launch. Durations are in microseconds."""

    log: RunLog = field(default_factory=RunLog)
    planned: int = 0
    """Events ASSET_MATERIALIZATION_PLANNED: one per selected asset and partition."""
    planned_assets: frozenset[str] = frozenset()
    """The assets that these name, each as its event does."""
    step_retries: int = 0
    retried_us: int = 0
    """From the starts of steps that failed and were tried again to these new starts, in total."""
    pool_waits_us: Mapping[str, int] = field(default_factory=dict, hash=False)
    """How long its steps waited for slots, in total, by pool."""
    pool_waits: int = 0
    """How many of its steps waited."""
    location_away: int = 0
    """How often the daemon could not launch it because its code server could not be reached."""
    time_limit: str = ""
    """What a code server did not do in time, in one line; empty if none was late."""
    whole: bool = True
    """Whether the log was read to its end; if not, at least up to the first step's start."""
