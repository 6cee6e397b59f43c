"""A value with its interval, and the simplest one: the median. Without numpy, so that commands without it have both."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import isfinite, sqrt
from statistics import NormalDist
from typing import Protocol

_EXACT_SAMPLES = 4_000
"""Maximum samples for exact counting; beyond that the normal approximation is as good."""


class Ordered(Protocol):
    """Values in ascending order, or a sequence indexed by rank from 0."""

    def __len__(self) -> int: ...
    def __getitem__(self, rank: int, /) -> float: ...


@dataclass(frozen=True)
class Estimate:
    """A value in the samples' unit, and an interval that contains the true value with probability `coverage`."""

    value: float
    low: float | None
    high: float | None
    coverage: float
    """The actual coverage, 0 to 1: below the requested confidence if the sample is too small for it, and 0 without an
    interval."""
    n: int
    """Number of samples."""


def median(samples: Iterable[float], confidence: float = 0.95) -> Estimate:
    """Return the median with its distribution-free interval, in the samples' unit.

    The interval extends from the k-th smallest to the k-th largest sample, with the largest k that still covers
    `confidence`. Each sample is above the true median with probability 1/2, so the binomial distribution gives the
    coverage. With fewer than 6 samples no k covers 95 %, and the interval is their range: 5 cover 93.75 %, 2 cover
    50 %, 1 has no interval. Ties can only increase the coverage.

    Raises ValueError without samples, for NaN or infinite ones, and for a confidence outside 0 to 1.
    """
    check_confidence(confidence)
    ordered = sorted(map(float, samples))
    if not ordered:
        raise ValueError("a median needs at least one sample")
    if not all(map(isfinite, ordered)):
        raise ValueError("samples must be finite numbers")
    return middle(ordered, sample_misses(len(ordered)), confidence, len(ordered))


def middle(ordered: Ordered, misses: Ordered, confidence: float, n: int) -> Estimate:
    """Return the median of `ordered` with the narrowest interval that covers `confidence`, else the widest.

    An interval consists of the k-th value from either end. `misses` is the distribution of a rank statistic, as in
    `statistics.ranks`, `n` the number of samples behind the order statistics.
    """
    value = median_of(ordered)
    if len(ordered) == 1:
        return Estimate(value, None, None, 0.0, n)

    def coverage(k: int) -> float:
        return float(1 - 2 * misses[k - 1])

    ranks = range(1, len(misses) + 1)
    k = max(1, bisect_left(ranks, True, key=lambda rank: coverage(rank) < confidence))
    return Estimate(value, float(ordered[k - 1]), float(ordered[-k]), coverage(k), n)


def median_of(ordered: Ordered) -> float:
    """Return the middle one of ordered values, or the mean of the two in the middle."""
    n = len(ordered)
    return float((ordered[(n - 1) // 2] + ordered[n // 2]) / 2)


@lru_cache(maxsize=256)
def sample_misses(n: int) -> Sequence[float]:
    """Return the miss probabilities for the median of n samples: each is above it with probability 1/2.

    The entry for k is at index k - 1: the probability that the median is below the k-th smallest sample.
    """
    ranks = range(max(1, n // 2))
    if n > _EXACT_SAMPLES:
        normal = NormalDist(n / 2, sqrt(n) / 2)
        return [normal.cdf(k + 0.5) for k in ranks]
    ways = accumulate(ranks[:-1], lambda count, k: count * (n - k) // (k + 1), initial=1)
    return [total / 2**n for total in accumulate(ways)]


def check_confidence(confidence: float) -> None:
    """Raise ValueError unless `confidence` is between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1: got {confidence}")
