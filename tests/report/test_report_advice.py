"""The remedies and the claims as Markdown, complete and in order with their commands, and as safe HTML."""

from advice_samples import sample_evidence
from markdown_it import MarkdownIt

from bench_orchestrator.analysis.advice import advise, headline
from bench_orchestrator.analysis.claims import judge_claims
from bench_orchestrator.analysis.evidence import Evidence
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.report.advice import render_claims, render_remedies


def test_every_remedy_has_its_line_its_costs_and_its_code() -> None:
    advice = advise(sample_evidence("split-definitions", "executors"), 10_000)
    text = render_remedies(advice, "../charts/remedies.svg", ["one location is +22 % off"])
    assert f"**{headline(advice)}.**".replace("[", "\\[").replace("]", "\\]") in text
    assert "(../charts/remedies.svg)" in text
    assert "- one location is +22 % off." in text
    for ranked in advice.remedies:
        assert f"## {ranked.remedy.name}" in text
        assert f"```{ranked.remedy.language}\n{ranked.remedy.apply}\n```" in text
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(lines) == len(advice.remedies)
    assert describe_estimate(advice.measured[0].saved_s, "") in lines[0]
    assert "not measured here: bench run " in lines[-1]
    assert {line.count(" | ") for line in lines} == {6}


def test_without_a_size_it_says_that_nothing_is_carried_over() -> None:
    text = render_remedies(advise(Evidence(), 500), "remedies.svg", [])
    assert "`bench run assets-scaling`" in text
    assert "None" not in text


def test_claims_are_counted_and_each_has_its_rule() -> None:
    judged = judge_claims(sample_evidence())
    text = render_claims(judged)
    assert "confirmed, " in text.splitlines()[2]
    for one in judged:
        assert f"| {one.claim.number} | {one.claim.text} | **{one.finding.judgement}** |" in text
        assert all(sweep in text for sweep in one.finding.sweeps)
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert html.count("<tr>") == 10
    assert html.count("<li>") == 9
