"""The contents of a sweep that charts and timelines depend on."""

from enum import StrEnum

from bench_orchestrator.model.launch import Sweep


class Content(StrEnum):
    """What a chart or a timeline needs from a sweep."""

    TRIALS = "trials"
    LOCATIONS = "locations"
    """Trials in plain locations, not of an experiment's sides."""
    SIZES = "sizes"
    """Likewise, in locations of several sizes without partitions."""
    BOTH_KINDS = "both_kinds"
    """Likewise, in locations with partitions and in others without."""
    SIDES = "sides"
    """An experiment's sides."""
    MEASUREMENTS = "measurements"
    """At least one trial that counts."""

    def is_in(self, sweep: Sweep) -> bool:
        """Return whether a sweep has this content. `latest_sweep.sql` applies the same rules to all sweeps."""
        trials, sides = sweep.trials, bool(sweep.plan.variants)
        match self:
            case Content.TRIALS:
                return bool(trials)
            case Content.LOCATIONS:
                return bool(trials) and not sides
            case Content.SIZES:
                return not sides and len({trial.asset_count for trial in trials if not trial.partition_count}) > 1
            case Content.BOTH_KINDS:
                return not sides and len({bool(trial.partition_count) for trial in trials}) > 1
            case Content.SIDES:
                return sides
            case Content.MEASUREMENTS:
                return any(trial.measured for trial in trials)
