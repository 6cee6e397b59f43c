"""Exact distributions of rank statistics, behind every interval of this package.

All signs or orders of the samples are equally likely. The fraction of them that puts the k-th smallest statistic
beyond the true value determines an interval's coverage, without assumptions about distributions. scipy has these
distributions inside its tests and returns p-values, but no intervals. That of the median is in `model.estimates`.

In every sequence the entry for k is at index k - 1. It is the probability that the true value is below the k-th
smallest statistic, and by symmetry that it is above the k-th largest.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import factorial, prod
from typing import overload

import numpy as np
import numpy.typing as npt
import scipy

EXACT_POINTS = 100
"""Maximum points for exact counting, which takes up to 50 ms; beyond that the normal approximation is as good."""

Floats = npt.NDArray[np.float64]
Misses = Floats | Sequence[float]
"""Probabilities by rank."""


@lru_cache(maxsize=256)
def walsh_misses(n: int) -> Misses:
    """Return the miss probabilities for the ordered Walsh averages of n samples and their centre of symmetry.

    Walsh averages are the means of all pairs of samples, including each sample with itself. The number above the
    centre is the sum of the ranks of the samples above it (Wilcoxon's signed-rank statistic). Each rank is part of
    that sum with probability 1/2.
    """
    averages = n * (n + 1) // 2
    if n > EXACT_POINTS:
        return _NormalMisses(averages, averages * (2 * n + 1) / 12)
    probability = np.eye(1, averages + 1)[0]
    for rank in range(1, n + 1):
        probability = (probability + np.roll(probability, rank)) / 2
    return np.cumsum(probability[: _half(averages)])


@lru_cache(maxsize=256)
def order_misses(group_sizes: tuple[int, ...]) -> Misses:
    """Return the miss probabilities for the ordered slopes between points of different groups.

    A group consists of the points that share an x. After subtracting the true slope, all orders of the values are
    equally likely. The number of orders with j rising pairs is the coefficient of q^j in the q-multinomial: the product
    of (1 - q^i) for i up to the number of points, divided by the same product for each group. The counts are integers,
    because rounding would destroy differences of huge counts. Two groups give the distribution of the Mann-Whitney U,
    points with all different x that of Kendall's tau.
    """
    points = sum(group_sizes)
    pairs = (points**2 - sum(size**2 for size in group_sizes)) // 2
    if points > EXACT_POINTS:
        variance = (points**2 * (2 * points + 3) - sum(size**2 * (2 * size + 3) for size in group_sizes)) / 72
        return _NormalMisses(pairs, variance)
    numerator = Counter(range(1, points + 1))
    denominator = Counter(i for size in group_sizes for i in range(1, size + 1))
    orders = [1] + [0] * (_half(pairs) - 1)
    for i in (numerator - denominator).elements():
        for j in range(len(orders) - 1, i - 1, -1):
            orders[j] -= orders[j - i]
    for i in (denominator - numerator).elements():
        for j in range(i, len(orders)):
            orders[j] += orders[j - i]
    all_orders = factorial(points) // prod(factorial(size) for size in group_sizes)
    return np.cumsum([count / all_orders for count in orders])


def _half(statistics: int) -> int:
    return max(1, statistics // 2)


@dataclass(frozen=True)
class _NormalMisses(Sequence[float]):
    """Miss probabilities from the normal approximation (Wilcoxon, Jonckheere-Terpstra)."""

    statistics: int
    variance: float

    def __len__(self) -> int:
        return _half(self.statistics)

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[float]: ...
    def __getitem__(self, index: int | slice) -> float | Sequence[float]:
        if isinstance(index, slice):
            return [self[one] for one in range(len(self))[index]]
        fewer_than = range(len(self))[index] + 1
        return float(scipy.special.ndtr((fewer_than - 0.5 - self.statistics / 2) / np.sqrt(self.variance)))
