"""How often ranks miss the truth: the exact distributions behind every interval of this package.

Counting takes the place of assumptions. Of all the signs or orders that samples can have, each equally likely, how
many put the k-th smallest of some statistics beyond the truth? That is all that an interval needs. scipy has these
distributions inside its tests, and gives p-values of them, but no intervals.

In every sequence the entry for k is at k - 1. It is the probability that the truth is below the k-th smallest; that it
is above the k-th largest is as likely.
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
"""Points up to which signs and orders are counted one by one, within 50 ms; beyond, the counts are as good as
normally distributed."""

Floats = npt.NDArray[np.float64]
Ordered = Floats | Sequence[float]
"""Values in ascending order, or that can be asked for by their rank from 0."""


@lru_cache(maxsize=256)
def sample_misses(n: int) -> Floats:
    """For n ordered samples and their median: each is above it with probability 1/2."""
    misses: Floats = scipy.special.bdtr(np.arange(max(1.0, n // 2)), n, 0.5)
    return misses


@lru_cache(maxsize=256)
def walsh_misses(n: int) -> Ordered:
    """For the ordered Walsh averages of n samples and their centre of symmetry.

    Walsh averages are the means of two samples, of each pair and of each with itself. As many are above the
    centre as the ranks of the samples above it add up to (Wilcoxon's signed-rank statistic), and each rank takes
    part in that sum with probability 1/2.
    """
    averages = n * (n + 1) // 2
    if n > EXACT_POINTS:
        return _NormalMisses(averages, averages * (2 * n + 1) / 12)
    probability = np.eye(1, averages + 1)[0]
    for rank in range(1, n + 1):
        probability = (probability + np.roll(probability, rank)) / 2
    return np.cumsum(probability[: _half(averages)])


@lru_cache(maxsize=256)
def order_misses(group_sizes: tuple[int, ...]) -> Ordered:
    """For the ordered slopes between points of different groups and their true slope.

    A group are the points that share an x. With the true slope taken out, all orders of the values are equally
    likely; those with j rising pairs are counted by the coefficient of q^j in the q-multinomial: the product of
    (1 - q^i) for i up to all points, divided by the same for each group. Whole numbers, as differences of huge
    counts would not survive rounding. Two groups give the distribution of Mann and Whitney's U, points that all
    differ in x that of Kendall's tau.
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
    """The same from the normal distribution that the counts approach (Wilcoxon, Jonckheere-Terpstra)."""

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
