"""A gate's answer in JUnit's XML, in Markdown and as data says the same, whatever names and messages hold."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from samples import failed_sweep, measured_sweep

from bench_orchestrator.analysis.baseline import baseline_of
from bench_orchestrator.analysis.gate import Limit, Regression, Ruling, judge
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.report.gate import GateResult, render_gate_markdown, render_junit, summarize_gate
from bench_orchestrator.scenarios.experiment import LAG, STARTUP


def result_of(sweep: Sweep, max_lag_s: float = 25.0, remark: str = "Nothing was executed.") -> GateResult:
    limits = [Limit(LAG, max_lag_s), Limit(STARTUP, 300.0)]
    regression = Regression(0.1, baseline_of(sweep))
    return GateResult(sweep, limits, regression, judge(sweep.trials, limits, regression), [remark])


@pytest.mark.parametrize(
    ("sweep", "limit_s", "ruling"),
    [
        (measured_sweep(("a250", "a10k"), 12), 300.0, Ruling.UNDECIDED),  # the noise is larger than 10 %
        (measured_sweep(("a250", "a10k"), 12), 0.001, Ruling.OVER),
        (failed_sweep(), 300.0, Ruling.UNDECIDED),
    ],
)
def test_all_forms_agree(sweep: Sweep, limit_s: float, ruling: Ruling) -> None:
    result = result_of(sweep, limit_s)
    told = summarize_gate(result)
    suites = ET.fromstring(render_junit(result))
    cases = suites.findall("testsuite/testcase")
    assert told["ruling"] == result.ruling == ruling
    assert (told["max_lag_s"], told["max_startup_s"], told["max_regression"]) == (limit_s, 300.0, 0.1)
    judged = [(place["location"], one) for place in told["locations"] for one in place["judgements"]]
    kinds = {"under": [], "over": ["failure"], "undecided": ["error"]}
    assert [(case.get("classname"), [child.tag for child in case]) for case in cases] == [
        (place, kinds[one["ruling"]]) for place, one in judged
    ]
    for counted, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        assert int(suites.get(counted, "")) == len(list(suites.iter(tag)))
    markdown = render_gate_markdown(result)
    verdict = {Ruling.OVER: "failed", Ruling.UNDECIDED: "cannot tell"}[ruling]
    assert markdown.startswith(f"### Launches: {verdict}\n")
    html = MarkdownIt().enable("table").render(markdown)
    assert html.count("<tr>") == 1 + len(judged)
    assert "Nothing was executed." in html


def test_without_a_limit_it_is_said_whether_all_was_measured() -> None:
    for sweep, ruling in ((measured_sweep(("a250",), 6), Ruling.UNDER), (failed_sweep(), Ruling.UNDECIDED)):
        result = GateResult(sweep, [], None, [], [])
        assert result.ruling is ruling
        assert summarize_gate(result)["conclusion"] == "There was no limit to judge."
        assert ET.fromstring(render_junit(result)).get("tests") == "0"
        assert "|" not in render_gate_markdown(result)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_name_and_message_gives_valid_xml_and_one_table(name: str, message: str) -> None:
    sweep = measured_sweep(("a250",), 6)
    named = replace(sweep, trials=tuple(replace(trial, location=name) for trial in sweep.trials))
    result = result_of(named, remark=message)
    case = ET.fromstring(render_junit(result)).find("testsuite/testcase")
    assert case is not None
    html = MarkdownIt().enable("table").render(render_gate_markdown(result))
    assert html.count("<table>") == 1
    assert html.count("<tr>") == 4
