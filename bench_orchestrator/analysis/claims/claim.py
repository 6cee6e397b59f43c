"""What a claim consists of, and the rules that all of them are judged by."""

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
"""At which claims are judged: intervals that cover less, for want of launches, are drawn out for it."""


class Judgement(StrEnum):
    """What the data says of a claim."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Finding:
    """What the evidence says of a claim."""

    judgement: Judgement
    numbers: tuple[str, ...] = ()
    """In sentences, each with its interval."""
    sweeps: tuple[str, ...] = ()
    """The ids of the sweeps that it rests on."""
    reason: str = ""
    """Why it is undecided, and what to do about it; empty where it is not."""


@dataclass(frozen=True)
class Claim:
    """A claim of the study."""

    number: int
    text: str
    rule: str
    """When it is confirmed, when refuted."""
    judge: Callable[[Evidence], Finding]


@dataclass(frozen=True)
class JudgedClaim:
    """A claim and what became of it here."""

    claim: Claim
    finding: Finding


def judge_range(estimate: Estimate | None, low: float = -inf, high: float = inf) -> Judgement:
    """Confirmed where the interval lies within the range, refuted where it lies outside."""
    sure = stretched(estimate, CONFIDENCE) if estimate else None
    if sure is None or sure.low is None or sure.high is None:
        return Judgement.UNDECIDED
    if low <= sure.low and sure.high <= high:
        return Judgement.CONFIRMED
    return Judgement.REFUTED if sure.high < low or sure.low > high else Judgement.UNDECIDED


def judge_sides(verdicts: Collection[Verdict]) -> Judgement:
    """Confirmed where one of them is faster, refuted where all are shown not to be."""
    if Verdict.FASTER in verdicts:
        return Judgement.CONFIRMED
    return Judgement.UNDECIDED if Verdict.UNDECIDED in verdicts else Judgement.REFUTED


def found(judgement: Judgement, numbers: Iterable[str], plans: Iterable[SweepPlan]) -> Finding:
    """A finding that rests on the sweeps of these plans; an undecided one asks for more of the same."""
    rests_on = {plan.sweep_id: plan.scenario for plan in plans}
    more = " and ".join(f"bench run {scenario}" for scenario in dict.fromkeys(rests_on.values()))
    reason = f"the intervals are too wide to tell: {more}, with more --repeats"
    return Finding(judgement, tuple(numbers), tuple(rests_on), reason if judgement is Judgement.UNDECIDED else "")


def not_measured(*scenarios: str) -> Finding:
    """A claim that nothing here says anything about."""
    commands = " and ".join(f"bench run {scenario}" for scenario in scenarios)
    return Finding(Judgement.UNDECIDED, reason=f"not measured here: {commands}")


def samples(
    trials: Iterable[Trial], where: Callable[[Trial], bool], quantity: Callable[[Trial], float | None]
) -> dict[int, float]:
    """The quantity of the launches that count and are meant, by block, as far as it is known."""
    return {
        trial.block: value
        for trial in trials
        if trial.measured and where(trial) and (value := quantity(trial)) is not None
    }


def describe_median(values: Mapping[int, float]) -> str:
    """The median of samples in seconds, as a person reads it: `1.3 s [1.2, 1.6]`."""
    return describe_estimate(median(list(values.values())))
