"""Whether growth has a bend: flat up to some size, say, and steep from there.

Owned here: the comparison of the line through the smaller sizes with the line through the larger ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, isclose
from operator import itemgetter

import numpy as np

from bench_orchestrator.statistics.estimates import Estimate, check_confidence, stretched
from bench_orchestrator.statistics.lines import Fit, crossing, fit_line, points
from bench_orchestrator.statistics.ranks import Floats


@dataclass(frozen=True)
class Bend:
    """Growth in two straight pieces that meet."""

    place: Estimate
    """The x where they meet; its interval ends at the smallest and largest x at the latest."""
    before: Fit
    after: Fit


def find_bend(x: Sequence[float], y: Sequence[float], confidence: float = 0.95) -> Bend | None:
    """Where the growth of the median of y with x has a bend, or None if none is shown.

    Between every two neighbouring sizes that leave at least two sizes on each side, the slopes of the Theil-Sen lines
    through the points on either side are compared. There is a bend where they differ by more than their intervals
    allow, at a confidence that is divided among the places tried, and where the lines meet within the measured x.
    Of several such places the one whose lines leave the smallest residuals is taken. The interval of the place holds
    every x where the difference of the lines may be zero. Fewer than four distinct x show none.

    Measured with 5 launches of 250, 500, 2,000, 5,000 and 10,000 assets, the noise the same at every size or growing
    fourfold: a straight line is called bent in 1 to 4 %. Growth of 2 ms per asset from 2,000 or 5,000 assets on is
    found in 97 to 99 % with normal noise of 0.5 s, in 91 to 99 % with skewed noise, but in 15 to 64 % with waits in the
    queue of up to 5 s: look at the lag without the wait. 3 launches of each show that bend in 73 % (noise growing
    fourfold: 29 %), 2 in 20 %. The place's interval covers 95 to 98 % of those found, the slopes' 94 to 97 %. Where a
    bend lies between the two smallest or the two largest sizes, nothing can tell where.

    Raises ValueError for x and y of different lengths, for NaN or infinite values, and for a confidence outside 0 to 1.
    """
    check_confidence(confidence)
    xs, ys = points(x, y)
    lasts = np.unique(xs)[1:-2]
    strict = 1 - (1 - confidence) / max(1, len(lasts))
    shown: list[tuple[float, Bend]] = []
    for last in lasts:
        pieces = [(xs[piece], ys[piece]) for piece in (xs <= last, xs > last)]
        if not _differ(*(stretched(fit_line(*piece, strict).slope, strict) for piece in pieces)):
            continue
        before, after = (fit_line(*piece, confidence) for piece in pieces)
        place = _meeting(before, after, float(xs[0]), float(xs[-1]))
        if place is not None:
            misfit = sum(_misfit(fit, *piece) for fit, piece in zip((before, after), pieces, strict=True))
            shown.append((misfit, Bend(place, before, after)))
    return min(shown, key=itemgetter(0))[1] if shown else None


def _differ(before: Estimate, after: Estimate) -> bool:
    """Whether the interval of the difference leaves out zero; the pieces share no point, so their errors add up
    as those of independent estimates."""
    if before.low is None or before.high is None or after.low is None or after.high is None:
        return False
    if isclose(after.value, before.value, rel_tol=1e-9):
        return False
    if after.value > before.value:
        reach = hypot(after.value - after.low, before.high - before.value)
    else:
        reach = hypot(after.high - after.value, before.value - before.low)
    return abs(after.value - before.value) > reach


def _meeting(before: Fit, after: Fit, first: float, last: float) -> Estimate | None:
    """The x where the lines meet, if it lies between the first and the last."""
    turn = after.slope.value - before.slope.value
    place = (before.intercept.value - after.intercept.value) / turn
    if not first < place < last:
        return None
    rising, falling = (after, before) if turn > 0 else (before, after)

    def highest(x: float) -> float:
        up, down = rising.predict(x), falling.predict(x)
        return up.value - down.value + hypot((up.high or 0.0) - up.value, down.value - (down.low or 0.0))

    def lowest(x: float) -> float:
        up, down = rising.predict(x), falling.predict(x)
        return up.value - down.value - hypot(up.value - (up.low or 0.0), (down.high or 0.0) - down.value)

    coverage = min(fit.predict(place).coverage for fit in (before, after))
    return Estimate(place, crossing(highest, first, place), crossing(lowest, place, last), coverage, before.n + after.n)


def _misfit(fit: Fit, xs: Floats, ys: Floats) -> float:
    """The sum of the residuals' sizes."""
    return float(np.abs(ys - fit.level.value - fit.slope.value * (xs - fit.centre)).sum())
