"""Is the launch lag under a limit? The answer that a CI pipeline waits for, and never a guess.

It rests on the interval of the median, not on the median: under the limit is what lies under it as a whole. What
cannot be told is an answer of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from bench_orchestrator.analysis.summary import Row
from bench_orchestrator.analysis.wording import describe_outcomes

CONFIDENCE = 0.95
"""What an interval must cover for a ruling to rest on it; no interval of fewer than six launches does."""

FEWEST_TRIALS = 6


class Ruling(StrEnum):
    """What is known about a median launch lag and a limit."""

    UNDER = "under"
    OVER = "over"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class JudgedLocation:
    """One location against the limit."""

    row: Row
    ruling: Ruling
    reason: str
    """Why nothing could be told; empty where something could."""


def judge(row: Row, max_lag_s: float) -> JudgedLocation:
    """Under, if all trials were measured and the whole interval lies under the limit; over, if all of it lies over.

    A trial without a measurement may have been the slowest of all, so with one of them nothing is under a limit.
    """
    lag_s = row.lag_s
    if lag_s is None or lag_s.low is None or lag_s.high is None or lag_s.coverage < CONFIDENCE:
        failures = describe_outcomes(row.failures)
        return JudgedLocation(
            row,
            Ruling.UNDECIDED,
            f"{row.n} launches measured, {FEWEST_TRIALS} are needed{f' ({failures})' if failures else ''}",
        )
    if lag_s.low > max_lag_s:
        return JudgedLocation(row, Ruling.OVER, "")
    if row.failures:
        return JudgedLocation(row, Ruling.UNDECIDED, f"not every trial was measured: {describe_outcomes(row.failures)}")
    if lag_s.high < max_lag_s:
        return JudgedLocation(row, Ruling.UNDER, "")
    return JudgedLocation(row, Ruling.UNDECIDED, "the limit is within the interval; more trials make it narrower")


def conclude(judgements: Iterable[JudgedLocation]) -> Ruling:
    """Over, if any location is; under, if there are some and all of them are."""
    rulings = {judgement.ruling for judgement in judgements}
    if Ruling.OVER in rulings:
        return Ruling.OVER
    return Ruling.UNDER if rulings == {Ruling.UNDER} else Ruling.UNDECIDED
