"""Claims, their findings, and the rules shared by all judgements."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from bench_orchestrator.analysis.evidence import Evidence
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.model.launch import Trial
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.statistics import Estimate, Verdict, median
from bench_orchestrator.statistics.estimates import stretched

CONFIDENCE = 0.95
"""The confidence at which claims are judged; intervals that cover less, from few launches, are stretched to it."""


class Judgement(StrEnum):
    """The judgement on a claim."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Finding:
    """A judgement with the evidence behind it."""

    judgement: Judgement
    numbers: tuple[str, ...] = ()
    """Sentences, each with its interval."""
    sweeps: tuple[str, ...] = ()
    """The ids of the sweeps that it is based on."""
    reason: str = ""
    """Why it is undecided, and what to do about it; empty otherwise."""


@dataclass(frozen=True)
class Claim:
    """A claim of the study."""

    number: int
    text: str
    rule: str
    """When the claim is confirmed and when it is refuted."""
    judge: Callable[[Evidence], Finding]


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with its finding."""

    claim: Claim
    finding: Finding


def judge_range(estimate: Estimate | None, low: float = -inf, high: float = inf) -> Judgement:
    """Judge a range claim: confirmed if the interval is inside the range, refuted if it is outside."""
    sure = stretched(estimate, CONFIDENCE) if estimate else None
    if sure is None or sure.low is None or sure.high is None:
        return Judgement.UNDECIDED
    if low <= sure.low and sure.high <= high:
        return Judgement.CONFIRMED
    return Judgement.REFUTED if sure.high < low or sure.low > high else Judgement.UNDECIDED


def judge_sides(verdicts: Collection[Verdict]) -> Judgement:
    """Judge several sides: confirmed if one is faster, refuted if all are shown not to be."""
    if Verdict.FASTER in verdicts:
        return Judgement.CONFIRMED
    return Judgement.UNDECIDED if Verdict.UNDECIDED in verdicts else Judgement.REFUTED


def found(judgement: Judgement, numbers: Iterable[str], plans: Iterable[SweepPlan]) -> Finding:
    """Return a finding based on the sweeps of these plans; an undecided one asks for more repeats of them."""
    rests_on = {plan.sweep_id: plan.scenario for plan in plans}
    more = " and ".join(f"bench run {scenario}" for scenario in dict.fromkeys(rests_on.values()))
    reason = f"the intervals are too wide: {more}, with more --repeats"
    return Finding(judgement, tuple(numbers), tuple(rests_on), reason if judgement is Judgement.UNDECIDED else "")


def not_measured(*scenarios: str) -> Finding:
    """Return the finding for a claim without measurements; it names the scenarios to run."""
    commands = " and ".join(f"bench run {scenario}" for scenario in scenarios)
    return Finding(Judgement.UNDECIDED, reason=f"not measured here: {commands}")


def samples(
    trials: Iterable[Trial], where: Callable[[Trial], bool], quantity: Callable[[Trial], float | None]
) -> dict[int, float]:
    """Return a quantity by block, for the measured trials that match `where` and have a value."""
    return {
        trial.block: value
        for trial in trials
        if trial.measured and where(trial) and (value := quantity(trial)) is not None
    }


def describe_median(values: Mapping[int, float]) -> str:
    """Format the median of samples in seconds: `1.3 s [1.2, 1.6]`."""
    return describe_estimate(median(list(values.values())))
