"""The nine claims of the study that this project repeats, each judged by the measurements made here.

Each claim has a rule that was fixed before the data that it judges. A 95 % interval inside the claimed range confirms
the claim, one outside refutes it, and anything else leaves it undecided.
"""

from bench_orchestrator.analysis.claims.claim import Claim, Finding, JudgedClaim, Judgement
from bench_orchestrator.analysis.claims.from_experiments import EXPERIMENT_CLAIMS
from bench_orchestrator.analysis.claims.from_locations import LOCATION_CLAIMS
from bench_orchestrator.analysis.evidence import Evidence

CLAIMS: tuple[Claim, ...] = (*LOCATION_CLAIMS, *EXPERIMENT_CLAIMS)
"""In the order of their numbers."""


def judge_claims(evidence: Evidence) -> tuple[JudgedClaim, ...]:
    """Judge all nine claims; a claim without measurements is undecided and names the command to run."""
    return tuple(JudgedClaim(claim, claim.judge(evidence)) for claim in CLAIMS)


__all__ = ["CLAIMS", "Claim", "Finding", "JudgedClaim", "Judgement", "judge_claims"]
