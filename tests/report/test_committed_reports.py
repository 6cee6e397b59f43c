"""The reports in docs/results match their rows; `python tests/report/committed.py` regenerates them."""

import re
from pathlib import Path

import pytest
from committed import PROJECT, RESULTS, differing, folders, print_tables, read_sweep, write_all, write_one
from prediction_coverage import beforehand, leave_one_out

from bench_orchestrator.analysis.capacity import predict_capacity
from bench_orchestrator.analysis.evaluation import evaluate
from bench_orchestrator.analysis.evidence import Evidence


@pytest.mark.usefixtures("undrawn")
def test_the_text_of_a_committed_report_is_written_again_byte_for_byte(tmp_path: Path) -> None:
    write_one("definitions-cache", tmp_path)
    committed = RESULTS / "definitions-cache" / "report.md"
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == committed.read_text(encoding="utf-8")


def test_predictions_hold_in_the_next_sweep_about_as_often_as_they_claim() -> None:
    sweeps = [read_sweep(folder) for folder in folders() if folder.name != "kubernetes"]
    for checks in (leave_one_out(sweeps), beforehand(sweeps)):
        medians = len(checks)
        # The medians of a sweep miss together: four of five are of one sweep, on a day when the machine was slow.
        assert sum(check.holds for check in checks) >= 0.8 * medians
        assert sum(check.holds_within for check in checks) < 0.5 * medians


def test_the_memory_and_cpu_of_runs_at_once_follow_from_the_committed_rows() -> None:
    measured = Evidence(evaluations=(evaluate(read_sweep(RESULTS / "definitions-cache")),))
    found = predict_capacity(measured, 10_000, 20)
    assert found.missing == ""
    stock, warm = found.footprints["stock"], found.footprints["warm"]
    assert stock.run_mib.value == pytest.approx(382, rel=0.05)
    assert stock.code_server_mib.value == pytest.approx(309, rel=0.05)
    assert stock.launch_cpu_s.value == pytest.approx(20.9, rel=0.05)
    assert warm.run_mib.value == pytest.approx(163, rel=0.05)
    assert warm.code_server_mib.value == pytest.approx(392, rel=0.1)
    assert warm.launch_cpu_s.value == pytest.approx(0.47, rel=0.15)
    assert warm.memory_mib.high is not None
    assert stock.memory_mib.low is not None
    assert warm.memory_mib.high < stock.memory_mib.low


def test_the_tables_in_the_documentation_are_what_the_committed_rows_print() -> None:
    for page, text in print_tables().items():
        assert page.read_text(encoding="utf-8") == text


@pytest.mark.thorough
def test_every_committed_report_is_written_again_byte_for_byte(tmp_path: Path) -> None:
    write_all(tmp_path)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.md")}
    assert len(written) >= 18
    assert written == {f"{folder.name}/report.md" for folder in folders()} | {
        *("remedies/remedies.md", "remedies/study_claims.md", "predictions.md"),
    }
    assert not differing(tmp_path)


@pytest.mark.parametrize("page", ["README.md", "packages/dagster-warm/README.md"])
def test_the_warm_servers_figures_are_those_of_its_report(page: str) -> None:
    """The table of a page has a row per size, with figures that stand in the rows of the experiment's report."""
    report = (RESULTS / "definitions-cache" / "report.md").read_text(encoding="utf-8").replace("\\", "")
    rows = {row[0]: row for row in map(_cells, reversed(report.splitlines())) if row}
    told = re.findall(r"^\| ([\d,]+) assets \|(.*)\|$", (PROJECT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert len(told) == 4
    for size, figures in told:
        name = {"10,000": "a10k", "2,000": "a2k"}.get(size, f"a{size}")
        stock, warm, ratio = (figure.replace(" s ", " ") for figure in _cells(f"|{figures}|"))
        assert (stock, warm, ratio) == (rows[f"stock, {name}"][3], rows[f"warm, {name}"][3], rows[f"warm, {name}"][5])


def _cells(row: str) -> list[str]:
    """Return the cells of a row of a Markdown table; of any other line, nothing."""
    return [cell.strip() for cell in row.strip("|").split("|")] if row.startswith("|") else []
