"""A report's text. Markdown is the source; the HTML page is made from it."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bench_orchestrator.analysis import wording
from bench_orchestrator.analysis.evaluation import Evaluation, evaluate, is_experiment
from bench_orchestrator.analysis.summary import Row, lag_fits, shared_environment, sweep_rows
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Outcome, Sweep, Trial
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.stages import PIECES, Stage
from bench_orchestrator.report import experiment
from bench_orchestrator.report.text import escape, table
from bench_orchestrator.scenarios.registry import SCENARIOS
from bench_orchestrator.statistics import Fit


@dataclass(frozen=True)
class Picture:
    """A chart's image beside the report."""

    file_name: str
    title: str
    caption: str


def render_markdown(sweep: Sweep, pictures: Sequence[Picture], advice: Sequence[str] = ()) -> str:
    """The whole report, its pictures referred to by file name.

    Args:
        advice: what to do first, and what it gains, in Markdown; nothing where that is not known.
    """
    rows = sweep_rows(sweep, in_turn=False)
    evaluation = evaluate(sweep) if is_experiment(sweep) else None
    sections = [
        *_answer(sweep, rows, evaluation, advice),
        *(f"![{picture.title}]({picture.file_name})\n\n*{picture.caption}*" for picture in pictures),
        *(experiment.render_evidence(evaluation) if evaluation else ()),
        *_stages(rows),
        *_failures(sweep),
        *_warnings(sweep.trials),
        *_environment(sweep.plan),
        *_method(sweep),
    ]
    return "\n\n".join(sections) + "\n"


def _answer(sweep: Sweep, rows: Sequence[Row], evaluation: Evaluation | None, advice: Sequence[str]) -> Iterator[str]:
    """The first screen: the answer, what to do first, the other findings, and all of it in numbers."""
    scenario = SCENARIOS.get(sweep.plan.scenario)
    yield f"# {escape(scenario.question if scenario else sweep.plan.scenario)}"
    fits = lag_fits(sweep.trials)
    yield f"**{evaluation.answer if evaluation else wording.dominance_in_seconds(rows)}.**"
    if advice:
        yield "What to do first:"
        yield "\n".join(f"- {line}" for line in advice)
    if evaluation:
        yield from evaluation.caveats
    elif sweep.status != "complete":
        yield f"**The sweep did not run to its end ({escape(sweep.status)}).** What it measured is below."
    yield "\n".join(f"- {sentence}." for sentence in (evaluation.sentences if evaluation else _details(rows, fits)))
    if evaluation:
        yield experiment.render_sides(evaluation)
        yield experiment.explain_sides(evaluation)
    else:
        yield from _locations(rows, fits)


def _locations(rows: Sequence[Row], fits: Mapping[str, Fit]) -> Iterator[str]:
    yield table(
        ["location", "size", "n", "queue, s", "init, s", "lag, s", "interval covers", "not ok"],
        (
            [
                escape(row.label),
                row.size,
                str(row.n),
                *(wording.describe_estimate(e, unit="") for e in (row.queue_s, row.init_s, row.lag_s)),
                "none" if row.coverage is None else f"{100 * row.coverage:.0f} %",
                wording.describe_outcomes(row.failures) or "none",
            ]
            for row in rows
        ),
    )
    slope = "".join(f" The slope's covers {100 * fit.slope.coverage:.0f} %." for fit in fits.values())
    yield (
        "Medians, each with the interval that holds the true median as often as the column says: fewer than six "
        f"launches cannot give 95 %, five give 94 %.{slope} Medians do not add up: those of queue and init do "
        "not sum to that of the lag."
    )


def _details(rows: Sequence[Row], fits: Mapping[str, Fit]) -> Iterator[str]:
    if any(row.lag_s for row in rows):
        yield wording.span(rows)
    if fits:
        yield wording.growth(fits)
    if len({bool(row.partition_count) for row in rows if row.lag_s}) > 1:
        yield wording.comparison(rows)
    yield wording.tally(rows)


