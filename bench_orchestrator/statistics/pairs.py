"""Order statistics over all pairs of points: slopes, differences between two samples, Walsh averages.

Up to `ALL_PAIRS` pairs they are computed as an array. Beyond that, the k-th smallest is found by bisection, counting
the pairs below a value. That takes memory linear in the points and n log n time. The results agree to a relative error
of about 1e-12.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from bench_orchestrator.statistics.ranks import Floats

ALL_PAIRS = 1_000_000
"""Maximum pairs that are computed as an array of 8 MB: 1,414 points, or two samples of 1,000 each."""

_BLOCK = 128
"""Maximum points whose pairs are compared at once."""

_PRECISION = 1e-12


@dataclass(frozen=True)
class Counted(Sequence[float]):
    """Lazy order statistics: each is found by counting when it is indexed."""

    size: int
    least: float
    most: float
    """No statistic is below `least` or above `most`."""
    count_below: Callable[[float], float]
    """Counts the statistics below a value; those equal to it count half."""

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, k: int) -> float: ...
    @overload
    def __getitem__(self, k: slice) -> Sequence[float]: ...
    def __getitem__(self, k: int | slice) -> float | Sequence[float]:
        if isinstance(k, slice):
            return [self[one] for one in range(self.size)[k]]
        rank = range(self.size)[k] + 0.5
        low, high = self.least, self.most
        while high - low > _PRECISION * max(abs(low), abs(high)):
            middle = low + (high - low) / 2
            if not low < middle < high:
                break
            below = self.count_below(middle)
            if below == rank:
                return middle
            low, high = (middle, high) if below < rank else (low, middle)
        return low + (high - low) / 2


def ordered_slopes(xs: Floats, ys: Floats) -> Floats | Counted:
    """Return the slopes between all points with different x; the points must be in ascending order of x."""
    n = len(xs)
    sizes = np.unique(xs, return_counts=True)[1].astype(np.int64)
    pairs = (n**2 - int((sizes**2).sum())) // 2
    if n * (n - 1) // 2 <= ALL_PAIRS:
        step, rise = np.subtract.outer(xs, xs), np.subtract.outer(ys, ys)
        return np.sort(rise[step > 0] / step[step > 0])
    steepest = float(np.ptp(ys) / np.diff(np.unique(xs)).min())

    def count_below(slope: float) -> float:
        # A pair's slope is below this one if the pair falls after subtracting the trend.
        return pairs / 2 - float(pulls(xs, ys - slope * xs).sum()) / 4

    return Counted(pairs, -steepest, steepest, count_below)


def ordered_shifts(side: Floats, baseline: Floats) -> Floats | Counted:
    """Return the differences between all samples of the side and all of the baseline."""
    pairs = len(side) * len(baseline)
    if pairs <= ALL_PAIRS:
        return np.sort(np.subtract.outer(side, baseline), axis=None)
    ordered = np.sort(baseline)

    def count_below(shift: float) -> float:
        return pairs - _count_below(ordered, side - shift)

    return Counted(pairs, float(side.min() - ordered[-1]), float(side.max() - ordered[0]), count_below)


def ordered_averages(samples: Floats) -> Floats | Counted:
    """Return the Walsh averages: the means of all pairs of samples, including each sample with itself."""
    n = len(samples)
    pairs = n * (n + 1) // 2
    if pairs <= ALL_PAIRS:
        first, second = np.triu_indices(n)
        return np.sort((samples[first] + samples[second]) / 2)
    ordered = np.sort(samples)

    def count_below(average: float) -> float:
        with_themselves = _count_below(ordered, np.array([average]))
        return (_count_below(ordered, 2 * average - ordered) + with_themselves) / 2

    return Counted(pairs, float(ordered[0]), float(ordered[-1]), count_below)


def _count_below(ordered: Floats, values: Floats) -> float:
    """Return the total, over all values, of the ordered samples below the value; those equal to it count half."""
    below, up_to = (np.searchsorted(ordered, values, end).sum() for end in ("left", "right"))
    return float(below + up_to) / 2


def pulls(xs: Floats, values: Floats) -> Floats:
    """Return how much each point supports a rising trend; the points must be in ascending order of x.

    This is the number of points at smaller x below it and at larger x above it, minus those the other way round.
    """
    total = np.zeros(len(xs))

    def add(start: int, end: int) -> None:
        if xs[start] == xs[end - 1]:
            return
        if end - start <= _BLOCK:
            x, value = xs[start:end], values[start:end]
            sides = np.sign(np.subtract.outer(x, x))
            total[start:end] += (sides * np.sign(np.subtract.outer(value, value))).sum(axis=1)
            return
        middle = xs[(start + end) // 2]
        cut = int(np.searchsorted(xs, middle, "left" if middle > xs[start] else "right"))
        add(start, cut)
        add(cut, end)
        total[start:cut] += _more_above(values[start:cut], values[cut:end])
        total[cut:end] -= _more_above(values[cut:end], values[start:cut])

    add(0, len(xs))
    return total


def _more_above(values: Floats, others: Floats) -> Floats:
    """Return, for each value, how many more of the others are above it than below."""
    ordered = np.sort(others)
    more: Floats = np.float64(len(others)) - np.searchsorted(ordered, values, "right")
    return more - np.searchsorted(ordered, values, "left")
