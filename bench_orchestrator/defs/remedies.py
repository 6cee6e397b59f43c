"""The conclusions from all sweeps: the remedies, ranked, and the verdicts on the study's claims.

One step makes both, because most of their cost is reading the measurements.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from bench_orchestrator.analysis.advice import Advice, advise, describe_saving, headline
from bench_orchestrator.analysis.claims import JudgedClaim, Judgement, judge_claims
from bench_orchestrator.analysis.evidence import LOCATION_SCENARIOS, Evidence
from bench_orchestrator.charts.remedies import remedies_chart
from bench_orchestrator.defs.charts import publish
from bench_orchestrator.defs.harvest import launch_measurements
from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.defs.tables import metadata_table
from bench_orchestrator.model.bounds import MOST_ASSETS, MOST_STEPS
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.report.advice import claim_lines, remedy_lines
from bench_orchestrator.report.files import write_claims, write_remedies
from bench_orchestrator.report.text import Markdown, prose, table
from bench_orchestrator.results.queries import gather
from bench_orchestrator.scenarios.registry import EXPERIMENTS


class ConclusionsConfig(dg.Config):
    """The code location to rank remedies for."""

    assets: int = Field(default=10_000, ge=1, le=MOST_ASSETS, description="Assets in the code location.")
    steps: int = Field(default=1, ge=1, le=MOST_STEPS, description="Steps of its runs that start one after the other.")


def _spec(name: str, description: str, kinds: set[str]) -> dg.AssetSpec:
    return dg.AssetSpec(
        name,
        # Not the evaluations: a harvest makes one of them, and Dagster would skip an asset that depends on the others.
        deps=[launch_measurements],
        description=description,
        group_name="evaluations",
        kinds=kinds,
        skippable=True,
    )


@dg.multi_asset(
    specs=[
        _spec(
            "remedies",
            "The remedies measured on this deployment, best first. For each: the seconds that it saves per launch in a "
            "code location of the configured size, with an interval, what it costs, and how to apply it.",
            {"matplotlib", "duckdb"},
        ),
        _spec(
            "study_claims",
            "The nine claims of the study that this project reproduces (*Analysis of Dagster Performance with respect "
            "to assets*, in the repository dagster-k8s-deployment by HesamKorki). Each is confirmed, refuted or "
            "undecided on this deployment, by a rule that was fixed before the data that it judges.",
            {"duckdb"},
        ),
    ],
    can_subset=True,
)
def conclusions(
    context: dg.AssetExecutionContext, config: ConclusionsConfig, results: ResultsResource
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
    """Rank the remedies and judge the claims; yields nothing without evidence, or in a harvest that brought none."""
    harvested = context.run.tags.get(Tag.SCENARIO)
    if harvested is not None and harvested not in {*LOCATION_SCENARIOS, *EXPERIMENTS}:
        context.log.info(f"A sweep of {harvested} does not change the conclusions.")
        return
    evidence = gather(results.store)
    advice = advise(evidence, config.assets, config.steps)
    judged = judge_claims(evidence)
    wanted = {key.to_user_string() for key in context.selected_asset_keys}
    if "remedies" in wanted and advice.measured:
        yield dg.MaterializeResult(asset_key="remedies", metadata=_remedies(advice, evidence, results))
    if "study_claims" in wanted and any(one.finding.sweeps for one in judged):
        yield dg.MaterializeResult(asset_key="study_claims", metadata=_study_claims(judged, results))


def _remedies(advice: Advice, evidence: Evidence, results: ResultsResource) -> dict[str, Any]:
    chart = publish(remedies_chart(advice), results, "remedies")
    report = write_remedies(evidence, advice, results.path / "reports", "../charts/remedies.svg")
    return {
        "summary": dg.MetadataValue.md(_summary(advice)),
        **chart,
        "table": metadata_table(remedy_lines(advice)),
        "report": dg.MetadataValue.path(report),
        **_numbers(advice),
    }


def _study_claims(judged: Sequence[JudgedClaim], results: ResultsResource) -> dict[str, Any]:
    return {
        "summary": dg.MetadataValue.md(_claims_summary(judged)),
        "table": metadata_table(claim_lines(judged)),
        "report": dg.MetadataValue.path(write_claims(judged, results.path / "reports")),
        **{judgement.value: sum(one.finding.judgement is judgement for one in judged) for judgement in Judgement},
        **{f"claim_{one.claim.number}": one.finding.judgement.value for one in judged},
    }


def _summary(advice: Advice) -> str:
    """Return the best remedies in under 1,000 characters, which the UI shows inline."""
    cells = [
        (ranked.remedy.name, describe_saving(advice, ranked, ""), ranked.quantity) for ranked in advice.measured[:6]
    ]
    return f"{prose(headline(advice))}.\n\n{table(('remedy', 'saves, s', 'of'), cells)}"


def _claims_summary(judged: Sequence[JudgedClaim]) -> str:
    return table(("claim", "here"), [(Markdown(one.claim.text), str(one.finding.judgement)) for one in judged])


def _numbers(advice: Advice) -> dict[str, Any]:
    """Return the seconds saved, for the UI to plot over time."""
    numbers: dict[str, Any] = {"assets": advice.assets, "steps": advice.steps}
    estimates = {f"saved_s/{one.experiment}/{one.remedy.variant}": one.saved_s for one in advice.measured}
    for name, estimate in {"lag_s": advice.lag_s, **estimates}.items():
        if estimate is not None:
            ends = {"": estimate.value, "/low": estimate.low, "/high": estimate.high}
            numbers |= {f"{name}{end}": round(value, 3) for end, value in ends.items() if value is not None}
    return numbers
