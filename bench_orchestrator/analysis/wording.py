"""Sentences that state a sweep's findings, each with its confidence interval.

A chart's title and a report's first line make the same claim, so both use the sentence from here. A number without an
interval is marked as such.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench_orchestrator.model.estimates import Estimate
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.plan import Prediction

if TYPE_CHECKING:  # both need numpy, which commands that only describe an estimate do without
    from bench_orchestrator.analysis.summary import Row
    from bench_orchestrator.statistics import Fit

NOTHING_MEASURED = "No measured launches"


def span(rows: Sequence["Row"]) -> str:
    """State the median launch lag of the first and the last location that have one."""
    measured = [row for row in rows if row.lag_s is not None]
    if not measured:
        return NOTHING_MEASURED
    ends = measured if len(measured) == 1 else (measured[0], measured[-1])
    return "Launch lag: " + ", ".join(f"{row.label} {describe_estimate(row.lag_s)}" for row in ends)


def growth(fits: Mapping[str, "Fit"]) -> str:
    """State by how many ms per asset the startup time grows; one sentence for each fitted variant."""
    if not fits:
        return "Too few sizes measured to say how the startup time grows"
    sentences = [_growth(fit.slope) for fit in fits.values()]
    if len(fits) == 1:
        return sentences[0]
    return "; ".join(f"{variant}: {sentence}" for variant, sentence in zip(fits, sentences, strict=True))


def queue_wait(interval_s: float | None) -> str:
    """State the distribution of the queue wait; empty without a queue, or if its dequeue interval is unknown."""
    if not interval_s:
        return ""
    return (
        f"The queue wait is random, by the dequeue interval: uniform over 0 to {interval_s:g} s, median "
        f"{interval_s / 2:g} s. Startup time is the launch lag without it"
    )


def dominance(rows: Sequence["Row"]) -> str:
    """State which stage takes most of the launch lag in the location with the most assets."""
    largest = largest_measured(rows)
    if largest is None or largest.dominant_stage is None:
        return NOTHING_MEASURED
    stage, percent = largest.dominant_stage
    share = describe_estimate(percent, "%", digits=0)
    return f"{stage.label.capitalize()} takes {share} of the launch lag {_where(largest)}"


def dominance_in_seconds(rows: Sequence["Row"]) -> str:
    """State the same as `dominance`, and how long that stage takes."""
    largest = largest_measured(rows)
    if largest is None or largest.dominant_stage is None:
        return NOTHING_MEASURED
    stage, _ = largest.dominant_stage
    return f"{dominance(rows)}: {describe_estimate(largest.stages_s[stage])}"


def kubernetes(rows: Sequence["Row"]) -> str:
    """State how much of the launch lag Kubernetes takes in the location with the most assets; empty if unknown."""
    largest = largest_measured(rows)
    if largest is None or largest.kubernetes_s is None:
        return ""
    seconds = describe_estimate(largest.kubernetes_s)
    share = describe_estimate(largest.kubernetes_percent, "%", digits=0)
    return f"Kubernetes takes {seconds} {_where(largest)} until the container runs: {share} of the launch lag"


def comparison(rows: Sequence["Row"]) -> str:
    """Compare the most assets with the most partitions: state which costs more if their intervals do not overlap."""
    measured = [row for row in rows if row.startup_s is not None]
    plain = [row for row in measured if not row.partition_count]
    partitioned = [row for row in measured if row.partition_count]
    if not plain or not partitioned:
        return "Nothing to compare: this needs launches of both partitioned and unpartitioned assets"
    sides = [
        (row.startup_s, row.size)
        for row in (
            max(plain, key=lambda row: row.asset_count),
            max(partitioned, key=lambda row: row.asset_count * row.partition_count),
        )
        if row.startup_s is not None
    ]
    (less, less_size), (more, more_size) = sorted(sides, key=lambda side: side[0].value)
    if less.high is not None and more.low is not None and less.high < more.low:
        verdict = f"{more_size} cost more than {less_size}"
    else:
        verdict = f"No difference shown between {more_size} and {less_size}"
    return f"{verdict}: startup time {describe_estimate(more)} against {describe_estimate(less)}"


def tally(rows: Sequence["Row"]) -> str:
    """State how many trials succeeded and how the others ended; warm-ups are left out."""
    trials = sum(row.trials for row in rows)
    failures = {outcome: sum(row.failures.get(outcome, 0) for row in rows) for outcome in Outcome}
    failed = sum(failures.values())
    if not trials:
        return "No trials"
    if not failed:
        return "The trial went well" if trials == 1 else f"All {trials} trials went well"
    return f"{failed} of {trials} trials gave no measurement: {describe_outcomes(failures)}"


def largest_measured(rows: Sequence["Row"]) -> "Row | None":
    """Return the measured location with the most assets."""
    return max((row for row in rows if row.lag_s is not None), key=lambda row: row.asset_count, default=None)


def quote(name: str) -> str:
    """Quote the name of an experiment's side, as some names read like ordinary words in a sentence."""
    return f"\N{LEFT SINGLE QUOTATION MARK}{name}\N{RIGHT SINGLE QUOTATION MARK}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 run`, `1,200 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def describe_estimate(
    estimate: Estimate | Prediction | None,
    unit: str = "s",
    digits: int | None = 1,
    no_interval: str = "[no interval]",
    *,
    signed: bool = False,
) -> str:
    """Format a value with its interval: `28.0 s [27.1, 31.0]`.

    Args:
        digits: decimal places; None for three significant digits.
        no_interval: shown in place of a missing interval.
        signed: whether to always show the sign, as for a difference.
    """
    if estimate is None:
        return "not measured"
    numbers = [number for number in (estimate.value, estimate.low, estimate.high) if number is not None]
    if digits is None:
        digits = digits_of(numbers)
    shown = [f"{number:{'+' if signed else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}") for number in numbers]
    interval = f"[{', '.join(shown[1:])}]" if len(shown) > 1 else no_interval
    return " ".join(filter(None, (shown[0], unit, interval)))


def digits_of(numbers: Sequence[float]) -> int:
    """Return the decimal places that give the largest number three significant digits; 0 for whole numbers."""
    if all(number == int(number) for number in numbers):
        return 0
    largest = max(abs(number) for number in numbers)
    return 0 if largest >= 100 else 1 if largest >= 10 else 2


def span_of(numbers: Sequence[int]) -> str:
    """Format a range: `5`, or `3` and `5` joined by a dash if they differ."""
    low, high = min(numbers, default=0), max(numbers, default=0)
    return str(low) if low == high else f"{low}\N{EN DASH}{high}"


def describe_outcomes(outcomes: Mapping[Outcome, int]) -> str:
    """List the outcomes that occurred: `2 failed, 1 timed out`."""
    return ", ".join(f"{count} {describe_outcome(outcome)}" for outcome, count in outcomes.items() if count)


def describe_outcome(outcome: Outcome) -> str:
    """Return an outcome in words: `timed out`."""
    return outcome.value.replace("_", " ")


def _where(row: "Row") -> str:
    return f"at {row.label}" if row.size else f"with {quote(row.label)}"


def _growth(slope: Estimate) -> str:
    """State the slope, which is in ms per asset."""
    amount = describe_estimate(slope, "ms per asset", digits=2)
    if slope.low is not None and slope.low > 0:
        return f"Startup time grows by {amount}"
    if slope.high is not None and slope.high < 0:
        return f"Startup time changes by {amount}"
    return f"No growth of the startup time shown: {amount}"
