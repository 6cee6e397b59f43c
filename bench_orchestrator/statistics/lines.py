"""A straight line through points: how the median grows with x, and how sure that is at every x.

Owned here: the Theil-Sen line, the interval of what it predicts, and the inverse of the prediction.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import copysign, sqrt

import numpy as np
import scipy

from bench_orchestrator.statistics.estimates import Estimate, check_confidence, finite, median, median_of, middle
from bench_orchestrator.statistics.pairs import ordered_slopes, pulls
from bench_orchestrator.statistics.ranks import Floats, order_misses

FARTHEST_X = 1e12
"""An end of an interval of x beyond this counts as none: no location will ever have so many assets."""


@dataclass(frozen=True)
class Fit:
    """A straight line through points, in the units of y and x: the median of y at every x."""

    slope: Estimate
    level: Estimate
    """The line's y at `centre`."""
    centre: float
    """The x around which the line turns: the mean x of the points, those with little noise counting for more."""
    slope_spread: float
    """How much further than its interval says the slope strays, as the noise differs from x to x; 1 where it does
    not."""
    correlation: float
    """Of the errors of slope and level, -1 to 1; about 0 where the noise is the same at every x."""
    n: int

    @property
    def intercept(self) -> Estimate:
        """The median at x = 0: the floor that is there whatever the size."""
        return self.predict(0.0)

    def predict(self, x: float) -> Estimate:
        """The median of y at `x`, with its interval.

        The value is the line's. The interval adds up the errors of level and slope as errors add, each in its own
        direction, with their correlation (the MOVER method of Zou and Donner). It claims the lesser of their coverages.

        Measured at 0 to 20,000 assets, with 3, 5 and 10 launches of 250 to 10,000 each, skewed, with waits and
        outliers: where 95 % is claimed it covers 93 to 97 % if the noise is the same at every size, 91 to 98 % if it
        grows fourfold (without `slope_spread` and `correlation` it would be 80 to 100 %). With very few launches it
        covers more than it claims: two launches of two sizes 70 to 86 % for 67 %, one of five 96 to 99 % for 94 %.
        """
        step = x - self.centre
        value = self.level.value + self.slope.value * step
        level, slope = _reaches(self.level), _reaches(self.slope)
        if level is None or slope is None:
            return Estimate(value, None, None, 0.0, self.n)
        tilt = [self.slope_spread * abs(step) * reach for reach in (slope if step > 0 else reversed(slope))]
        together = copysign(self.correlation, self.correlation * step)
        below, above = (
            sqrt(max(0.0, lift**2 + turn**2 + 2 * together * lift * turn))
            for lift, turn in zip(level, tilt, strict=True)
        )
        coverage = min(self.level.coverage, self.slope.coverage)
        return Estimate(value, value - below, value + above, coverage, self.n)

    def largest_x(self, limit: float) -> Estimate | None:
        """The largest x, from 0 up, whose predicted median stays at or below `limit`; None if there is no largest.

        The value is where the line crosses the limit, or 0 when not even x = 0 stays below it. The interval holds
        every x whose own interval holds the limit: up to `low` even the upper end of the prediction stays below (0:
        perhaps not even x = 0 does), beyond `high` even its lower end is above. `high` is None where that never
        happens, because the line may be flat, though `low` is known. It covers what `predict` covers, and more near
        0, where it is cut off. Beyond the measured x it is an extrapolation.
        """
        floor = self.intercept
        if floor.value > limit:
            value = 0.0
        elif self.slope.value <= 0 or (value := (limit - floor.value) / self.slope.value) > FARTHEST_X:
            return None
        if floor.low is None:
            return Estimate(value, None, None, 0.0, self.n)

        def low(x: float) -> float:
            return (self.predict(x).low or 0.0) - limit

        def high(x: float) -> float:
            return (self.predict(x).high or 0.0) - limit

        bounded = low(FARTHEST_X) > 0
        return Estimate(
            value,
            crossing(high, 0.0, value),
            crossing(low, value, FARTHEST_X) if bounded else None,
            floor.coverage,
            self.n,
        )


