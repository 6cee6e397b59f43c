"""Two sides against each other: by how much their medians differ, and whether that is more than noise.

Owned here: differences and ratios with intervals, of samples paired by block or not, and the rule that turns them
into a verdict. Launches of one block share what the machine went through at the time, so the differences within
blocks are free of it; that is what makes pairs worth the trouble.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp

import numpy as np
import scipy

from bench_orchestrator.statistics.estimates import Estimate, check_confidence, finite, middle, stretched
from bench_orchestrator.statistics.pairs import ordered_averages, ordered_shifts
from bench_orchestrator.statistics.ranks import Floats, order_misses, walsh_misses

CONFIDENCE = 0.95
"""At which verdicts are made."""

FEWEST = 3
"""Blocks, or samples of each side, below which there is no verdict: two can agree by chance too easily."""

LIKELY = 0.8
"""The probability with which `more_blocks` are to decide."""


class Verdict(StrEnum):
    """What a comparison says of the side, as a person reads it."""

    FASTER = "faster"
    SLOWER = "slower"
    NO_DIFFERENCE = "no difference beyond the noise"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Comparison:
    """A side against a baseline."""

    difference: Estimate
    """Of the medians, side minus baseline, in the samples' unit: negative is faster."""
    ratio: Estimate | None
    """Of the medians, side over baseline; None where a sample is not positive."""
    noise: Estimate | None
    """The difference that the A/A arm shows, the baseline against itself; None without one."""
    verdict: Verdict
    more_blocks: int | None
    """Undecided: about how many more blocks (or samples of each side) it takes; None if that cannot be said."""


