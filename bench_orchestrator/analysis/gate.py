"""Rulings for CI: whether launches keep to limits, and are no slower than those of a baseline.

A ruling uses a confidence interval, not its middle: a median is under its limit only if the whole interval is.
Undecided is a separate ruling. The intervals are as wide as the number of rulings needs: the whole gate is wrong in at
most 5 % of the cases.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, log2

from bench_orchestrator.analysis.baseline import Reference
from bench_orchestrator.analysis.comparison import IncomparableError
from bench_orchestrator.analysis.summary import Row, location_rows
from bench_orchestrator.analysis.wording import describe_outcomes
from bench_orchestrator.model.launch import Trial
from bench_orchestrator.scenarios.experiment import STARTUP, Measure
from bench_orchestrator.statistics import Estimate, median

CONFIDENCE = 0.95
"""The least coverage that an interval needs for a ruling; it takes at least `FEWEST_TRIALS` launches."""

FEWEST_TRIALS = 6

WRONG = 0.05
"""The share of cases in which a gate may be wrong, whatever the number of its rulings."""


class Ruling(StrEnum):
    """Where a median, or a ratio of medians, is relative to its limit."""

    UNDER = "under"
    OVER = "over"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Limit:
    """A limit for the median of a measure."""

    measure: Measure
    most_s: float


@dataclass(frozen=True)
class Regression:
    """A limit for the startup time, relative to that of a reference."""

    most: float
    """By how much it may be longer, as a fraction."""
    reference: Reference


@dataclass(frozen=True)
class Judgement:
    """The ruling on one limit in one location."""

    row: Row
    name: str
    """What is judged, for programs: `lag_s`, `startup_ratio`."""
    label: str
    """The same in words: `launch lag`."""
    unit: str
    limit: float
    limit_words: str
    """The limit in a sentence: `10 s`, `1.1 × that of the base`."""
    estimate: Estimate | None
    ruling: Ruling
    reason: str
    """Why the ruling is undecided; empty otherwise."""


def judge(
    trials: Sequence[Trial], limits: Sequence[Limit], regression: Regression | None = None
) -> tuple[Judgement, ...]:
    """Rule on each limit in each location.

    Under if the whole interval is below the limit and no trial is missing, over if all of it is above. A trial without
    a measurement may have been the slowest, so one missing trial rules out `UNDER`.
    """
    rows = location_rows(trials)
    confidence = confidence_of_each(len(rows) * (len(limits) + (regression is not None)))
    return tuple(
        judgement
        for row in rows
        for own in ([trial for trial in trials if (trial.location, trial.variant) == (row.location, row.variant)],)
        for judgement in _judge_location(row, own, limits, regression, confidence)
    )


def conclude(judgements: Iterable[Judgement]) -> Ruling:
    """Return over if any ruling is over, under if all are under, else undecided; undecided without any."""
    rulings = {judgement.ruling for judgement in judgements}
    if Ruling.OVER in rulings:
        return Ruling.OVER
    return Ruling.UNDER if rulings == {Ruling.UNDER} else Ruling.UNDECIDED


def describe(judgements: Sequence[Judgement]) -> str:
    """State the conclusion in a sentence, with the limits that it comes from."""
    ruling = conclude(judgements)
    limits = dict.fromkeys(
        f"the {one.label} is {Ruling.OVER if ruling is Ruling.OVER else Ruling.UNDER} {one.limit_words}"
        for one in judgements
        if one.ruling is ruling
    )
    sentence = f"{'Cannot tell whether ' if ruling is Ruling.UNDECIDED else ''}{' and '.join(limits)}."
    return sentence[:1].upper() + sentence[1:]


def rule(estimate: Estimate, limit: float, confidence: float) -> Ruling:
    """Rule by an interval, which has to cover `confidence`."""
    if estimate.low is None or estimate.high is None or estimate.coverage < confidence:
        return Ruling.UNDECIDED
    if estimate.low > limit:
        return Ruling.OVER
    return Ruling.UNDER if estimate.high < limit else Ruling.UNDECIDED


def confidence_of_each(rulings: int) -> float:
    """Return the coverage that each interval needs, by the number of rulings.

    Half of an interval's misses are on the side that makes a ruling wrong. One wrong ruling makes the gate wrong.
    """
    return 1 - min(1 - CONFIDENCE, 2 * WRONG / max(1, rulings))


def _judge_location(
    row: Row, trials: Sequence[Trial], limits: Sequence[Limit], regression: Regression | None, confidence: float
) -> Iterator[Judgement]:
    for limit in limits:
        measure = limit.measure
        samples = [s for trial in trials if trial.measured and (s := measure.of(trial)) is not None]
        estimate = median(samples, confidence) if samples else None
        ruling, reason = _rule(row, len(samples), estimate, limit.most_s, confidence)
        limit_s = limit.most_s
        yield Judgement(row, measure.name, measure.label, "s", limit_s, f"{limit_s:g} s", estimate, ruling, reason)
    if regression is None:
        return
    limit_ratio = 1 + regression.most
    estimate, missing = None, ""
    try:
        estimate = regression.reference.ratio(row.location, trials, confidence)
    except IncomparableError as error:
        missing = str(error)
    ruling, reason = _rule(row, row.n, estimate, limit_ratio, confidence)
    words = f"{limit_ratio:g} \N{MULTIPLICATION SIGN} {regression.reference.name}"
    unit = "\N{MULTIPLICATION SIGN}"
    yield Judgement(row, "startup_ratio", STARTUP.label, unit, limit_ratio, words, estimate, ruling, missing or reason)


def _rule(row: Row, n: int, estimate: Estimate | None, limit: float, confidence: float) -> tuple[Ruling, str]:
    """Return the ruling, and why it is undecided.

    Args:
        n: the launches that have the measure.
    """
    failures = describe_outcomes(row.failures)
    if estimate is None or estimate.low is None or estimate.coverage < confidence:
        needed = ceil(1 - log2(1 - confidence))
        few = f"{n} launches measured, {needed} are needed" if n < needed else "too few launches to compare with"
        return Ruling.UNDECIDED, f"{few}{f' ({failures})' if failures else ''}"
    ruling = rule(estimate, limit, confidence)
    if ruling is not Ruling.OVER and n < row.trials:
        return Ruling.UNDECIDED, f"not every trial was measured: {failures or f'{row.n - n} without a queue'}"
    if ruling is Ruling.UNDECIDED:
        return ruling, "the limit is within the interval; more trials make it narrower"
    return ruling, ""
