"""The numbers of a sweep -> the sentences that state them, each with its interval.

A chart's title and a report's first line make the same claim, so it is worded once, here. No claim is made
without an interval: where there is none, the sentence says so.
"""

from collections.abc import Mapping, Sequence

from bench_orchestrator.model import Outcome
from bench_orchestrator.statistics import Estimate, Fit
from bench_orchestrator.tables import LocationRow

NOTHING_MEASURED = "No measured launches"


def span(rows: Sequence[LocationRow]) -> str:
    """The median launch lag of the first and the last location that have one."""
    measured = [row for row in rows if row.lag_s is not None]
    if not measured:
        return NOTHING_MEASURED
    ends = measured if len(measured) == 1 else (measured[0], measured[-1])
    return "Launch lag: " + ", ".join(f"{row.label} {describe_estimate(row.lag_s)}" for row in ends)


def growth(fits: Mapping[str, Fit]) -> str:
    """By how many ms per asset the lag grows; one sentence for each variant that has a line."""
    if not fits:
        return "Too few sizes measured to say how launch lag grows"
    sentences = [_growth(fit.slope) for fit in fits.values()]
    if len(fits) == 1:
        return sentences[0]
    return "; ".join(f"{variant}: {sentence}" for variant, sentence in zip(fits, sentences, strict=True))


def dominance(rows: Sequence[LocationRow]) -> str:
    """The stage that takes most of the launch lag at the largest location measured."""
    largest = largest_measured(rows)
    if largest is None or largest.dominant_stage is None:
        return NOTHING_MEASURED
    stage, percent = largest.dominant_stage
    share = describe_estimate(percent, "%", digits=0)
    return f"{stage.label.capitalize()} takes {share} of the launch lag at {largest.label}"


def comparison(rows: Sequence[LocationRow]) -> str:
    """The most assets against the most partitions: which costs more, if their intervals lie apart."""
    measured = [row for row in rows if row.lag_s is not None]
    plain = [row for row in measured if not row.partition_count]
    partitioned = [row for row in measured if row.partition_count]
    if not plain or not partitioned:
        return "Nothing to compare: launches of partitioned and of unpartitioned assets are needed"
    sides = [
        (row.lag_s, describe_size(row))
        for row in (
            max(plain, key=lambda row: row.asset_count),
            max(partitioned, key=lambda row: row.asset_count * row.partition_count),
        )
        if row.lag_s is not None
    ]
    (less, less_size), (more, more_size) = sorted(sides, key=lambda side: side[0].value)
    if less.high is not None and more.low is not None and less.high < more.low:
        verdict = f"{more_size} cost more than {less_size}"
    else:
        verdict = f"No difference shown between {more_size} and {less_size}"
    return f"{verdict}: launch lag {describe_estimate(more)} against {describe_estimate(less)}"


def tally(rows: Sequence[LocationRow]) -> str:
    """How many trials ended well, and how the others ended; warm-ups left out."""
    trials = sum(row.trials for row in rows)
    failures = {outcome: sum(row.failures.get(outcome, 0) for row in rows) for outcome in Outcome}
    failed = sum(failures.values())
    if not trials:
        return "No trials"
    if not failed:
        return "The trial went well" if trials == 1 else f"All {trials} trials went well"
    return f"{failed} of {trials} trials gave no measurement: {describe_outcomes(failures)}"


def largest_measured(rows: Sequence[LocationRow]) -> LocationRow | None:
    """The measured location with the most assets."""
    return max((row for row in rows if row.lag_s is not None), key=lambda row: row.asset_count, default=None)


def describe_size(row: LocationRow) -> str:
    """A location's size in words: `2,000 assets`, `10 assets` times `10,000 partitions`."""
    counts = [(row.asset_count, "asset"), (row.partition_count, "partition")]
    words = [f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count]
    return " \N{MULTIPLICATION SIGN} ".join(words)


def describe_estimate(
    estimate: Estimate | None, unit: str = "s", digits: int = 1, no_interval: str = "[no interval]"
) -> str:
    """The value with its interval, `28.0 s [27.1, 31.0]`; where there is none it says so."""
    if estimate is None:
        return "not measured"
    value = f"{estimate.value:.{digits}f} {unit}".rstrip()
    if estimate.low is None or estimate.high is None:
        return f"{value} {no_interval}"
    return f"{value} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def describe_outcomes(outcomes: Mapping[Outcome, int]) -> str:
    """The outcomes that occurred: `2 failed, 1 timed out`."""
    return ", ".join(f"{count} {describe_outcome(outcome)}" for outcome, count in outcomes.items() if count)


def describe_outcome(outcome: Outcome) -> str:
    """The name a person reads: `timed out`."""
    return outcome.value.replace("_", " ")


def _growth(slope: Estimate) -> str:
    """The slope, in ms per asset, as a sentence."""
    amount = describe_estimate(slope, "ms per asset", digits=2)
    if slope.low is not None and slope.low > 0:
        return f"Launch lag grows by {amount}"
    if slope.high is not None and slope.high < 0:
        return f"Launch lag changes by {amount}"
    return f"No growth of the launch lag shown: {amount}"
