"""The files of a report. Each is written atomically, so readers never see a partial file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from bench_orchestrator.analysis.advice import Advice, explain_errors, first_steps_after
from bench_orchestrator.analysis.claims import JudgedClaim
from bench_orchestrator.analysis.evidence import Evidence
from bench_orchestrator.atomic import replacing
from bench_orchestrator.charts import ChartFiles, charts_for, save
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.report.advice import render_claims, render_remedies
from bench_orchestrator.report.html import render_page
from bench_orchestrator.report.markdown import Picture, render_markdown
from bench_orchestrator.results.rows import LAUNCH_COLUMNS, launch_rows
from bench_orchestrator.results.store import Store


@dataclass(frozen=True)
class ReportFiles:
    """The paths of a report's files."""

    markdown: Path
    html: Path
    """A self-contained page."""
    csv: Path
    parquet: Path
    charts: Mapping[str, ChartFiles]
    """The chart files, by chart name, for each chart that the sweep has data for."""


def write_report(sweep: Sweep, directory: Path, advice: Sequence[str] = ()) -> ReportFiles:
    """Write a sweep's report into the directory, which is created if missing; existing files are replaced.

    Args:
        advice: the recommended first steps, in Markdown; may be empty.

    Raises:
        OSError: a file cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    charts: dict[str, ChartFiles] = {}
    pictures: list[Picture] = []
    for chart in charts_for(sweep):
        figure = chart.draw(sweep)
        charts[chart.stem] = save(figure, directory, chart.stem)
        title = " ".join(figure.get_suptitle().split())
        pictures.append(Picture(charts[chart.stem].svg.name, title, chart.caption))
    files = ReportFiles(
        markdown=directory / "report.md",
        html=directory / "report.html",
        csv=directory / "launches.csv",
        parquet=directory / "launches.parquet",
        charts=charts,
    )
    _write_launches(sweep, files)
    markdown = render_markdown(sweep, pictures, advice)
    _write(files.markdown, markdown)
    _write(files.html, render_page(markdown, directory))
    return files


def write_sweep(sweep: Sweep, store: Store, directory: Path | None = None) -> ReportFiles:
    """Write a sweep's report, with recommendations based on the whole results database.

    Args:
        directory: for the files; by default the sweep's own directory next to the database.

    Raises:
        OSError: a file cannot be written.
        StoreError: the results database cannot be read.
    """
    own = store.path.parent / "reports" / sweep.plan.sweep_id
    return write_report(sweep, directory or own, first_steps_after(sweep, store))


def write_remedies(evidence: Evidence, advice: Advice, directory: Path, picture: str) -> Path:
    """Write the remedies from all sweeps to `remedies.md`; the picture's path is relative to it.

    Raises:
        OSError: the file cannot be written.
    """
    return _write(directory / "remedies.md", render_remedies(advice, picture, list(explain_errors(evidence))))


def write_claims(judged: Sequence[JudgedClaim], directory: Path) -> Path:
    """Write the judgements on the study's claims to `study_claims.md`.

    Raises:
        OSError: the file cannot be written.
    """
    return _write(directory / "study_claims.md", render_claims(judged))


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _write_launches(sweep: Sweep, files: ReportFiles) -> None:
    """Write all columns of the launches, in trial order, as CSV and Parquet."""
    rows = json.dumps([row for trial in sweep.trials for row in launch_rows(trial)])
    structure = json.dumps([dict(LAUNCH_COLUMNS)])
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE launches AS SELECT unnest(from_json(?::JSON, ?), recursive := true)", [rows, structure]
        )
        for path, options in ((files.csv, "FORMAT csv, HEADER"), (files.parquet, "FORMAT parquet")):
            with replacing(path) as temporary:
                connection.execute(f"COPY (FROM launches ORDER BY trial) TO ? ({options})", [str(temporary)])
