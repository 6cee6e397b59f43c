"""Summary statistics of a sweep, shared by charts, reports, the terminal and asset metadata.

This module decides which launches count, how locations and variants are ordered, and what a stacked bar shows, so
that all outputs agree. Pure functions; durations come out in seconds (`_s`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Outcome, Sweep, Trial
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.stages import (
    KUBERNETES_STAGES,
    LAG_STAGES,
    PIECES,
    BootStage,
    Piece,
    Stage,
)
from bench_orchestrator.statistics import Estimate, Fit, fit_line, median


@dataclass(frozen=True)
class MedianLaunch:
    """The launch with the median lag, in pieces (seconds). For an even number, the mean of the two middle launches.

    Medians do not add up: a bar stacked from stage medians does not end at the median lag. The pieces of the median
    launch add up to exactly the median lag.
    """

    queue_s: float
    init_s: float
    lag_s: float
    pieces_s: Mapping[Piece, float]
    """Seconds of each stage, with worker boot split into its pieces if they are known. Unknown stages are left out,
    such as those before the queue if the request was not recorded."""


@dataclass(frozen=True)
class Row:
    """The results for one code location, or for one variant of an experiment; durations in seconds.

    A figure without a measurement is None. A location without a single success still has a row.
    """

    location: str
    """The location; for a variant, all of its locations, separated by commas."""
    variant: str
    label: str
    """The variant of an experiment; else the location, with the variant if the rows have several."""
    size: str
    """The location's size in words: `2,000 assets`; empty for a variant, as the experiment names its locations."""
    asset_count: int
    partition_count: int
    warmups: int
    outcomes: Mapping[Outcome, int]
    """How many trials had each outcome, warm-ups left out; every outcome is a key."""
    warmup_outcomes: Mapping[Outcome, int]
    queue_s: Estimate | None
    init_s: Estimate | None
    startup_s: Estimate | None
    """The median launch lag without the queue wait."""
    lag_s: Estimate | None
    time_to_code_s: Estimate | None
    stages_s: Mapping[Stage, Estimate | None]
    """The median of each stage. They do not sum to the median lag; `median_launch` does."""
    boot_s: Mapping[BootStage, Estimate]
    """The median of each piece of worker boot; empty if it is not split."""
    kubernetes_s: Estimate | None
    """The median time that Kubernetes itself takes; None if worker boot is not split."""
    kubernetes_percent: Estimate | None
    """The median share of that time in the lag."""
    shares_percent: Mapping[Stage, Estimate | None]
    """The median share of each stage in the lag."""
    lags_s: tuple[float, ...]
    """Every measured lag, ascending."""
    inits_s: tuple[float, ...]
    """Every measured init time, ascending."""
    startups_s: tuple[float, ...]
    """Every measured startup time, ascending."""
    median_launch: MedianLaunch | None

    def piece_s(self, piece: Piece) -> Estimate | None:
        """Return the median of a stage or of a piece of worker boot."""
        return self.stages_s[piece] if isinstance(piece, Stage) else self.boot_s.get(piece)

    @property
    def n(self) -> int:
        """Launches included in the statistics."""
        return self.outcomes[Outcome.OK]

    @property
    def trials(self) -> int:
        """Trials planned for the statistics: all but the warm-ups."""
        return sum(self.outcomes.values())

    @property
    def failures(self) -> dict[Outcome, int]:
        """The counts of outcomes other than ok that occurred, warm-ups left out."""
        return {outcome: count for outcome, count in self.outcomes.items() if count and outcome is not Outcome.OK}

    @property
    def coverage(self) -> float | None:
        """The lowest actual coverage of the intervals of queue, init, startup and lag; None without an interval."""
        estimates = (self.queue_s, self.init_s, self.startup_s, self.lag_s)
        intervals = [e for e in estimates if e is not None and e.low is not None]
        return min((e.coverage for e in intervals), default=None)

    @property
    def dominant_stage(self) -> tuple[Stage, Estimate] | None:
        """The stage with the largest median share of the lag, and that share."""
        shares = [(stage, share) for stage, share in self.shares_percent.items() if share is not None]
        return max(shares, key=lambda pair: pair[1].value, default=None)


