"""A report's text, from `templates/report.md.j2`. The HTML page is generated from this Markdown."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bench_orchestrator.analysis import wording
from bench_orchestrator.analysis.advice import FirstStep
from bench_orchestrator.analysis.evaluation import evaluate, is_experiment
from bench_orchestrator.analysis.summary import Row, shared_environment, startup_fits, sweep_rows
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Outcome, Sweep
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.stages import PIECES, Stage
from bench_orchestrator.model.text import legible
from bench_orchestrator.report import experiment
from bench_orchestrator.report.rendering import render
from bench_orchestrator.report.text import Markdown, escape
from bench_orchestrator.scenarios.registry import SCENARIOS
from bench_orchestrator.statistics import Fit


@dataclass(frozen=True)
class Picture:
    """A chart's image in the report's directory."""

    file_name: str
    title: str
    caption: str


def render_markdown(sweep: Sweep, pictures: Sequence[Picture], advice: Sequence[FirstStep] = ()) -> str:
    """Render the whole report; pictures are referenced by file name.

    Args:
        advice: the recommended first steps and their gains; may be empty.
    """
    plan = sweep.plan
    rows = sweep_rows(sweep, in_turn=False)
    measured = [row for row in rows if row.n]
    fits = startup_fits(sweep.trials)
    evaluation = evaluate(sweep) if is_experiment(sweep) else None
    scenario = SCENARIOS.get(plan.scenario)
    in_turn = {variant.name for variant in plan.variants if variant.in_turn}
    environment = shared_environment(plan)
    return render(
        "report.md.j2",
        question=scenario.question if scenario else plan.scenario,
        answer=evaluation.answer if evaluation else wording.dominance_in_seconds(rows),
        advice=advice,
        caveats=evaluation.caveats if evaluation else list(_caveats(sweep)),
        sentences=evaluation.sentences if evaluation else list(_details(sweep, rows, fits)),
        evaluation=evaluation,
        **(experiment.tables(evaluation) if evaluation else {}),
        rows=rows,
        fits=fits,
        pictures=pictures,
        measured=measured,
        kubernetes=wording.kubernetes(rows),
        stage_heads=["stage", "runs in", *(escape(row.label) for row in measured)],
        stage_rows=list(_stages(measured)),
        failed=[trial for trial in sweep.trials if trial.outcome is not Outcome.OK],
        doubts=[(trial, warning) for trial in sweep.trials for launch in trial.launches for warning in launch.warnings],
        environment=environment,
        own_environments=[
            (deployment, key, own[key])
            for deployment, own in plan.environments.items()
            for key in sorted(own.keys() - environment.keys())
        ],
        plan=plan,
        began=datetime.fromtimestamp(plan.created_us / MICROSECONDS, UTC),
        blocks=len({trial.block for trial in plan.trials if trial.variant not in in_turn}),
        in_turn=in_turn,
        workloads=any(variant.workload for variant in plan.variants),
        command=_command(plan),
    )


def _caveats(sweep: Sweep) -> Iterator[Markdown]:
    if sweep.status != "complete":
        yield Markdown(f"**The sweep did not finish ({escape(sweep.status)}).** Its measurements are below.")


def _details(sweep: Sweep, rows: Sequence[Row], fits: Mapping[str, Fit]) -> Iterator[str]:
    if any(row.lag_s for row in rows):
        yield wording.span(rows)
    if fits:
        yield wording.growth(fits)
    if wait := wording.queue_wait(sweep.plan.dequeue_interval_s):
        yield wait
    if len({bool(row.partition_count) for row in rows if row.lag_s}) > 1:
        yield wording.comparison(rows)
    yield wording.tally(rows)


def _stages(measured: Sequence[Row]) -> Iterator[list[str]]:
    """Yield the rows of the table of stages; pieces of worker boot only if they are known."""
    for piece in PIECES:
        estimates = [row.piece_s(piece) for row in measured]
        if any(estimates) or isinstance(piece, Stage):
            yield [
                piece.row_label,
                piece.process,
                *(wording.describe_estimate(estimate, unit="") for estimate in estimates),
            ]


def _command(plan: SweepPlan) -> str:
    """Return the command that plans the same sweep, in one line; options that are the scenario's own are left out."""
    scenario = SCENARIOS.get(plan.scenario)
    words = ["bench", "run", plan.scenario]
    names = tuple(location.name for location in plan.locations)
    if plan.variants:
        words += ["--quick"] if plan.settings.get("quick") else []
        words += [word for name in plan.settings.get("only", ()) for word in ("--only", name)]
    elif scenario is None or names != scenario.locations:
        words += ["--locations", ",".join(names)]
    if "repeats" in plan.settings:
        words += ["--repeats", str(plan.settings["repeats"])]
    if "warmups" in plan.settings and (scenario is None or plan.settings["warmups"] != scenario.warmups):
        words += ["--warmups", str(plan.settings["warmups"])]
    return legible(shlex.join([*words, "--seed", str(plan.seed)]).replace("\n", "\\n"))