def _stages(rows: Sequence[Row]) -> Iterator[str]:
    measured = [row for row in rows if row.n]
    if not measured:
        return
    yield "## Where the seconds go"
    yield "The median of each stage, in seconds, with its interval, in the order in which the stages happen."
    if kubernetes := wording.kubernetes(rows):
        yield f"{kubernetes}."
    yield table(
        ["stage", "runs in", *(escape(row.label) for row in measured)],
        (
            [
                piece.row_label,
                piece.process,
                *(wording.describe_estimate(estimate, unit="") for estimate in estimates),
            ]
            for piece in PIECES
            if any(estimates := [row.piece_s(piece) for row in measured]) or isinstance(piece, Stage)
        ),
    )


def _failures(sweep: Sweep) -> Iterator[str]:
    failed = [trial for trial in sweep.trials if trial.outcome is not Outcome.OK]
    yield "## Trials without a measurement"
    if not failed:
        yield "None."
        return
    yield table(
        ["trial", "launched", "outcome", "reason", "run"],
        (
            [
                f"{trial.number}{' (warm-up)' if trial.warmup else ''}",
                escape(f"{trial.variant}: {trial.location}" if sweep.plan.variants else trial.location),
                wording.describe_outcome(trial.outcome),
                escape(trial.reason),
                escape(trial.launch.run_id or "none"),
            ]
            for trial in failed
        ),
    )


def _warnings(trials: Sequence[Trial]) -> Iterator[str]:
    doubts = [
        f"- trial {trial.number} ({escape(trial.location)}): {escape(warning)}"
        for trial in trials
        for launch in trial.launches
        for warning in launch.warnings
    ]
    if doubts:
        yield "## Warnings"
        yield "Measurements that count, and that are in doubt:"
        yield "\n".join(doubts)


def _environment(plan: SweepPlan) -> Iterator[str]:
    shared = shared_environment(plan)
    if not shared:
        return
    yield "## Environment"
    yield table(["", ""], ([escape(key.replace("_", " ")), escape(str(shared[key]))] for key in sorted(shared)))
    own = [
        [escape(deployment), escape(key.replace("_", " ")), escape(str(environment[key]))]
        for deployment, environment in plan.environments.items()
        for key in sorted(environment.keys() - shared.keys())
    ]
    if own:
        yield "Of the sweep's own deployments, each named for its first variant:"
        yield table(["deployment", "", ""], own)


def _method(sweep: Sweep) -> Iterator[str]:
    plan = sweep.plan
    started = datetime.fromtimestamp(plan.created_us / MICROSECONDS, UTC)
    warmups = sum(trial.warmup for trial in plan.trials)
    in_turn = {variant.name for variant in plan.variants if variant.in_turn}
    blocks = len({trial.block for trial in plan.trials if trial.variant not in in_turn})
    kind = "side" if plan.variants else "location"
    yield "## How it was measured"
    yield (
        f"Sweep `{plan.sweep_id}` of the scenario `{plan.scenario}`, begun {started:%Y-%m-%d %H:%M} UTC. "
        f"{len(plan.trials)} trials in {blocks} blocks; each block launches every {kind} once, in an order "
        f"shuffled with seed {plan.seed}. {warmups} of the trials are warm-ups, recorded and left out of the "
        "statistics. One launch at a time; each is exactly one run."
        f"{' What is launched in turn comes after the blocks.' if in_turn else ''}"
    )
    if plan.settings:
        yield (
            "Settings: "
            + ", ".join(f"{escape(key)} = {escape(str(value))}" for key, value in sorted(plan.settings.items()))
            + "."
        )
    yield "To repeat it:"
    yield f"```\n{_command(plan)}\n```"
    yield "Every launch, with every instant and stage, is in `launches.csv` and `launches.parquet`."


def _command(plan: SweepPlan) -> str:
    """The command that plans the same sweep; what equals the scenario's default is left out."""
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
    return shlex.join([*words, "--seed", str(plan.seed)])
