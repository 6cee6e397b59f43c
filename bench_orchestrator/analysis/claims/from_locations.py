"""Claims about the size of a code location, judged by sweeps without variants."""

from collections.abc import Callable
from dataclasses import dataclass

from bench_orchestrator.analysis.claims.claim import (
    Claim,
    Finding,
    Judgement,
    describe_median,
    found,
    judge_range,
    not_measured,
    samples,
)
from bench_orchestrator.analysis.evidence import Evidence
from bench_orchestrator.analysis.lag_model import stages_s
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.model.launch import Sweep, Trial
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import LAG, seconds
from bench_orchestrator.statistics import Comparison, Estimate, compare, median

NEAR_LINEAR = 1.5
"""The largest factor by which the slope may change at a bend in near-linear growth."""

ABOUT_TWICE = (1.5, 2.7)
"""The range of ratios that count as about twice: 2, plus or minus about a third."""

FLAT = 0.1
"""The largest relative change of a queue time that counts as flat. The study called a change of 2 % flat."""

NOWHERE_NEAR = 0.5
"""The largest ratio of two lags that are nowhere near each other."""


@dataclass(frozen=True)
class _Pair:
    """Two locations measured in one sweep."""

    sweep: Sweep
    side: str
    baseline: str

    @classmethod
    def find(cls, evidence: Evidence, side: str, baseline: str) -> "_Pair | None":
        """Return the pair from the latest sweep in which both locations share a block."""
        pairs = (cls(sweep, side, baseline) for sweep in evidence.sweeps)
        return next((pair for pair in pairs if pair.of(side, LAG.of).keys() & pair.of(baseline, LAG.of).keys()), None)

    def of(self, location: str, quantity: Callable[[Trial], float | None]) -> dict[int, float]:
        """Return a quantity in one of the locations, by block."""
        return samples(self.sweep.trials, lambda trial: trial.location == location, quantity)

    def compare(self, quantity: Callable[[Trial], float | None]) -> Comparison:
        """Compare the side with the baseline."""
        return compare(self.of(self.side, quantity), self.of(self.baseline, quantity))

    def describe(self, name: str, quantity: Callable[[Trial], float | None]) -> str:
        """State both medians, in seconds."""
        side, baseline = (describe_median(self.of(location, quantity)) for location in (self.side, self.baseline))
        return f"{name} of {self.side} {side}, of {self.baseline} {baseline}"


def _near_linear(evidence: Evidence) -> Finding:
    model = evidence.model
    if model is None or len(model.sizes) < 4:
        return not_measured("assets-scaling")
    line, bend = model.line, model.bend
    numbers = [f"the startup time grows from {describe_estimate(line.intercept)} by {_per_asset(line.slope)}"]
    judgement = judge_range(line.slope, low=0.0)
    if bend is None:
        numbers.append(f"no bend is shown between {model.sizes[0]:,} and {model.sizes[-1]:,} assets")
    else:
        before, after = bend.before.slope, bend.after.slope
        place = describe_estimate(bend.place, "assets", 0)
        numbers.append(f"there is a bend at {place}: {_per_asset(before)} before, {_per_asset(after)} after")
        if not before.value / NEAR_LINEAR <= after.value <= before.value * NEAR_LINEAR:
            judgement = Judgement.REFUTED
    return found(judgement, numbers, [model.plan])


def _twice_the_init(evidence: Evidence) -> Finding:
    pair = _Pair.find(evidence, "a2k", "a1p2k")
    if pair is None:
        return not_measured("assets-vs-partitions")
    ratio = pair.compare(_init_s).ratio
    numbers = (pair.describe("init time", _init_s), _describe_ratio(ratio))
    return found(judge_range(ratio, *ABOUT_TWICE), numbers, [pair.sweep.plan])


def _flat_queue_time(evidence: Evidence) -> Finding:
    pair = _Pair.find(evidence, "a2k", "a250")
    if pair is None:
        return not_measured("assets-scaling")
    growth = pair.compare(lambda trial: stages_s(trial, (Stage.WORKER_BOOT, Stage.WORKER_LOAD))).difference
    limit_s = FLAT * median(list(pair.of("a250", _queue_s).values())).value
    numbers = (
        pair.describe("queue time", _queue_s),
        f"without the random wait for the daemon, they differ by {describe_estimate(growth, signed=True)}; "
        f"up to {limit_s:.1f} s counts as flat",
    )
    return found(judge_range(growth, -limit_s, limit_s), numbers, [pair.sweep.plan])


def _partitions_are_cheap(evidence: Evidence) -> Finding:
    pair = _Pair.find(evidence, "a10p10k", "a10k")
    if pair is None:
        return not_measured("all-locations")
    ratio = pair.compare(LAG.of).ratio
    numbers = (pair.describe(LAG.label, LAG.of), _describe_ratio(ratio))
    return found(judge_range(ratio, 0.0, NOWHERE_NEAR), numbers, [pair.sweep.plan])


LOCATION_CLAIMS = (
    Claim(
        1,
        "Launch lag is near-linear in the number of assets.",
        "Confirmed if, with at least four sizes, the slope's interval is above zero and no bend changes the slope by a "
        f"factor of more than {NEAR_LINEAR:g}; refuted by such a bend or a slope below zero.",
        _near_linear,
    ),
    Claim(
        2,
        "2,000 assets cost about twice the init time of 1 asset with 2,000 partitions.",
        f"Confirmed if the ratio is between {ABOUT_TWICE[0]:g} and {ABOUT_TWICE[1]:g}; refuted if it is outside.",
        _twice_the_init,
    ),
    Claim(
        3,
        "Queue time is flat up to about 2,000 assets.",
        f"Confirmed if it changes by less than {100 * FLAT:.0f} % from 250 to 2,000 assets, with the wait for the "
        "daemon excluded from the difference; refuted if it changes by more.",
        _flat_queue_time,
    ),
    Claim(
        4,
        "10 assets with 10,000 partitions each are nowhere near 10,000 assets.",
        f"Confirmed if the ratio of their launch lags is below {NOWHERE_NEAR:g}; refuted if it is above.",
        _partitions_are_cheap,
    ),
)


def _init_s(trial: Trial) -> float | None:
    return seconds(trial.launch.init_us)


def _queue_s(trial: Trial) -> float | None:
    return seconds(trial.launch.queue_us)


def _per_asset(slope_s: Estimate) -> str:
    """Format a slope in ms per asset, given in seconds per asset."""
    low, high = (None if end is None else 1000 * end for end in (slope_s.low, slope_s.high))
    return describe_estimate(Estimate(1000 * slope_s.value, low, high, slope_s.coverage, slope_s.n), "ms per asset", 2)


def _describe_ratio(ratio: Estimate | None) -> str:
    return f"ratio {describe_estimate(ratio, '', 2)}"
