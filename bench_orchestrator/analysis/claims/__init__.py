"""The nine claims of the study that this project repeats, each judged by what was measured here.

Each has a rule, written down before any data: an interval, at 95 %, that lies within what the claim says confirms it,
one that lies outside refutes it, and anything else leaves it undecided.
"""

from bench_orchestrator.analysis.claims.claim import Claim, Finding, JudgedClaim, Judgement
from bench_orchestrator.analysis.claims.from_experiments import EXPERIMENT_CLAIMS
from bench_orchestrator.analysis.claims.from_locations import LOCATION_CLAIMS
from bench_orchestrator.analysis.evidence import Evidence

CLAIMS: tuple[Claim, ...] = (*LOCATION_CLAIMS, *EXPERIMENT_CLAIMS)
"""In the order of their numbers."""


def judge_claims(evidence: Evidence) -> tuple[JudgedClaim, ...]:
    """All nine; what was not measured is undecided, and says what to run."""
    return tuple(JudgedClaim(claim, claim.judge(evidence)) for claim in CLAIMS)


__all__ = ["CLAIMS", "Claim", "Finding", "JudgedClaim", "Judgement", "judge_claims"]
