"""The spread between sweeps: how far whole sweeps of comparable locations lie from one fit.

Launches of one sweep share a day, a deployment and a machine's mood, so they agree better with each other than with the
next sweep's. Each sweep has an effect: the median log-ratio of its measured and the fitted startup times. A further
sweep's effect is a further draw from the same distribution (a random-effects model), with Student's t as quantile.
`docs/results/predictions.md` holds the coverage on the committed sweeps.
"""

from dataclasses import dataclass
from math import exp, hypot, sqrt
from statistics import fmean, stdev

import scipy

from bench_orchestrator.statistics import Estimate

CONFIDENCE = 0.95


@dataclass(frozen=True)
class SweepSpread:
    """The effects of the sweeps that a fit can be compared with, its own included."""

    effects: tuple[float, ...]
    """Log-ratios: 0.1 is a sweep in which launches take a tenth longer than fitted."""

    @property
    def is_known(self) -> bool:
        """Whether there are several sweeps, and so a spread between them."""
        return len(self.effects) > 1

    @property
    def description(self) -> str:
        """What an interval with this spread is, in words."""
        if not self.is_known:
            return "within-sweep interval"
        return f"interval with the spread between {len(self.effects)} sweeps"

    @property
    def factor(self) -> float:
        """The factor by which a typical sweep differs from the fit; 1 if only its own is known."""
        return exp(fmean(self.effects)) if self.is_known else 1.0

    @property
    def _reach(self) -> float:
        """Return how far a further sweep's effect may be from the mean, with `CONFIDENCE`."""
        sweeps = len(self.effects)
        quantile = float(scipy.special.stdtrit(sweeps - 1, (1 + CONFIDENCE) / 2))
        return quantile * stdev(self.effects) * sqrt(1 + 1 / sweeps)

    def widen(self, fitted: Estimate) -> Estimate:
        """Return the prediction for a further sweep: the fit times the factor, its interval widened by the spread.

        The interval is unchanged if only one sweep is known: it then is a within-sweep interval.
        """
        if not self.is_known or fitted.low is None or fitted.high is None or fitted.value <= 0:
            return fitted
        value, reach = self.factor * fitted.value, min(self._reach, 10.0)
        below = hypot(1 - fitted.low / fitted.value, 1 - exp(-reach))
        above = hypot(fitted.high / fitted.value - 1, exp(reach) - 1)
        coverage = min(fitted.coverage, CONFIDENCE)
        return Estimate(value, max(0.0, value * (1 - below)), value * (1 + above), coverage, fitted.n)
