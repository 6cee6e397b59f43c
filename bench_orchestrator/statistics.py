"""What the samples say and how sure that is: robust estimates, each with an interval and its true coverage.

Launch times are few, skewed and full of outliers, so everything here rests on ranks: medians, and intervals
whose ends are order statistics. How often such an interval holds the truth is a matter of counting, exact
for the smallest sample and whatever the distribution. Where a sample is too small for the confidence asked
for, the widest interval is given with the coverage that it does have, instead of a claim.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial, prod

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtr

EXACT_POINTS = 100
"""Points up to which the orders behind a slope's interval are counted one by one, within 50 ms."""

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value in the samples' own unit, and the interval that holds the true one `coverage` of the time."""

    value: float
    low: float | None
    high: float | None
    coverage: float
    """What the interval really covers, 0 to 1: below the confidence asked for where the sample is too small
    for it, and 0 where there is no interval."""
    n: int
    """How many samples it rests on."""


@dataclass(frozen=True)
class Fit:
    """A straight line through points, in the units of y and x."""

    slope: Estimate
    intercept: float
    n: int

    def predict(self, x: float) -> float:
        """The line's y at `x`."""
        return self.intercept + self.slope.value * x


def median(samples: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The median with its distribution-free interval, in the samples' unit.

    The interval runs from the k-th smallest to the k-th largest sample, with the largest k that still covers
    `confidence`: each sample is above the true median with probability 1/2, so counting coin tosses gives the
    coverage. With fewer than 6 samples no k covers 95 %, and the interval is all of them: 5 cover 93.75 %, 2
    cover 50 %, 1 none. Tied samples only make it cover more.

    Raises ValueError without samples, for NaN or infinite ones, and for a confidence outside 0 to 1.
    """
    _check_confidence(confidence)
    ordered = np.sort(_finite(samples, "samples"))
    n = len(ordered)
    if n == 0:
        raise ValueError("a median needs at least one sample")
    misses_below = bdtr(np.arange(max(1.0, n // 2)), n, 0.5)
    return _estimate(ordered, misses_below, confidence, n)


def fit_line(x: Sequence[float], y: Sequence[float], confidence: float = 0.95) -> Fit:
    """The Theil-Sen line: its slope is the median of the slopes between all pairs of points with different x.

    The slope's interval runs from the k-th smallest to the k-th largest of these slopes. Without a trend in
    the residuals every order of theirs is equally likely, and counting the orders gives the exact coverage,
    launches that share an x included. The intercept leaves residuals with a median of zero.

    Measured by simulation (2,000 fits each; 3 to 7 sizes of 3, 5 and 10 launches): at a confidence of 95 % it
    covers 94 to 97 % for normal, lognormal and uniform noise. Noise that itself grows with x breaks the
    premise: threefold from the smallest size to the largest leaves 91 to 96 %, 16- to 26-fold 86 to 92 %.
    `scipy.stats.theilslopes` gives nearly the same interval, and the same coverage, but claims 95 % where
    there are too few points for it: two launches at each of two sizes cover 67 %. A bootstrap within the
    sizes covers but 80 to 86 % with three launches a size, 88 to 96 % with five.

    Takes time and memory that grow with the square of the number of points: the orders are counted up to
    `EXACT_POINTS`, and beyond that they are as good as normally distributed.

    Raises ValueError for fewer than two distinct x, for x and y of different lengths, for NaN or infinite
    values, and for a confidence outside 0 to 1.
    """
    _check_confidence(confidence)
    xs, ys = _finite(x, "x"), _finite(y, "y")
    if len(xs) != len(ys):
        raise ValueError(f"x and y must pair up: {len(xs)} and {len(ys)} values")
    group_sizes = list(Counter(xs.tolist()).values())
    if len(group_sizes) < 2:
        raise ValueError(f"a line needs at least two distinct x: got {len(group_sizes)}")
    step = xs[np.newaxis, :] - xs[:, np.newaxis]
    rise = ys[np.newaxis, :] - ys[:, np.newaxis]
    ordered = np.sort(rise[step > 0] / step[step > 0])
    slope = _estimate(ordered, _misses_below(group_sizes), confidence, len(xs))
    return Fit(slope=slope, intercept=float(np.median(ys - slope.value * xs)), n=len(xs))


def _finite(values: Sequence[float], name: str) -> _Floats:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite numbers")
    return array


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1: got {confidence}")


def _estimate(ordered: _Floats, misses_below: _Floats, confidence: float, n: int) -> Estimate:
    """The median of `ordered` and the narrowest pair of its k-th values from either end that covers
    `confidence`.

    `misses_below[k - 1]` is the probability that the truth is below the k-th smallest; above the k-th
    largest it is the same.
    """
    value = float(np.median(ordered))
    if len(ordered) == 1:
        return Estimate(value, None, None, 0.0, n)
    coverage = 1 - 2 * misses_below
    k = max(1, int(np.count_nonzero(coverage >= confidence)))
    return Estimate(value, float(ordered[k - 1]), float(ordered[-k]), float(coverage[k - 1]), n)


def _misses_below(group_sizes: Sequence[int]) -> _Floats:
    """The probability that fewer than k pairs from different groups are in rising order, for k to half the
    pairs.

    All orders of the values are equally likely; the groups are the points that share an x. The orders with
    j rising pairs are counted by the coefficient of q^j in the q-multinomial: the product of (1 - q^i) for
    i up to all points, divided by the same for each group. Whole numbers, as differences of huge counts
    would not survive rounding.
    """
    points = sum(group_sizes)
    pairs = (points**2 - sum(size**2 for size in group_sizes)) // 2
    if points > EXACT_POINTS:
        return _misses_below_nearly(points, pairs, group_sizes)
    numerator = Counter(range(1, points + 1))
    denominator = Counter(i for size in group_sizes for i in range(1, size + 1))
    orders = [1] + [0] * (max(1, pairs // 2) - 1)
    for i in (numerator - denominator).elements():
        for j in range(len(orders) - 1, i - 1, -1):
            orders[j] -= orders[j - i]
    for i in (denominator - numerator).elements():
        for j in range(i, len(orders)):
            orders[j] += orders[j - i]
    all_orders = factorial(points) // prod(factorial(size) for size in group_sizes)
    return np.cumsum([count / all_orders for count in orders])


def _misses_below_nearly(points: int, pairs: int, group_sizes: Sequence[int]) -> _Floats:
    """The same from the normal distribution that the count of rising pairs approaches (Jonckheere-Terpstra)."""
    variance = (points**2 * (2 * points + 3) - sum(size**2 * (2 * size + 3) for size in group_sizes)) / 72
    fewer_than = np.arange(1, max(1, pairs // 2) + 1)
    misses: _Floats = ndtr((fewer_than - 0.5 - pairs / 2) / np.sqrt(variance))
    return misses