def sweep_rows(sweep: Sweep, *, in_turn: bool = True) -> tuple[Row, ...]:
    """Return a row for each variant of an experiment, in the plan's order, or for each location of another sweep.

    Args:
        in_turn: whether to include the variants that are launched in turn and not compared.
    """
    if not sweep.plan.variants:
        return location_rows(sweep.trials)
    sizes = {location.name: location.asset_count for location in sweep.plan.locations}
    groups: defaultdict[str, list[Trial]] = defaultdict(list)
    for trial in sweep.trials:
        groups[trial.variant].append(trial)
    return tuple(
        _row(
            groups[variant.name],
            location=", ".join(variant.locations),
            variant=variant.name,
            label=variant.name,
            size="",
            asset_count=sum(sizes.get(location, 0) for location in variant.locations),
            partition_count=max((trial.partition_count for trial in groups[variant.name]), default=0),
        )
        for variant in sweep.plan.variants
        if in_turn or not variant.in_turn
    )


def location_rows(trials: Iterable[Trial]) -> tuple[Row, ...]:
    """Return a row for each location and variant, ordered by assets, then partitions, then name, then variant."""
    groups: defaultdict[tuple[int, int, str, str], list[Trial]] = defaultdict(list)
    for trial in trials:
        key = (trial.asset_count, trial.partition_count, trial.location, trial.variant)
        groups[key].append(trial)
    several_variants = len({variant for *_, variant in groups}) > 1
    return tuple(
        _row(
            group,
            location=location,
            variant=variant,
            label=f"{location} · {variant}" if several_variants else location,
            size=_describe_size(asset_count, partition_count),
            asset_count=asset_count,
            partition_count=partition_count,
        )
        for (asset_count, partition_count, location, variant), group in sorted(groups.items(), key=itemgetter(0))
    )


def shared_environment(plan: SweepPlan) -> dict[str, Any]:
    """Return the environment values that all deployments of a sweep share."""
    others = plan.environments.values()
    return {name: value for name, value in plan.environment.items() if all(e.get(name) == value for e in others)}


def startup_fits(trials: Iterable[Trial]) -> dict[str, Fit]:
    """Fit startup time (ms) against number of assets, by variant: the slope is in ms per asset.

    The queue wait is left out, as it is random and independent of the number of assets. Only locations without
    partitions are used, so that nothing but the number of assets differs. Variants with fewer than two sizes are left
    out.
    """
    points: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for trial in trials:
        if trial.measured and trial.launch.startup_us is not None and not trial.partition_count:
            points[trial.variant].append((float(trial.asset_count), trial.launch.startup_us / 1000))
    return {
        variant: fit_line([x for x, _ in pairs], [y for _, y in pairs])
        for variant, pairs in sorted(points.items())
        if len({x for x, _ in pairs}) > 1
    }


def _row(
    trials: Sequence[Trial],
    *,
    location: str,
    variant: str,
    label: str,
    size: str,
    asset_count: int,
    partition_count: int,
) -> Row:
    measured = [trial for trial in trials if trial.measured]
    warmups = [trial for trial in trials if trial.warmup]
    trials = [trial for trial in trials if not trial.warmup]
    with_lag = sorted(
        (trial for trial in measured if trial.launch.lag_us is not None),
        key=lambda trial: (trial.launch.lag_us, trial.number),
    )
    return Row(
        location=location,
        variant=variant,
        label=label,
        size=size,
        asset_count=asset_count,
        partition_count=partition_count,
        warmups=len(warmups),
        outcomes=_count_outcomes(trials),
        warmup_outcomes=_count_outcomes(warmups),
        queue_s=_median_s(trial.launch.queue_us for trial in measured),
        init_s=_median_s(trial.launch.init_us for trial in measured),
        startup_s=_median_s(trial.launch.startup_us for trial in measured),
        lag_s=_median_s(trial.launch.lag_us for trial in measured),
        time_to_code_s=_median_s(trial.launch.time_to_code_us for trial in measured),
        stages_s={stage: _median_s(trial.launch.stages_us.get(stage) for trial in measured) for stage in Stage},
        boot_s=_boot_s(measured),
        kubernetes_s=_median_s(_kubernetes_us(trial) for trial in measured),
        kubernetes_percent=_median_percent((_kubernetes_us(trial), trial.launch.lag_us) for trial in measured),
        shares_percent={
            stage: _median_percent((trial.launch.stages_us.get(stage), trial.launch.lag_us) for trial in measured)
            for stage in LAG_STAGES
        },
        lags_s=_samples_s(trial.launch.lag_us for trial in measured),
        inits_s=_samples_s(trial.launch.init_us for trial in measured),
        startups_s=_samples_s(trial.launch.startup_us for trial in measured),
        median_launch=_median_launch(with_lag),
    )


