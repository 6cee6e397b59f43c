"""The remedies and the study's claims as Markdown: the answer first, the evidence and how to apply it below."""

from collections.abc import Iterator, Sequence

from bench_orchestrator.analysis.advice import Advice, describe_saving, headline
from bench_orchestrator.analysis.claims import JudgedClaim, Judgement
from bench_orchestrator.analysis.remedies import RankedRemedy
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.report.text import escape, table


def render_remedies(advice: Advice, picture: str, errors: Sequence[str]) -> str:
    """All remedies in one table, best first, then each with its costs and how to apply it.

    Args:
        picture: the file name of the chart, beside the text.
        errors: predictions that were off, and by what (`explain_errors`).
    """
    sections = [
        f"# What makes launches faster in a code location of {advice.size}",
        f"**{escape(headline(advice))}.**",
        _prediction(advice),
        f"![{escape(headline(advice))}]({picture})",
        table_of_remedies(advice),
        "Best first: those shown to save something, by how much they save against what they are compared with; the "
        "seconds are medians, with their intervals. The wait in the queue is chance and left out, unless the remedy "
        "is about the queue. *Lag then* is the launch lag to be expected of a location like those predicted, which "
        "have no heavy imports and build their definitions once: what they do not suffer from cannot be remedied.",
        "What two remedies save together was not measured. It is less than the sum where both shorten the same stage.",
        "\n".join(f"- {escape(error)}." for error in errors),
        *(section for ranked in advice.remedies for section in _how_to(ranked)),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def remedy_lines(advice: Advice) -> list[dict[str, str]]:
    """One line for each remedy, by its heads."""
    return [
        {
            "remedy": ranked.remedy.name,
            "saves, s": describe_saving(advice, ranked, "") if ranked.saved_s is not None else ranked.missing,
            "of": ranked.quantity if ranked.saved_s is not None else "",
            "against": ranked.against if ranked.saved_s is not None else "",
            "verdict": str(ranked.verdict) if ranked.saved_s is not None else "",
            "lag then, s": describe_estimate(ranked.lag_s, "") if ranked.saved_s is not None and ranked.lag_s else "",
            "measured with": ranked.measured_at if ranked.saved_s is not None else "",
        }
        for ranked in advice.remedies
    ]


def table_of_remedies(advice: Advice) -> str:
    """One line for each remedy."""
    from_outside = {"remedy", "against", "measured with"}
    lines = remedy_lines(advice)
    return table(
        list(lines[0]),
        ([escape(cell) if head in from_outside else cell for head, cell in line.items()] for line in lines),
    )


def render_claims(judged: Sequence[JudgedClaim]) -> str:
    """The nine claims in one table, then the rule of each."""
    counts = {judgement: sum(one.finding.judgement is judgement for one in judged) for judgement in Judgement}
    sections = [
        "# The study's nine claims, here",
        f"**{', '.join(f'{count} {judgement}' for judgement, count in counts.items())}.**",
        table_of_claims(judged),
        "## The rules",
        "Written down before anything was measured. Intervals cover 95 %; those that cover less, for want of launches, "
        "are drawn out before they are judged.",
        "\n".join(f"{one.claim.number}. {escape(one.claim.rule)}" for one in judged),
    ]
    return "\n\n".join(sections) + "\n"


def claim_lines(judged: Sequence[JudgedClaim]) -> list[dict[str, str]]:
    """One line for each claim, by its heads, with the numbers and the sweeps that its verdict rests on."""
    return [
        {
            "number": str(one.claim.number),
            "claim": one.claim.text,
            "here": str(one.finding.judgement),
            "numbers": "; ".join(filter(None, (*one.finding.numbers, one.finding.reason))),
            "rests on": ", ".join(one.finding.sweeps),
        }
        for one in judged
    ]


def table_of_claims(judged: Sequence[JudgedClaim]) -> str:
    """One line for each claim."""
    return table(
        ["", "claim", "here", "numbers", "rests on"],
        (
            [number, claim, f"**{here}**", escape(numbers), escape(sweeps)]
            for number, claim, here, numbers, sweeps in (line.values() for line in claim_lines(judged))
        ),
    )


def _prediction(advice: Advice) -> str:
    if advice.lag_s is None:
        return (
            "How launches grow with the number of assets was not measured here, so nothing is carried over to this "
            "size: `bench run assets-scaling`."
        )
    return (
        f"As things are, a launch lag of {describe_estimate(advice.lag_s)} is to be expected, from "
        f"{escape(advice.lag_s.basis)}."
    )


def _how_to(ranked: RankedRemedy) -> Iterator[str]:
    yield f"## {escape(ranked.remedy.name)}"
    costs = [ranked.remedy.costs, *(f"Measured, per launch: {cost}." for cost in ranked.costs)]
    yield "\n".join(f"- {escape(cost)}" for cost in costs)
    yield f"```{ranked.remedy.language}\n{ranked.remedy.apply}\n```"
