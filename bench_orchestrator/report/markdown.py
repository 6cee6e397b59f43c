"""A report's text. Markdown is the source; the HTML page is made from it."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bench_orchestrator import findings
from bench_orchestrator.model import MICROSECONDS, Launch, Outcome, Stage, Sweep, SweepPlan
from bench_orchestrator.scenarios import SCENARIOS
from bench_orchestrator.statistics import Fit
from bench_orchestrator.tables import LocationRow, lag_fits, location_rows


@dataclass(frozen=True)
class Picture:
    """A chart's image beside the report."""

    file_name: str
    title: str
    caption: str


def render_markdown(sweep: Sweep, pictures: Sequence[Picture]) -> str:
    """The whole report, its pictures referred to by file name."""
    rows = location_rows(sweep.launches)
    sections = [
        *_answer(sweep, rows),
        *(f"![{picture.title}]({picture.file_name})\n\n*{picture.caption}*" for picture in pictures),
        *_stages(rows),
        *_failures(sweep.launches),
        *_warnings(sweep.launches),
        *_environment(sweep.plan.environment),
        *_method(sweep),
    ]
    return "\n\n".join(sections) + "\n"


def _answer(sweep: Sweep, rows: Sequence[LocationRow]) -> Iterator[str]:
    """The first screen: the finding in sentences, then in numbers."""
    scenario = SCENARIOS.get(sweep.plan.scenario)
    yield f"# {_escape(scenario.question if scenario else sweep.plan.scenario)}"
    fits = lag_fits(sweep.launches)
    yield f"**{findings.span(rows)}.**"
    yield "\n".join(f"- {sentence}." for sentence in _details(rows, fits))
    if sweep.status != "complete":
        yield f"**The sweep did not run to its end ({_escape(sweep.status)}).** What it measured is below."
    yield _table(
        ["location", "size", "n", "queue, s", "init, s", "lag, s", "interval covers", "not ok"],
        (
            [
                _escape(row.label),
                findings.describe_size(row),
                str(row.n),
                *(findings.describe_estimate(e, unit="") for e in (row.queue_s, row.init_s, row.lag_s)),
                "none" if row.coverage is None else f"{100 * row.coverage:.0f} %",
                findings.describe_outcomes(row.failures) or "none",
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


def _details(rows: Sequence[LocationRow], fits: Mapping[str, Fit]) -> Iterator[str]:
    if fits:
        yield findings.growth(fits)
    largest = findings.largest_measured(rows)
    if largest is not None and largest.dominant_stage is not None:
        stage, _ = largest.dominant_stage
        yield f"{findings.dominance(rows)}: {findings.describe_estimate(largest.stages_s[stage])}"
    if len({bool(row.partition_count) for row in rows if row.lag_s}) > 1:
        yield findings.comparison(rows)
    yield findings.tally(rows)


def _stages(rows: Sequence[LocationRow]) -> Iterator[str]:
    measured = [row for row in rows if row.n]
    if not measured:
        return
    yield "## Where the seconds go"
    yield "The median of each stage, in seconds, with its interval, in the order in which the stages happen."
    yield _table(
        ["stage", "runs in", *(_escape(row.label) for row in measured)],
        (
            [
                stage.label,
                stage.process,
                *(findings.describe_estimate(row.stages_s[stage], unit="") for row in measured),
            ]
            for stage in Stage
        ),
    )


def _failures(launches: Sequence[Launch]) -> Iterator[str]:
    failed = [launch for launch in launches if launch.outcome is not Outcome.OK]
    yield "## Trials without a measurement"
    if not failed:
        yield "None."
        return
    yield _table(
        ["trial", "location", "outcome", "reason", "run"],
        (
            [
                f"{launch.trial}{' (warm-up)' if launch.warmup else ''}",
                _escape(launch.location),
                findings.describe_outcome(launch.outcome),
                _escape(launch.reason),
                _escape(launch.run_id or "none"),
            ]
            for launch in failed
        ),
    )


def _warnings(launches: Sequence[Launch]) -> Iterator[str]:
    doubts = [
        f"- trial {launch.trial} ({_escape(launch.location)}): {_escape(warning)}"
        for launch in launches
        for warning in launch.warnings
    ]
    if doubts:
        yield "## Warnings"
        yield "Measurements that count, and that are in doubt:"
        yield "\n".join(doubts)


def _environment(environment: Mapping[str, object]) -> Iterator[str]:
    if environment:
        yield "## Environment"
        yield _table(
            ["", ""],
            ([_escape(key.replace("_", " ")), _escape(str(environment[key]))] for key in sorted(environment)),
        )


def _method(sweep: Sweep) -> Iterator[str]:
    plan = sweep.plan
    started = datetime.fromtimestamp(plan.created_us / MICROSECONDS, UTC)
    warmups = sum(trial.warmup for trial in plan.trials)
    blocks = len({trial.block for trial in plan.trials})
    yield "## How it was measured"
    yield (
        f"Sweep `{plan.sweep_id}` of the scenario `{plan.scenario}`, begun {started:%Y-%m-%d %H:%M} UTC. "
        f"{len(plan.trials)} trials in {blocks} blocks; each block launches every location once, in an order "
        f"shuffled with seed {plan.seed}. {warmups} of the trials are warm-ups, recorded and left out of the "
        "statistics. One launch at a time; each is exactly one run of one asset."
    )
    if plan.settings:
        yield (
            "Settings: "
            + ", ".join(f"{_escape(key)} = {_escape(str(value))}" for key, value in sorted(plan.settings.items()))
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
    if scenario is None or names != scenario.locations:
        words += ["--locations", ",".join(names)]
    if "repeats" in plan.settings:
        words += ["--repeats", str(plan.settings["repeats"])]
    if "warmups" in plan.settings and (scenario is None or plan.settings["warmups"] != scenario.warmups):
        words += ["--warmups", str(plan.settings["warmups"])]
    return shlex.join([*words, "--seed", str(plan.seed)])


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _escape(text: str) -> str:
    """Text from outside as Markdown that shows exactly it, on one line: no markup, no links."""
    return re.sub(r"([\\`*_\[\]<>|~&#])", r"\\\1", " ".join(text.split()))
