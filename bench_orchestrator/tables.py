"""Launches -> the numbers that charts, reports, the terminal and asset metadata all show.

Owned here so that they cannot disagree: which launches count, how locations are ordered, what a stacked bar
stands for. Pure functions over rows; seconds come out (`_s`), because from here on a person reads them.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench_orchestrator.model import (
    INIT_STAGES,
    MICROSECONDS,
    QUEUE_STAGES,
    Boundary,
    Launch,
    Outcome,
    Stage,
)
from bench_orchestrator.statistics import Estimate, Fit, fit_line, median

LAG_STAGES = (*QUEUE_STAGES, *INIT_STAGES)
"""The stages that the launch lag consists of."""


@dataclass(frozen=True)
class MedianLaunch:
    """The launch with the median lag: its pieces, in seconds.

    Medians do not add up, so a bar stacked from stage medians shows a launch that never happened, and ends
    beside the median lag. The pieces of the median launch do add up, to exactly the median lag. Of an even
    number of launches it is the mean of the two middle ones.
    """

    queue_s: float
    init_s: float
    lag_s: float
    stages_s: Mapping[Stage, float]
    """Unknown stages are left out: those before the queue, of a run whose request was not recorded."""


@dataclass(frozen=True)
class LocationRow:
    """What a sweep says about one code location under one variant; durations in seconds.

    A figure that no launch showed is None. A location without a single success is a row like any other.
    """

    location: str
    variant: str
    label: str
    """The location's name, with the variant where the rows have several."""
    asset_count: int
    partition_count: int
    warmups: int
    outcomes: Mapping[Outcome, int]
    """How the trials ended that are not warm-ups; every outcome is a key."""
    warmup_outcomes: Mapping[Outcome, int]
    queue_s: Estimate | None
    init_s: Estimate | None
    lag_s: Estimate | None
    time_to_code_s: Estimate | None
    stages_s: Mapping[Stage, Estimate | None]
    """The median of each stage. They do not sum to the median lag; `median_launch` does."""
    shares_percent: Mapping[Stage, Estimate | None]
    """The median share that each stage of the lag has in it."""
    lags_s: tuple[float, ...]
    """Every measured lag, ascending."""
    inits_s: tuple[float, ...]
    """Every measured init time, ascending."""
    median_launch: MedianLaunch | None

    @property
    def n(self) -> int:
        """Launches that count in the statistics."""
        return self.outcomes[Outcome.OK]

    @property
    def trials(self) -> int:
        """Trials that were to count in the statistics: all but the warm-ups."""
        return sum(self.outcomes.values())

    @property
    def failures(self) -> dict[Outcome, int]:
        """The outcomes other than ok that occurred, warm-ups left out."""
        return {outcome: count for outcome, count in self.outcomes.items() if count and outcome is not Outcome.OK}

    @property
    def coverage(self) -> float | None:
        """The least true coverage among the intervals of queue, init and lag; None without an interval."""
        intervals = [e for e in (self.queue_s, self.init_s, self.lag_s) if e is not None and e.low is not None]
        return min((e.coverage for e in intervals), default=None)

    @property
    def dominant_stage(self) -> tuple[Stage, Estimate] | None:
        """The stage with the largest median share of the lag, and that share."""
        shares = [(stage, share) for stage, share in self.shares_percent.items() if share is not None]
        return max(shares, key=lambda pair: pair[1].value, default=None)


def location_rows(launches: Iterable[Launch]) -> tuple[LocationRow, ...]:
    """One row for each location and variant, ordered by assets, then partitions, then name, then variant."""
    groups: defaultdict[tuple[int, int, str, str], list[Launch]] = defaultdict(list)
    for launch in launches:
        key = (launch.asset_count, launch.partition_count, launch.location, launch.variant)
        groups[key].append(launch)
    several_variants = len({variant for *_, variant in groups}) > 1
    return tuple(_location_row(groups[key], several_variants) for key in sorted(groups))


def lag_fits(launches: Iterable[Launch]) -> dict[str, Fit]:
    """The line through launch lag (ms) against number of assets, by variant: its slope is ms per asset.

    Only locations without partitions take part, so that nothing but the number of assets differs. A variant
    with fewer than two sizes has no line and is left out.
    """
    points: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for launch in launches:
        if launch.measured and launch.lag_us is not None and not launch.partition_count:
            points[launch.variant].append((float(launch.asset_count), launch.lag_us / 1000))
    return {
        variant: fit_line([x for x, _ in pairs], [y for _, y in pairs])
        for variant, pairs in sorted(points.items())
        if len({x for x, _ in pairs}) > 1
    }


