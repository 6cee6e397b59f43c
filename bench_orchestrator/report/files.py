"""The files of a report, each written whole or not at all, so that a reader never meets half of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench_orchestrator.analysis.advice import Advice, explain_errors, first_steps_after
from bench_orchestrator.analysis.claims import JudgedClaim
from bench_orchestrator.analysis.evaluation import is_experiment
from bench_orchestrator.analysis.evidence import Evidence
from bench_orchestrator.atomic import replacing
from bench_orchestrator.charts import ChartFiles, charts_for, save
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.report.advice import render_claims, render_remedies
from bench_orchestrator.report.html import render_page
from bench_orchestrator.report.markdown import Picture, render_markdown
from bench_orchestrator.results.export import write_launches
from bench_orchestrator.results.queries import gather, location_sweeps
from bench_orchestrator.results.store import Store


@dataclass(frozen=True)
class ReportFiles:
    """Where a report was written."""

    markdown: Path
    html: Path
    """One page that needs no other file."""
    csv: Path
    parquet: Path
    charts: Mapping[str, ChartFiles]
    """Of each chart that the sweep has data for, by its name."""


def write_report(sweep: Sweep, directory: Path, advice: Sequence[str] = ()) -> ReportFiles:
    """Write a sweep's report into the directory, made if need be; files of the same name are replaced.

    Args:
        advice: what to do first, in Markdown, where that is known.

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
    _write(files.markdown, markdown)
    _write(files.html, render_page(markdown, directory))
    return files


def write_sweep(sweep: Sweep, store: Store, directory: Path | None = None) -> ReportFiles:
    """Write a sweep's report, with what to do first by all that is in the results database.

    Args:
        directory: for the files; by default the sweep's own, beside the database.

    Raises:
        OSError: a file cannot be written.
        StoreError: the results database cannot be read.
    """
    own = store.path.parent / "reports" / sweep.plan.sweep_id
    evidence = Evidence(location_sweeps(store)) if is_experiment(sweep) else gather(store)
    return write_report(sweep, directory or own, first_steps_after(sweep, evidence))


def write_remedies(evidence: Evidence, advice: Advice, directory: Path, picture: str) -> Path:
    """Write what all sweeps together come to as `remedies.md`, which shows a picture by its path from there.

    Raises:
        OSError: the file cannot be written.
    """
    return _write(directory / "remedies.md", render_remedies(advice, picture, list(explain_errors(evidence))))


def write_claims(judged: Sequence[JudgedClaim], directory: Path) -> Path:
    """Write what became of the study's claims as `study_claims.md`.

    Raises:
        OSError: the file cannot be written.
    """
    return _write(directory / "study_claims.md", render_claims(judged))


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
