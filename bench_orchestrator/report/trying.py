"""The answer of `bench try`: for the terminal, as plain data for JSON, and as one self-contained page."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from bench_orchestrator.analysis.trying import Answer
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.atomic import write_whole
from bench_orchestrator.charts import save, waterfall
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.report.html import render_page
from bench_orchestrator.report.markdown import Picture
from bench_orchestrator.report.rendering import render
from bench_orchestrator.report.summary import list_failures
from bench_orchestrator.scenarios.trying import NOTHING_EXECUTED, STOCK, WARM
from bench_orchestrator.waterfall.layout import Sample, Waterfall, median_waterfall, of_trial
from bench_orchestrator.waterfall.text import render_waterfall, summarize_waterfall
from dagster_warm.check import as_text
from dagster_warm.loading import Outcome

_SERVERS: Mapping[str, str] = {STOCK: "Behind Dagster's code server", WARM: "Behind the warm code server"}


def render_answer(answer: Answer, sweep: Sweep, code: str, checked: Outcome) -> RenderableType:
    """Return the answer for the terminal.

    Args:
        code: the name of the code.
        checked: what does not fit a fork.
    """
    return Group(*_parts(answer, sweep, code, checked))


def _parts(answer: Answer, sweep: Sweep, code: str, checked: Outcome) -> Iterator[RenderableType]:
    for side, (shown, sample) in _waterfalls(sweep).items():
        yield Text(f"\n{_SERVERS[side]}", style="bold")
        yield render_waterfall(shown, sample)
    if answer.steps:
        yield Text("\nWhat to do first, in order of seconds; each saving is counted alone:", style="bold")
        for number, step in enumerate(answer.steps, start=1):
            yield Text(f"{number}. {step.remedy.name}: {step.words}")
    yield Text("\nCan it be launched warm?", style="bold")
    yield Text(as_text(code, checked))
    yield Text("")
    yield from (Text(f"{remark}.") for remark in answer.remarks)
    yield from (Text(failure, style="red") for failure in list_failures(sweep))
    yield Text(NOTHING_EXECUTED)
    yield Text(f"\n{answer.sentence}.", style="bold")


def summarize_answer(answer: Answer, sweep: Sweep, code: str, checked: Outcome) -> dict[str, Any]:
    """Return the same as plain data for JSON: durations in seconds; what was not measured is None or left out."""
    return {
        "code": code,
        "assets": answer.assets,
        "answer": f"{answer.sentence}.",
        "remarks": [f"{remark}." for remark in answer.remarks],
        "loading_s": asdict(answer.loads_s) if answer.loads_s else None,
        "saved_s": asdict(answer.saved_s) if answer.saved_s else None,
        "sides": {
            side: {
                "launches": row.n,
                "failures": {outcome.value: count for outcome, count in row.failures.items()},
                "startup_s": asdict(row.startup_s) if row.startup_s else None,
                "lag_s": asdict(row.lag_s) if row.lag_s else None,
                "stages_s": {stage.value: asdict(found) for stage in Stage if (found := row.stages_s[stage])},
            }
            for side, row in answer.rows.items()
        },
        "first_steps": [
            {"remedy": one.remedy.name, "saved_s": one.saved_s, "how_much": one.how_much, "costs": one.remedy.costs}
            for one in answer.steps
        ],
        "warm": {"is_cold": checked.is_cold, **asdict(checked)},
        "waterfalls": {side: summarize_waterfall(*found) for side, found in _waterfalls(sweep).items()},
        "failures": list(list_failures(sweep)),
        "environment": dict(sweep.plan.environment),
    }


def write_page(answer: Answer, sweep: Sweep, code: str, checked: Outcome, page: Path) -> None:
    """Write the answer as one HTML page, with a chart of each side's median launch.

    Raises:
        OSError: the page cannot be written.
    """
    with TemporaryDirectory() as folder:
        pictures: list[Picture] = []
        files: dict[str, Path] = {}
        for side, (shown, sample) in _waterfalls(sweep).items():
            figure = waterfall(shown, sample)
            svg = save(figure, Path(folder), side).svg
            files[svg.name] = svg
            pictures.append(Picture(svg.name, " ".join(figure.get_suptitle().split()), _SERVERS[side]))
        text = render_page(_markdown(answer, sweep, code, checked, pictures), files)
    write_whole(page, text)


def _markdown(answer: Answer, sweep: Sweep, code: str, checked: Outcome, pictures: list[Picture]) -> str:
    verdict, *_ = as_text(code, checked).splitlines()
    return render(
        "trying.md.j2",
        code=code,
        answer=answer,
        steps=answer.steps,
        pictures=pictures,
        verdict=verdict,
        finding_heads=["", "what", "where", "instead"],
        finding_rows=[
            [one.severity, one.name, f"{one.file}:{one.line}" if one.file else "", one.instead]
            for one in checked.findings
        ],
        stage_heads=["stage", *(_SERVERS[side] for side in answer.rows)],
        stage_rows=list(_stages(answer)),
        failures=list(list_failures(sweep)),
        nothing_executed=NOTHING_EXECUTED,
        environment=sweep.plan.environment,
    )


def _stages(answer: Answer) -> Iterator[list[str]]:
    for stage in Stage:
        yield [stage.label, *(describe_estimate(row.stages_s[stage], "", digits=2) for row in answer.rows.values())]


def _waterfalls(sweep: Sweep) -> dict[str, tuple[Waterfall, Sample]]:
    """Return the launch with the median lag of each side that was measured."""
    found: dict[str, tuple[Waterfall, Sample]] = {}
    for side in (variant.name for variant in sweep.plan.variants):
        trials = [trial for trial in sweep.trials if trial.measured and trial.variant == side]
        if trials:
            found[side] = median_waterfall([of_trial(one, sweep.plan.environment_of(one.deployment)) for one in trials])
    return found