def _describe_size(asset_count: int, partition_count: int) -> str:
    """Describe a size: `2,000 assets`, or `10 assets` times `10,000 partitions`."""
    counts = [(asset_count, "asset"), (partition_count, "partition")]
    words = [f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count]
    return " \N{MULTIPLICATION SIGN} ".join(words)


def _count_outcomes(trials: Iterable[Trial]) -> dict[Outcome, int]:
    counts = Counter(trial.outcome for trial in trials)
    return {outcome: counts[outcome] for outcome in Outcome}


def _samples_s(durations_us: Iterable[int | None]) -> tuple[float, ...]:
    return tuple(sorted(duration / MICROSECONDS for duration in durations_us if duration is not None))


def _median_s(durations_us: Iterable[int | None]) -> Estimate | None:
    samples_s = _samples_s(durations_us)
    return median(samples_s) if samples_s else None


def _boot_s(measured: Sequence[Trial]) -> dict[BootStage, Estimate]:
    medians = {stage: _median_s(trial.launch.boot_us.get(stage) for trial in measured) for stage in BootStage}
    return {stage: estimate for stage, estimate in medians.items() if estimate}


def _kubernetes_us(trial: Trial) -> int | None:
    return sum(trial.launch.boot_us[stage] for stage in KUBERNETES_STAGES) if trial.launch.boot_us else None


def _median_percent(parts_us: Iterable[tuple[int | None, int | None]]) -> Estimate | None:
    """Return the median of part / whole in percent, over pairs of durations."""
    shares = [100 * part / whole for part, whole in parts_us if part is not None and whole]
    return median(shares) if shares else None


def _median_launch(by_lag: Sequence[Trial]) -> MedianLaunch | None:
    """Return the median launch of trials that are sorted by lag and all have one."""
    if not by_lag:
        return None
    middle = by_lag[(len(by_lag) - 1) // 2 : len(by_lag) // 2 + 1]

    def mean_s(durations_us: Iterable[int | None]) -> float:
        return sum(duration_us or 0 for duration_us in durations_us) / len(middle) / MICROSECONDS

    split = all(trial.launch.boot_us for trial in middle)
    pieces_us = [_pieces_us(trial, split=split) for trial in middle]
    pieces_s = {
        piece: mean_s(pieces.get(piece) for pieces in pieces_us)
        for piece in PIECES
        if any(pieces.get(piece) is not None for pieces in pieces_us)
    }
    lag_s = mean_s(trial.launch.lag_us for trial in middle)
    return MedianLaunch(
        queue_s=mean_s(trial.launch.queue_us for trial in middle),
        init_s=mean_s(trial.launch.init_us for trial in middle),
        lag_s=lag_s,
        pieces_s=pieces_s,
    )


def _pieces_us(trial: Trial, *, split: bool) -> dict[Piece, int | None]:
    """Return the pieces that a launch's bar is stacked from."""
    whole = (Stage.WORKER_BOOT,) if split else ()
    stages: dict[Piece, int | None] = {stage: us for stage, us in trial.launch.stages_us.items() if stage not in whole}
    boot: dict[Piece, int | None] = {stage: trial.launch.boot_us[stage] for stage in trial.launch.boot_us if split}
    return stages | boot
