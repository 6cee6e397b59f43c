"""The files of a report. Each is written atomically, so readers never see a partial file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench_orchestrator.analysis.advice import Advice, FirstStep, explain_errors, first_steps_after
from bench_orchestrator.analysis.capacity import Capacity
from bench_orchestrator.analysis.claims import JudgedClaim
from bench_orchestrator.analysis.evaluation import is_experiment
from bench_orchestrator.analysis.evidence import Evidence
from bench_orchestrator.atomic import write_whole
from bench_orchestrator.charts import ChartFiles, charts_for, save
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.text import path_segment
from bench_orchestrator.report.advice import render_claims, render_remedies
from bench_orchestrator.report.html import render_page
from bench_orchestrator.report.markdown import Picture, render_markdown
from bench_orchestrator.results.export import write_launches
from bench_orchestrator.results.queries import gather, location_sweeps
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


def write_report(sweep: Sweep, directory: Path, advice: Sequence[FirstStep] = ()) -> ReportFiles:
    """Write a sweep's report into the directory, which is created if missing; existing files are replaced.

    Args:
        advice: the recommended first steps; may be empty.

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
    write_launches(sweep, files.csv, files.parquet)
    markdown = render_markdown(sweep, pictures, advice)
    write_whole(files.markdown, markdown)
    write_whole(files.html, render_page(markdown, {files.svg.name: files.svg for files in charts.values()}))
    return files


def write_sweep(sweep: Sweep, store: Store, directory: Path | None = None) -> ReportFiles:
    """Write a sweep's report, with recommendations based on the whole results database.

    Args:
        directory: for the files; by default the sweep's own directory next to the database.

    Raises:
        OSError: a file cannot be written.
        StoreError: the results database cannot be read.
    """
    own = store.path.parent / "reports" / path_segment(sweep.plan.sweep_id)
    evidence = Evidence(location_sweeps(store)) if is_experiment(sweep) else gather(store)
    return write_report(sweep, directory or own, first_steps_after(sweep, evidence))


def write_remedies(
    evidence: Evidence, advice: Advice, directory: Path, picture: str, capacity: Capacity | None = None
) -> Path:
    """Write the remedies from all sweeps, and what runs at once need, to `remedies.md`.

    The picture's path is relative to it.

    Raises:
        OSError: the file cannot be written.
    """
    text = render_remedies(advice, picture, list(explain_errors(evidence)), capacity)
    return write_whole(directory / "remedies.md", text)


def write_claims(judged: Sequence[JudgedClaim], directory: Path) -> Path:
    """Write the judgements on the study's claims to `study_claims.md`.

    Raises:
        OSError: the file cannot be written.
    """
    return write_whole(directory / "study_claims.md", render_claims(judged))