def fit_line(x: Sequence[float], y: Sequence[float], confidence: float = 0.95) -> Fit:
    """The Theil-Sen line: its slope is the median of the slopes between all pairs of points with different x.

    The slope's interval runs from the k-th smallest to the k-th largest of these slopes. Without a trend in
    the residuals every order of theirs is equally likely, and counting the orders gives the exact coverage,
    launches that share an x included. The level leaves residuals with a median of zero.

    Measured by simulation (2,000 fits each; 3 to 7 sizes of 3, 5 and 10 launches): at a confidence of 95 % it
    covers 94 to 97 % for normal, lognormal and uniform noise. Noise that itself grows with x breaks the
    premise: three- to fourfold from the smallest size to the largest leaves 90 to 96 %, 16- to 26-fold 86 to 92 %.
    `scipy.stats.theilslopes` gives nearly the same interval, and the same coverage, but claims 95 % where
    there are too few points for it: two launches at each of two sizes cover 67 %. A bootstrap within the
    sizes covers but 80 to 86 % with three launches a size, 88 to 96 % with five.

    The orders are counted up to `ranks.EXACT_POINTS`, and beyond that they are as good as normally distributed. Up to
    `pairs.ALL_PAIRS` all slopes are computed; beyond that the same slopes are found by counting, in memory that grows
    with the number of points: 10,000 of them at 5 sizes take about a second.

    Raises ValueError for fewer than two distinct x, for x and y of different lengths, for NaN or infinite
    values, and for a confidence outside 0 to 1.
    """
    check_confidence(confidence)
    xs, ys = points(x, y)
    group_sizes = sorted(Counter(xs.tolist()).values())
    if len(group_sizes) < 2:
        raise ValueError(f"a line needs at least two distinct x: got {len(group_sizes)}")
    slope = middle(ordered_slopes(xs, ys), order_misses(tuple(group_sizes)), confidence, len(xs))
    residuals = ys - slope.value * xs
    residuals -= np.median(residuals)
    centre = _centre(xs, residuals)
    level = median((ys - slope.value * (xs - centre)).tolist(), confidence)
    spread, correlation = _errors(xs, residuals)
    return Fit(slope, level, centre, spread, correlation, len(xs))


def points(x: Sequence[float], y: Sequence[float]) -> tuple[Floats, Floats]:
    """The points as arrays, by ascending x, so that no result hangs on the order they came in.

    Raises ValueError for x and y of different lengths and for NaN or infinite values.
    """
    xs, ys = finite(x, "x"), finite(y, "y")
    if len(xs) != len(ys):
        raise ValueError(f"x and y must pair up: {len(xs)} and {len(ys)} values")
    order = np.lexsort((ys, xs))
    return xs[order], ys[order]


def _centre(xs: Floats, residuals: Floats) -> float:
    """The mean x, each point weighted with the inverse of the noise at its x: a line through the sizes of the
    residuals, kept within a fourth and four times of their median.

    Around it the errors of slope and level are nearly independent.
    """
    sizes = np.abs(residuals)
    typical = np.median(sizes)
    if typical == 0:
        return float(np.mean(xs))
    noise = typical + median_of(ordered_slopes(xs, sizes)) * (xs - np.median(xs))
    return float(np.average(xs, weights=1 / np.clip(noise / typical, 0.25, 4)))


def _errors(xs: Floats, residuals: Floats) -> tuple[float, float]:
    """`slope_spread` and `correlation`, from what every point contributes to the errors of slope and level.

    A point pulls at the level with the sign of its residual, and at the slope with its rank among the residuals at
    smaller x less that among those at larger x. Where the noise is the same at every x, the squares of the latter
    add up to a third of those of the largest possible pulls.
    """
    pulled = pulls(xs, residuals)
    signs = np.sign(residuals)
    squares = float(pulled @ pulled)
    if squares == 0:
        return 1.0, 0.0
    most = np.searchsorted(xs, xs, "left") - (len(xs) - np.searchsorted(xs, xs, "right"))
    expected = (most.astype(np.float64) ** 2).sum() / 3
    return max(1.0, sqrt(squares / expected)), float(signs @ pulled) / sqrt(float(signs @ signs) * squares)


def _reaches(estimate: Estimate) -> tuple[float, float] | None:
    """How far the interval reaches below and above the value."""
    if estimate.low is None or estimate.high is None:
        return None
    return estimate.value - estimate.low, estimate.high - estimate.value


def crossing(height: Callable[[float], float], start: float, end: float) -> float:
    """Where a curve comes up through zero between `start` and `end`, or the end that it is beyond already."""
    if height(start) >= 0:
        return start
    if height(end) <= 0:
        return end
    return float(scipy.optimize.brentq(height, start, end))
