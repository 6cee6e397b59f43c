"""Detection of a bend in growth, for example flat up to some size and steep beyond it.

Compares the line through the smaller sizes with the line through the larger ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, isclose
from operator import itemgetter

import numpy as np

from bench_orchestrator.model.estimates import Estimate, check_confidence
from bench_orchestrator.statistics.estimates import stretched
from bench_orchestrator.statistics.lines import Fit, crossing, fit_line, points
from bench_orchestrator.statistics.ranks import Floats


@dataclass(frozen=True)
class Bend:
    """Growth in two linear pieces that meet."""

    place: Estimate
    """The x where they meet; its interval is clamped to the measured x."""
    before: Fit
    after: Fit


def find_bend(x: Sequence[float], y: Sequence[float], confidence: float = 0.95) -> Bend | None:
    """Find a bend in the growth of the median of y with x; None if no bend is shown.

    Every gap between neighbouring sizes with at least two sizes on each side is tried. Theil-Sen lines are fitted to
    the points on either side of the gap. There is a bend if their slopes differ by more than their intervals allow and
    the lines meet within the measured x. The error probability is divided among the gaps tried. Of several gaps, the
    one with the smallest residuals is chosen. The interval of the place contains every x where the difference of the
    lines may be zero. Fewer than four distinct x never show a bend.

    Measured with 5 launches each at 250, 500, 2,000, 5,000 and 10,000 assets, with noise that is constant or grows
    fourfold:

    - A straight line is reported as bent in 1 to 4 % of the cases.
    - Growth of 2 ms per asset that starts at 2,000 or 5,000 assets is found in 97 to 99 % with normal noise of 0.5 s,
      and in 91 to 99 % with skewed noise. With queue waits of up to 5 s it is found in 15 to 64 %: exclude the wait.
    - With 3 launches each it is found in 73 % (29 % if the noise grows fourfold), with 2 in 20 %.
    - The interval of the place covers 95 to 98 % of the bends found, those of the slopes 94 to 97 %.
    - A bend between the two smallest or the two largest sizes cannot be located.

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
    """Return whether the interval of the difference excludes zero.

    The pieces share no points, so their errors add up like those of independent estimates.
    """
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
    """Return the x where the lines meet; None unless it is between `first` and `last`."""
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
    """Return the sum of the absolute residuals."""
    return float(np.abs(ys - fit.level.value - fit.slope.value * (xs - fit.centre)).sum())
