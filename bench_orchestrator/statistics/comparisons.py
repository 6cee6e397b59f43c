"""Comparison of a side with its baseline: differences and ratios of medians, and the verdict on them.

Samples are paired by block or independent. Launches of one block share the state of the machine at that time, so
differences within a block are free of drift. That makes paired intervals narrower.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp

import numpy as np
import scipy

from bench_orchestrator.model.estimates import Estimate, check_confidence, middle
from bench_orchestrator.statistics.estimates import finite, stretched
from bench_orchestrator.statistics.pairs import ordered_averages, ordered_shifts
from bench_orchestrator.statistics.ranks import Floats, order_misses, walsh_misses

CONFIDENCE = 0.95
"""The confidence of verdicts."""

FEWEST = 3
"""Minimum blocks, or samples of each side, for a verdict: two can agree by chance too easily."""

LIKELY = 0.8
"""The probability that `more_blocks` further blocks lead to a verdict."""


class Verdict(StrEnum):
    """The verdict on a side, as shown to users."""

    FASTER = "faster"
    SLOWER = "slower"
    NO_DIFFERENCE = "no difference beyond the noise"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Comparison:
    """A side compared with a baseline."""

    difference: Estimate
    """Difference of the medians, side minus baseline, in the samples' unit: negative is faster."""
    ratio: Estimate | None
    """Ratio of the medians, side to baseline; None if a sample is not positive."""
    noise: Estimate | None
    """The difference between the A/A arm and the baseline; None without an A/A arm."""
    verdict: Verdict
    more_blocks: int | None
    """If undecided, about how many more blocks (or samples of each side) are needed; None if that is unknown."""


