"""The reports in docs/results match their rows; `python tests/report/committed.py` regenerates them."""

from pathlib import Path

import pytest
from committed import RESULTS, differing, folders, print_tables, read_sweep, write_all
from prediction_coverage import beforehand, leave_one_out

from bench_orchestrator.charts import ChartFiles


def test_every_committed_text_is_written_again_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "bench_orchestrator.report.files.save",
        lambda _figure, directory, stem: ChartFiles(directory / f"{stem}.png", directory / f"{stem}.svg"),
    )
    monkeypatch.setattr("bench_orchestrator.report.files.render_page", lambda _markdown, _directory: "no pictures")
    write_all(tmp_path)
    texts = [f"{folder.name}/report.md" for folder in folders()] + [
        "remedies/remedies.md",
        "remedies/study_claims.md",
        "predictions.md",
    ]
    assert len(texts) >= 18
    for name in texts:
        assert (tmp_path / name).read_text(encoding="utf-8") == (RESULTS / name).read_text(encoding="utf-8")


def test_predictions_hold_in_the_next_sweep_about_as_often_as_they_claim() -> None:
    sweeps = [read_sweep(folder) for folder in folders() if folder.name != "kubernetes"]
    for checks in (leave_one_out(sweeps), beforehand(sweeps)):
        medians = len(checks)
        assert sum(check.holds for check in checks) >= 0.85 * medians
        assert sum(check.holds_within for check in checks) < 0.5 * medians


def test_the_tables_in_the_documentation_are_what_the_committed_rows_print() -> None:
    for page, text in print_tables().items():
        assert page.read_text(encoding="utf-8") == text


@pytest.mark.thorough
def test_every_committed_report_is_written_again_byte_for_byte(tmp_path: Path) -> None:
    write_all(tmp_path)
    assert not differing(tmp_path)
