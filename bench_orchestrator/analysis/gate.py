"""Rulings for CI: whether the launch lag is under a limit.

A ruling uses the confidence interval of the median, not the median: a lag is under the limit only if its whole
interval is. Undecided is a separate ruling.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from bench_orchestrator.analysis.summary import Row
from bench_orchestrator.analysis.wording import describe_outcomes

CONFIDENCE = 0.95
"""The coverage that an interval needs for a ruling; it takes at least `FEWEST_TRIALS` launches."""

FEWEST_TRIALS = 6


class Ruling(StrEnum):
    """Where a median launch lag is relative to a limit."""

    UNDER = "under"
    OVER = "over"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class JudgedLocation:
    """The ruling on one location."""

    row: Row
    ruling: Ruling
    reason: str
    """Why the ruling is undecided; empty otherwise."""


def judge(row: Row, max_lag_s: float) -> JudgedLocation:
    """Rule under if the whole interval is below the limit and no trial is missing, over if all of it is above.

    A trial without a measurement may have been the slowest, so one missing trial rules out `UNDER`.
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
    """Return over if any location is over, under if all are under, else undecided; undecided without locations."""
    rulings = {judgement.ruling for judgement in judgements}
    if Ruling.OVER in rulings:
        return Ruling.OVER
    return Ruling.UNDER if rulings == {Ruling.UNDER} else Ruling.UNDECIDED
