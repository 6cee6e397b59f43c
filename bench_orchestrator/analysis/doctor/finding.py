"""A finding: what is seen in a deployment, on which evidence, and what to do about it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from bench_orchestrator.model.estimates import Estimate, median
from bench_orchestrator.scenarios.experiment import Remedy
from bench_orchestrator.scenarios.registry import EXPERIMENTS


class Surety(StrEnum):
    """How sure a finding is."""

    CERTAIN = "certain"
    """The deployment or a run's log says so."""
    LIKELY = "likely"
    """It follows from what was measured, unless something else explains that, too."""
    POSSIBLE = "possible"
    """It would explain what was measured."""


@dataclass(frozen=True)
class Finding:
    """Something that costs time, or that is wrong now."""

    name: str
    """What finds it, the same in each reading: `loaded_twice`."""
    what: str
    """What is seen, as a sentence without its full stop."""
    sure: Surety
    remedy: str
    """What to do, in sentences."""
    evidence: tuple[str, ...] = ()
    """What it rests on, in lines."""
    apply: str = ""
    """Lines of code or configuration that do it."""
    urgent: bool = False
    """Whether something is wrong now: it comes before all that costs seconds."""
    runs: int = 0
    """The runs that it concerns, among those that were read."""
    saved_s: Estimate | None = None
    """The seconds that the remedy saves in one of these runs, at most; None if that is not known."""
    total_s: float = 0.0
    """The same in all of them."""

    def saving(self, savings_s: Collection[float]) -> "Finding":
        """Return the finding with the seconds that each affected run would save; there is at least one."""
        return replace(self, runs=len(savings_s), saved_s=median(savings_s), total_s=sum(savings_s))


def rank(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Order findings: what is wrong now, then by the seconds saved in all the runs that were read."""
    return tuple(sorted(findings, key=lambda finding: (not finding.urgent, -finding.total_s)))


def remedy_of(experiment: str, variant: str) -> Remedy:
    """Return the remedy of an experiment that one of its sides measures."""
    return EXPERIMENTS[experiment].remedy_of(variant)


def describe_remedy(remedy: Remedy) -> str:
    """Return a remedy and its costs in sentences."""
    return f"{remedy.name}. {remedy.costs}"
