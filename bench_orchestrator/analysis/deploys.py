"""A deploy of a code location: what its launches took before and after. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.model.instants import describe_instant
from bench_orchestrator.statistics import Comparison, Estimate, Verdict, compare_unpaired, median


@dataclass(frozen=True)
class Deploy:
    """The startup times behind a location's present code server, and behind the one before it."""

    location: str
    at_us: int
    """When the first sweep after it was planned, in microseconds since 1970."""
    before_s: Estimate
    after_s: Estimate
    comparison: Comparison
    """In seconds, after against before."""

    @property
    def slower(self) -> bool:
        """Whether launches take longer since then, beyond the noise."""
        return self.comparison.verdict is Verdict.SLOWER

    def __str__(self) -> str:
        """State the difference and the verdict in one sentence, without a full stop."""
        amount = describe_estimate(self.comparison.difference, digits=None, signed=True)
        since = describe_instant(self.at_us)
        return f"{self.location} {amount} since the deploy before {since} ({self.comparison.verdict})"


def compare_deploy(location: str, at_us: int, before_s: Sequence[float], after_s: Sequence[float]) -> Deploy:
    """Compare the startup times after a deploy with those before, in seconds; neither may be empty."""
    return Deploy(location, at_us, median(before_s), median(after_s), compare_unpaired(after_s, before_s))