def launch_record(launch: Launch) -> dict[str, str | int | bool | None]:
    """The launch as one flat row, keyed by `LAUNCH_COLUMNS`; `warnings` and `step_process` are JSON text."""
    flattened: dict[str, str | int | None] = {
        "outcome": launch.outcome.value,
        **{f"{boundary}_at_us": launch.at_us.get(boundary) for boundary in Boundary},
        **{f"{stage}_us": launch.stages_us.get(stage) for stage in Stage},
        "warnings": json.dumps(launch.warnings),
        "step_process": json.dumps(dict(launch.step_process), sort_keys=True),
    }
    return {column: flattened[column] if column in flattened else getattr(launch, column) for column in LAUNCH_COLUMNS}


LAUNCH_COLUMNS: Mapping[str, str] = {
    "sweep_id": "VARCHAR",
    "trial": "BIGINT",
    "scenario": "VARCHAR",
    "variant": "VARCHAR",
    "location": "VARCHAR",
    "asset_count": "BIGINT",
    "partition_count": "BIGINT",
    "block": "BIGINT",
    "warmup": "BOOLEAN",
    "asset_key": "VARCHAR",
    "partition_key": "VARCHAR",
    "outcome": "VARCHAR",
    "reason": "VARCHAR",
    "run_id": "VARCHAR",
    "executor": "VARCHAR",
    **{f"{boundary}_at_us": "BIGINT" for boundary in Boundary},
    "ended_us": "BIGINT",
    **{f"{stage}_us": "BIGINT" for stage in Stage},
    "queue_us": "BIGINT",
    "init_us": "BIGINT",
    "lag_us": "BIGINT",
    "time_to_code_us": "BIGINT",
    "warnings": "VARCHAR",
    "step_process": "VARCHAR",
}
"""The columns of `launch_record`, in order, and their SQL types."""


def _location_row(launches: Sequence[Launch], several_variants: bool) -> LocationRow:
    first = launches[0]
    measured = [launch for launch in launches if launch.measured]
    warmups = [launch for launch in launches if launch.warmup]
    trials = [launch for launch in launches if not launch.warmup]
    with_lag = sorted(
        (launch for launch in measured if launch.lag_us is not None),
        key=lambda launch: (launch.lag_us, launch.trial),
    )
    return LocationRow(
        location=first.location,
        variant=first.variant,
        label=f"{first.location} · {first.variant}" if several_variants else first.location,
        asset_count=first.asset_count,
        partition_count=first.partition_count,
        warmups=len(warmups),
        outcomes=_count_outcomes(trials),
        warmup_outcomes=_count_outcomes(warmups),
        queue_s=_median_s(launch.queue_us for launch in measured),
        init_s=_median_s(launch.init_us for launch in measured),
        lag_s=_median_s(launch.lag_us for launch in measured),
        time_to_code_s=_median_s(launch.time_to_code_us for launch in measured),
        stages_s={stage: _median_s(launch.stages_us.get(stage) for launch in measured) for stage in Stage},
        shares_percent={stage: _median_share_percent(measured, stage) for stage in LAG_STAGES},
        lags_s=_samples_s(launch.lag_us for launch in measured),
        inits_s=_samples_s(launch.init_us for launch in measured),
        median_launch=_median_launch(with_lag),
    )


def _count_outcomes(launches: Iterable[Launch]) -> dict[Outcome, int]:
    counts = Counter(launch.outcome for launch in launches)
    return {outcome: counts[outcome] for outcome in Outcome}


def _samples_s(durations_us: Iterable[int | None]) -> tuple[float, ...]:
    return tuple(sorted(duration / MICROSECONDS for duration in durations_us if duration is not None))


def _median_s(durations_us: Iterable[int | None]) -> Estimate | None:
    samples_s = _samples_s(durations_us)
    return median(samples_s) if samples_s else None


def _median_share_percent(launches: Iterable[Launch], stage: Stage) -> Estimate | None:
    shares = [
        100 * stage_us / launch.lag_us
        for launch in launches
        if (stage_us := launch.stages_us.get(stage)) is not None and launch.lag_us
    ]
    return median(shares) if shares else None


def _median_launch(by_lag: Sequence[Launch]) -> MedianLaunch | None:
    """The median of launches that are sorted by their lag and all have one."""
    if not by_lag:
        return None
    middle = by_lag[(len(by_lag) - 1) // 2 : len(by_lag) // 2 + 1]

    def mean_s(durations_us: Iterable[int | None]) -> float:
        return sum(duration_us or 0 for duration_us in durations_us) / len(middle) / MICROSECONDS

    stages_s = {
        stage: mean_s(launch.stages_us.get(stage) for launch in middle)
        for stage in Stage
        if any(launch.stages_us.get(stage) is not None for launch in middle)
    }
    lag_s = mean_s(launch.lag_us for launch in middle)
    return MedianLaunch(
        queue_s=mean_s(launch.queue_us for launch in middle),
        init_s=mean_s(launch.init_us for launch in middle),
        lag_s=lag_s,
        stages_s=stages_s,
    )