def paired_difference(side: Sequence[float], baseline: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The difference of the medians, side minus baseline, from samples that were taken in pairs.

    The value is the median of the Walsh averages of the pairs' differences (Hodges and Lehmann), the interval that
    of Wilcoxon's signed-rank test. Whatever the two samples of a pair share drops out. `n` is the number of pairs.
    Exact where the differences are symmetric: if the sides' distributions are the same but for a shift, and skewed,
    with outliers or several peaks as they like. 5 pairs cover 93.75 %, 3 cover 75 %, 2 cover 50 %, 1 none.

    Measured with skewed launches, waits, outliers and drifting blocks, at 5, 10 and 30 pairs: it covers what it
    claims for sides that differ by a shift or by 30 %, about 1 % less for sides that differ threefold. Others that
    were tried: Student's t is up to 5 times as wide where there are outliers (30 pairs); the sign test is a tenth to
    two fifths wider, but narrower at 10 pairs with outliers and no waits; Mann and Whitney's, which takes no notice
    of pairs, is 1.4 times as wide where blocks drift.

    Raises ValueError without pairs, for sides of different lengths, for NaN or infinite samples, and for a
    confidence outside 0 to 1.
    """
    check_confidence(confidence)
    return _centre_of_pairs(*_pairs(side, baseline), confidence)


def paired_ratio(side: Sequence[float], baseline: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The ratio of the medians, side over baseline, from positive samples that were taken in pairs.

    `paired_difference` of the logarithms: exact if the sides' distributions are the same but for a factor, and
    measured to cover what it claims for shifts of a third, too.

    Raises ValueError as `paired_difference` does, and for samples that are not positive.
    """
    check_confidence(confidence)
    return _exponential(_centre_of_pairs(*_logarithms(*_pairs(side, baseline)), confidence))


def difference(side: Sequence[float], baseline: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The difference of the medians, side minus baseline, from samples that were taken independently.

    The value is the median difference between a sample of one and one of the other (Hodges and Lehmann), the
    interval that of Mann and Whitney's test. `n` is the number of samples of both sides. Exact if the sides'
    distributions are the same but for a shift. 5 against 5 cover 96.8 %, 4 against 4 97.1 %, 3 against 3 90 %.

    Measured as `paired_difference`, without blocks: it covers what it claims for sides that differ by a shift or by
    30 %, 2 to 3 % less for sides that differ threefold (92 % at 30 against 30).

    Raises ValueError if a side has no samples, for NaN or infinite samples, and for a confidence outside 0 to 1.
    """
    check_confidence(confidence)
    return _shift(*_sides(side, baseline), confidence)


def ratio(side: Sequence[float], baseline: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The ratio of the medians, side over baseline, from positive samples that were taken independently.

    `difference` of the logarithms: exact if the sides' distributions are the same but for a factor, and measured to
    cover what it claims for shifts of a third, too.

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
    """A side against the baseline of the same blocks: block numbers to samples, one sample per block and arm.

    `again` is the A/A arm, the baseline run a second time in each block. A block that lacks an arm drops out of
    the pairs; `n` of the estimates says how many are left.

    The rule: the side is faster or slower if the 95 % interval of the difference leaves out zero, and the difference is
    more than that of the A/A arm, either way. There is no difference beyond the noise if the interval lies within
    `relevant`, a share of the baseline's median, or within what the A/A arm differs by at least (the end of its
    interval that is nearer to zero). It is undecided otherwise. Fewer than 6 blocks have no 95 % interval; for the
    verdict theirs is drawn out (`estimates.stretched`), in `difference` it is as it is. Fewer than 3 decide nothing.

    `more_blocks`: with so many more, the verdict would be another than undecided with a probability of 80 %, if the
    true difference is as far from the estimated one as its interval says and the interval shrinks with the square
    root of the number of blocks. None for a single block, and beyond 10,000 times as many. Measured from 5 blocks: so
    many decide 83 to 99 % for sides that are 10 to 30 % faster; for sides that are the same 84 % with 5 % of noise,
    but 4 to 55 % with more, as it takes more still to show that there is no difference.

    Measured on skewed launches with waits, outliers and drifting blocks: of sides that are the same, about 3.5 % are
    called faster or slower at 5 blocks, 5 % at 10 and 30 (exactly 4.9 and 5.0); with an A/A arm 2.5 and 4.3 %. Of
    sides that are 30 % faster, with 5 % of noise, all 2,000 are called so at 5 blocks; of those 10 % faster 55 % at 5
    and 98 % at 10. Up to 11 blocks, a single outlier the wrong way leaves it undecided.

    Raises ValueError if no block has both arms, and for NaN or infinite samples.
    """
    noise = None
    if again is not None and again.keys() & baseline.keys():
        noise = _centre_of_pairs(*_pairs(*_shared(again, baseline)), CONFIDENCE)
    return _judge(_centre_of_pairs, _pairs(*_shared(side, baseline)), noise, relevant)


def compare_unpaired(side: Sequence[float], baseline: Sequence[float], *, relevant: float = 0.05) -> Comparison:
    """A side against a baseline that was measured at another time.

    The rule is that of `compare` without an A/A arm; `more_blocks` are samples of each side. What changed between
    the two times besides the sides counts as their difference: nothing in the samples can tell.

    Measured as `compare`, without drift: of sides that are the same, about 3 % are called faster or slower with 5
    launches of each, 4 to 5 % with 10 and 30. Of sides that are 30 % faster, with 5 % of noise, all 2,000 are called
    so with 5 launches of each; of those 10 % faster 73 % with 5 and 99 % with 10.

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
    """How many more than n it takes; the rule is in the docstring of `compare`."""
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
    """How likely a normal variable is no further than `size` from zero."""
    likely: Floats = scipy.special.ndtr((size - centre) / spread) - scipy.special.ndtr((-size - centre) / spread)
    return likely


def _least_size(estimate: Estimate) -> float:
    """How far from zero the interval is; 0 if it holds zero or there is none."""
    if estimate.low is None or estimate.high is None:
        return 0.0
    return max(0.0, estimate.low, -estimate.high)


def _shared(side: Mapping[int, float], baseline: Mapping[int, float]) -> tuple[list[float], list[float]]:
    """The samples of the blocks that have both arms."""
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
    """Back from logarithms."""
    low, high = (None if end is None else exp(end) for end in (estimate.low, estimate.high))
    return Estimate(exp(estimate.value), low, high, estimate.coverage, estimate.n)


def _centre_of_pairs(side: Floats, baseline: Floats, confidence: float) -> Estimate:
    differences = side - baseline
    n = len(differences)
    return middle(ordered_averages(differences), walsh_misses(n), confidence, n)


def _shift(side: Floats, baseline: Floats, confidence: float) -> Estimate:
    sizes = sorted((len(side), len(baseline)))
    return middle(ordered_shifts(side, baseline), order_misses(tuple(sizes)), confidence, sum(sizes))
