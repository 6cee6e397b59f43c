"""The remedies and the study's claims as Markdown: the answer first, then the evidence and instructions."""

from collections.abc import Sequence

from bench_orchestrator.analysis.advice import Advice, describe_saving, headline
from bench_orchestrator.analysis.capacity import Capacity
from bench_orchestrator.analysis.claims import JudgedClaim, Judgement
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.report.rendering import render
from bench_orchestrator.report.text import Markdown, escape
from bench_orchestrator.statistics import Estimate


def render_remedies(advice: Advice, picture: str, errors: Sequence[str], capacity: Capacity | None = None) -> str:
    """Render all remedies: a table, best first, then each with its costs and how to apply it.

    Args:
        picture: the path of the chart, relative to the text.
        errors: sentences about inaccurate predictions (`explain_errors`).
        capacity: what runs at once need; None to leave that out.
    """
    from_outside = {"remedy", "against", "measured with"}
    lines = remedy_lines(advice)
    footprints = capacity_lines(capacity) if capacity else []
    return render(
        "remedies.md.j2",
        advice=advice,
        headline=headline(advice),
        picture=picture,
        heads=list(lines[0]),
        rows=[[escape(cell) if head in from_outside else cell for head, cell in line.items()] for line in lines],
        errors=errors,
        capacity=capacity,
        footprint_heads=list(footprints[0]) if footprints else [],
        footprint_rows=[list(line.values()) for line in footprints],
    )


def remedy_lines(advice: Advice) -> list[dict[str, str]]:
    """Return one row per remedy, keyed by column heading."""
    return [
        {
            "remedy": ranked.remedy.name,
            "saves, s": describe_saving(advice, ranked, "") if ranked.saved_s is not None else ranked.missing,
            "of": ranked.quantity if ranked.saved_s is not None else "",
            "against": ranked.against if ranked.saved_s is not None else "",
            "verdict": str(ranked.verdict) if ranked.saved_s is not None else "",
            "lag with it, s": describe_estimate(ranked.lag_s, "") if ranked.saved_s and ranked.lag_s else "",
            "measured with": ranked.measured_at if ranked.saved_s is not None else "",
        }
        for ranked in advice.remedies
    ]


def capacity_lines(capacity: Capacity) -> list[dict[str, str]]:
    """Return one row per quantity, keyed by column heading; the heading of the first is the number of runs at once."""
    found = capacity.footprints
    runs = f"{capacity.concurrent:,} runs at once" if capacity.concurrent > 1 else "1 run"
    rows: dict[str, dict[str, Estimate | None]] = {
        "memory in all, MiB": {name: each.memory_mib for name, each in found.items()},
        "memory of a run, MiB": {name: each.run_mib for name, each in found.items()},
        "memory of the code server, MiB": {name: each.code_server_mib for name, each in found.items()},
        "CPU of their launches, s": {name: each.launches_cpu_s for name, each in found.items()},
        "CPU of a launch, s": {name: each.launch_cpu_s for name, each in found.items()},
        "launches a minute on one CPU": {name: each.launches_per_cpu_minute for name, each in found.items()},
    }
    return [
        {runs: label} | {name: describe_estimate(value, "", digits=None) for name, value in values.items()}
        for label, values in rows.items()
        if values
    ]


def render_claims(judged: Sequence[JudgedClaim]) -> str:
    """Render the nine claims in a table, then the rule of each."""
    return render(
        "study_claims.md.j2",
        judged=judged,
        counts={judgement: sum(one.finding.judgement is judgement for one in judged) for judgement in Judgement},
        heads=["", "claim", "here", "numbers", "rests on"],
        rows=[
            [number, Markdown(claim), Markdown(f"**{escape(here)}**"), escape(numbers), escape(sweeps)]
            for number, claim, here, numbers, sweeps in (line.values() for line in claim_lines(judged))
        ],
    )


def claim_lines(judged: Sequence[JudgedClaim]) -> list[dict[str, str]]:
    """Return one row per claim, keyed by column heading, with the numbers and sweeps that its verdict is based on."""
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