def paired_difference(side: Sequence[float], baseline: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Estimate the difference of the medians, side minus baseline, from paired samples.

    The value is the median of the Walsh averages of the pairs' differences (Hodges-Lehmann). The interval is that of
    Wilcoxon's signed-rank test. Whatever the samples of a pair share cancels out. `n` is the number of pairs. The
    interval is exact if the differences are symmetric, as for distributions that differ by a shift only. Those may be
    skewed, multimodal or have outliers. 5 pairs cover 93.75 %, 3 cover 75 %, 2 cover 50 %, 1 has no interval.

    Measured with skewed launches, waits, outliers and drifting blocks, at 5, 10 and 30 pairs: the coverage is as
    claimed for sides that differ by a shift or by 30 %, and about 1 % lower for a factor of three. Alternatives tried:

    - Student's t is up to 5 times as wide with outliers (30 pairs).
    - The sign test is 10 to 40 % wider, but narrower at 10 pairs with outliers and no waits.
    - Mann-Whitney, which ignores pairs, is 1.4 times as wide if blocks drift.

    Raises ValueError without pairs, for sides of different lengths, for NaN or infinite samples, and for a
    confidence outside 0 to 1.
    """
    check_confidence(confidence)
    return _centre_of_pairs(*_pairs(side, baseline), confidence)


def paired_ratio(side: Sequence[float], baseline: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Estimate the ratio of the medians, side to baseline, from positive paired samples.

    This is `paired_difference` of the logarithms: exact for distributions that differ by a factor only. For shifts of
    a third the measured coverage is as claimed, too.

    Raises ValueError as `paired_difference` does, and for samples that are not positive.
    """
    check_confidence(confidence)
    return _exponential(_centre_of_pairs(*_logarithms(*_pairs(side, baseline)), confidence))


def difference(side: Sequence[float], baseline: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Estimate the difference of the medians, side minus baseline, from independent samples.

    The value is the median of the differences between a sample of one side and one of the other (Hodges-Lehmann). The
    interval is that of the Mann-Whitney test. `n` is the number of samples of both sides. It is exact for
    distributions that differ by a shift only. 5 against 5 cover 96.8 %, 4 against 4 97.1 %, 3 against 3 90 %.

    Measured like `paired_difference`, without blocks: the coverage is as claimed for sides that differ by a shift or by
    30 %, and 2 to 3 % lower for a factor of three (92 % at 30 against 30).

    Raises ValueError if a side has no samples, for NaN or infinite samples, and for a confidence outside 0 to 1.
    """
    check_confidence(confidence)
    return _shift(*_sides(side, baseline), confidence)


def ratio(side: Sequence[float], baseline: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Estimate the ratio of the medians, side to baseline, from positive independent samples.

    This is `difference` of the logarithms: exact for distributions that differ by a factor only. For shifts of a third
    the measured coverage is as claimed, too.

    Raises ValueError as `difference` does, and for samples that are not positive.
    """
    check_confidence(confidence)
    return _exponential(_shift(*_logarithms(*_sides(side, baseline)), confidence))


def compare(
    side: Mapping[int, float],
    baseline: Mapping[int, float],
    again: Mapping[int, float] | None = None,
    *,
    relevant: float = 0.05,
) -> Comparison:
    """Compare a side with the baseline in the same blocks; samples are keyed by block, one per block and arm.

    `again` is the A/A arm: the baseline, launched a second time in each block. A block without both arms is left out
    of the pairs; `n` of the estimates is the number of pairs left.

    The rule:

    - Faster or slower: the 95 % interval of the difference excludes zero, and the difference exceeds that of the A/A
      arm in absolute value.
    - No difference beyond the noise: the interval is within `relevant` (a fraction of the baseline's median), or
      within the smallest difference compatible with the A/A arm (the end of its interval nearer to zero).
    - Undecided: otherwise, and always with fewer than 3 blocks.

    Fewer than 6 blocks have no 95 % interval. The verdict then uses a stretched one (`estimates.stretched`);
    `difference` keeps the original.

    `more_blocks` gives a verdict other than undecided with a probability of 80 %. This assumes that the true difference
    is distributed around the estimate as its interval says, and that the interval shrinks with the square root of the
    number of blocks. It is None for a single block, and beyond 10,000 times the blocks. Measured from 5 blocks: that
    many decide in 83 to 99 % of the cases for sides that are 10 to 30 % faster. For equal sides they decide in 84 %
    with 5 % noise, but in 4 to 55 % with more noise, as it takes even more blocks to show that there is no difference.

    Measured on skewed launches with waits, outliers and drifting blocks: of equal sides, about 3.5 % are called faster
    or slower at 5 blocks, 5 % at 10 and 30 (exactly 4.9 and 5.0); with an A/A arm 2.5 and 4.3 %. With 5 % noise, all
    of 2,000 sides that are 30 % faster are called faster at 5 blocks. Of those that are 10 % faster, 55 % are at 5
    blocks and 98 % at 10. Up to 11 blocks, a single outlier in the wrong direction leaves the verdict undecided.

    Raises ValueError if no block has both arms, and for NaN or infinite samples.
    """
    noise = None
    if again is not None and again.keys() & baseline.keys():
        noise = _centre_of_pairs(*_pairs(*_shared(again, baseline)), CONFIDENCE)
    return _judge(_centre_of_pairs, _pairs(*_shared(side, baseline)), noise, relevant)


def compare_unpaired(side: Sequence[float], baseline: Sequence[float], *, relevant: float = 0.05) -> Comparison:
    """Compare a side with a baseline that was measured at another time.

    The rule is that of `compare` without an A/A arm; `more_blocks` counts samples of each side. Any other change
    between the two times counts as a difference between the sides: the samples cannot separate the two.

    Measured like `compare`, without drift: of equal sides, about 3 % are called faster or slower with 5 launches each,
    4 to 5 % with 10 and 30. With 5 % noise, all of 2,000 sides that are 30 % faster are called faster with 5 launches
    each. Of those that are 10 % faster, 73 % are with 5 launches and 99 % with 10.

    Raises ValueError if a side has no samples, and for NaN or infinite samples.
    """
    return _judge(_shift, _sides(side, baseline), None, relevant)


def _judge(
    estimate: Callable[[Floats, Floats, float], Estimate],
    arms: tuple[Floats, Floats],
    noise: Estimate | None,
    relevant: float,
) -> Comparison:
    difference = estimate(*arms, CONFIDENCE)
    ratio = _exponential(estimate(*_logarithms(*arms), CONFIDENCE)) if _positive(*arms) else None
    sure_noise = 0.0 if noise is None else _least_size(stretched(noise, CONFIDENCE))
    margin = max(sure_noise, relevant * abs(float(np.median(arms[1]))))
    fewest = min(map(len, arms))
    verdict, more = Verdict.UNDECIDED, None
    if fewest >= FEWEST:
        verdict = _verdict(stretched(difference, CONFIDENCE), abs(noise.value) if noise else 0.0, margin)
    if verdict is Verdict.UNDECIDED:
        more = _more(difference, fewest, sure_noise, margin)
    return Comparison(difference, ratio, noise, verdict, more)


def _verdict(difference: Estimate, noise: float, margin: float) -> Verdict:
    if difference.low is None or difference.high is None:
        return Verdict.UNDECIDED
    if _least_size(difference) > 0 and abs(difference.value) > noise:
        return Verdict.FASTER if difference.value < 0 else Verdict.SLOWER
    if -margin <= difference.low and difference.high <= margin:
        return Verdict.NO_DIFFERENCE
    return Verdict.UNDECIDED


def _more(difference: Estimate, n: int, noise: float, margin: float) -> int | None:
    """Return how many blocks are needed beyond n; the docstring of `compare` states the rule."""
    if difference.low is None or difference.high is None:
        return None
    error = (difference.high - difference.low) / 2 / scipy.special.ndtri((1 + difference.coverage) / 2)
    if error == 0:
        return None
    more = np.unique(np.geomspace(max(1, FEWEST - n), 10_000 * n, 400).astype(np.int64))
    kept = n / (n + more)
    strays = error * np.sqrt(1 - kept)
    reach = error * np.sqrt(kept) * scipy.special.ndtri((1 + CONFIDENCE) / 2)
    alike, apart = np.maximum(0, margin - reach), np.maximum(noise, reach)
    undecided = _within(apart, difference.value, strays) - _within(alike, difference.value, strays)
    enough = np.flatnonzero(undecided <= 1 - LIKELY)
    return int(more[enough[0]]) if len(enough) else None


def _within(size: Floats, centre: float, spread: Floats) -> Floats:
    """Return the probability that a normal variable is within `size` of zero."""
    likely: Floats = scipy.special.ndtr((size - centre) / spread) - scipy.special.ndtr((-size - centre) / spread)
    return likely


def _least_size(estimate: Estimate) -> float:
    """Return the distance of the interval from zero; 0 if it contains zero or there is none."""
    if estimate.low is None or estimate.high is None:
        return 0.0
    return max(0.0, estimate.low, -estimate.high)


def _shared(side: Mapping[int, float], baseline: Mapping[int, float]) -> tuple[list[float], list[float]]:
    """Return the samples of the blocks that have both arms."""
    blocks = sorted(side.keys() & baseline.keys())
    if not blocks:
        raise ValueError("no block has both arms")
    return [side[block] for block in blocks], [baseline[block] for block in blocks]


def _sides(side: Sequence[float], baseline: Sequence[float]) -> tuple[Floats, Floats]:
    if not len(side) or not len(baseline):
        raise ValueError("each side needs at least one sample")
    return finite(side, "samples"), finite(baseline, "samples")


def _pairs(side: Sequence[float], baseline: Sequence[float]) -> tuple[Floats, Floats]:
    if len(side) != len(baseline):
        raise ValueError(f"samples must pair up: {len(side)} and {len(baseline)}")
    return _sides(side, baseline)


def _positive(side: Floats, baseline: Floats) -> bool:
    return bool((side > 0).all() and (baseline > 0).all())


def _logarithms(side: Floats, baseline: Floats) -> tuple[Floats, Floats]:
    if not _positive(side, baseline):
        raise ValueError("a ratio needs positive samples")
    return np.log(side), np.log(baseline)


def _exponential(estimate: Estimate) -> Estimate:
    """Convert an estimate back from logarithms."""
    low, high = (None if end is None else exp(end) for end in (estimate.low, estimate.high))
    return Estimate(exp(estimate.value), low, high, estimate.coverage, estimate.n)


def _centre_of_pairs(side: Floats, baseline: Floats, confidence: float) -> Estimate:
    differences = side - baseline
    n = len(differences)
    return middle(ordered_averages(differences), walsh_misses(n), confidence, n)


def _shift(side: Floats, baseline: Floats, confidence: float) -> Estimate:
    sizes = sorted((len(side), len(baseline)))
    return middle(ordered_shifts(side, baseline), order_misses(tuple(sizes)), confidence, sum(sizes))
