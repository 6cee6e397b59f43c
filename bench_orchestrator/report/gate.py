"""The answer of `bench gate`: for the terminal, as plain data for JSON, for pull requests, and as JUnit's XML."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from xml.etree import ElementTree as ET

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench_orchestrator.analysis.gate import Judgement, Limit, Regression, Ruling, conclude, describe
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.text import legible
from bench_orchestrator.report.captions import captioned
from bench_orchestrator.report.rendering import render
from bench_orchestrator.report.summary import list_failures

STYLES = {Ruling.UNDER: "green", Ruling.OVER: "red", Ruling.UNDECIDED: "yellow"}

_HEADS = ("location", "n", "what", "measured", "limit", "ruling")
_VERDICTS = {Ruling.UNDER: "passed", Ruling.OVER: "failed", Ruling.UNDECIDED: "cannot tell"}


@dataclass(frozen=True)
class GateResult:
    """What a gate has measured, and how it was judged."""

    sweep: Sweep
    limits: Sequence[Limit]
    regression: Regression | None
    judgements: Sequence[Judgement]
    remarks: Sequence[str]
    """Further sentences: what was executed, what differs from the baseline."""

    @property
    def ruling(self) -> Ruling:
        """The ruling on everything. Without any limit, it says whether each trial was measured."""
        if not self.judgements:
            complete = all(trial.measured for trial in self.sweep.trials if not trial.warmup)
            return Ruling.UNDER if complete and self.sweep.trials else Ruling.UNDECIDED
        return conclude(self.judgements)

    @property
    def lines(self) -> list[str]:
        """The remarks, and why trials were not measured."""
        return [*self.remarks, *list_failures(self.sweep)]

    @property
    def sentence(self) -> str:
        """The conclusion."""
        return describe(self.judgements) if self.judgements else "There was no limit to judge."


def render_table(judgements: Sequence[Judgement]) -> Group:
    """Return the rulings for the terminal."""
    table = Table(box=box.SIMPLE)
    for head in _HEADS[:-1]:
        table.add_column(head, justify="left" if head in ("location", "what") else "right", no_wrap=True)
    table.add_column(_HEADS[-1])
    for one in judgements:
        *cells, ruling = _cells(one)
        table.add_row(*map(Text, cells), Text(ruling, style=STYLES[one.ruling]))
    return captioned(table, "Medians, or their ratio, with intervals.")


def summarize_gate(result: GateResult) -> dict[str, Any]:
    """Return the same as plain data for JSON: durations in seconds; what was not measured is None."""
    rows = dict.fromkeys(one.row.label for one in result.judgements)
    return {
        "sweep": result.sweep.plan.sweep_id,
        **{f"max_{limit.measure.name}": limit.most_s for limit in result.limits},
        **({"max_regression": result.regression.most} if result.regression else {}),
        "ruling": result.ruling.value,
        "conclusion": result.sentence,
        "locations": [_summarize_location([one for one in result.judgements if one.row.label == row]) for row in rows],
        "remarks": result.lines,
    }


def _summarize_location(judgements: Sequence[Judgement]) -> dict[str, Any]:
    row = judgements[0].row
    estimates = {"queue_s": row.queue_s, "init_s": row.init_s, "startup_s": row.startup_s, "lag_s": row.lag_s}
    return {
        "location": row.label,
        "assets": row.asset_count,
        "trials": row.trials,
        "failures": {outcome.value: count for outcome, count in row.failures.items()},
        **{name: asdict(estimate) if estimate else None for name, estimate in estimates.items()},
        "ruling": conclude(judgements).value,
        "reason": "; ".join(dict.fromkeys(one.reason for one in judgements if one.reason)),
        "judgements": [
            {
                "what": one.name,
                "limit": one.limit,
                "estimate": asdict(one.estimate) if one.estimate else None,
                "ruling": one.ruling.value,
                "reason": one.reason,
            }
            for one in judgements
        ],
    }


def render_gate_markdown(result: GateResult) -> str:
    """Return the summary for a pull request."""
    return render(
        "gate.md.j2",
        verdict=_VERDICTS[result.ruling],
        result=result,
        heads=list(_HEADS),
        rows=[_cells(one) for one in result.judgements],
    )


def render_junit(result: GateResult) -> str:
    """Return the rulings as JUnit's XML: a test case for each; what cannot be told is an error."""
    counts = {ruling: sum(one.ruling is ruling for one in result.judgements) for ruling in Ruling}
    numbers = {
        "tests": str(len(result.judgements)),
        "failures": str(counts[Ruling.OVER]),
        "errors": str(counts[Ruling.UNDECIDED]),
        "skipped": "0",
    }
    suites = ET.Element("testsuites", {"name": "bench gate", **numbers})
    suite = ET.SubElement(suites, "testsuite", {"name": legible(result.sweep.plan.sweep_id), **numbers})
    for one in result.judgements:
        name = f"{one.label} under {one.limit_words}"
        case = ET.SubElement(suite, "testcase", {"classname": legible(one.row.label), "name": legible(name)})
        if one.ruling is not Ruling.UNDER:
            kind = "failure" if one.ruling is Ruling.OVER else "error"
            message = "; ".join(filter(None, (f"{one.label}: {_measured(one)}", one.reason)))
            ET.SubElement(case, kind, {"type": one.ruling.value, "message": legible(message)})
    ET.SubElement(suite, "system-out").text = legible("\n".join((result.sentence, *result.lines)))
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=False) + "\n"


def _cells(one: Judgement) -> list[str]:
    ruling = ": ".join(filter(None, (one.ruling.value, one.reason)))
    return [one.row.label, f"{one.row.n}/{one.row.trials}", one.label, _measured(one), one.limit_words, ruling]


def _measured(one: Judgement) -> str:
    return describe_estimate(one.estimate, one.unit, digits=None)
