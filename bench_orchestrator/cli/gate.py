"""`bench gate`: limits on launches, as a step of a CI pipeline."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench_orchestrator.analysis.baseline import Baseline, Beside, baseline_of, read_baseline, write_baseline
from bench_orchestrator.analysis.gate import FEWEST_TRIALS, Limit, Regression, Ruling, judge
from bench_orchestrator.atomic import write_whole
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.failures import warning_of_failures
from bench_orchestrator.cli.loading import LoadingView
from bench_orchestrator.cli.own_code import (
    TIMEOUT_S,
    NamedCode,
    code_options,
    load_once,
    refuse_installed,
    temporary_home,
)
from bench_orchestrator.cli.results import keep, open_results
from bench_orchestrator.cli.sweeping import measure, timeout_option, url_option
from bench_orchestrator.cli.values import Duration, Names, Output, Percentage
from bench_orchestrator.model.bounds import MOST_LAUNCHES
from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.report.files import write_sweep
from bench_orchestrator.report.gate import (
    STYLES,
    GateResult,
    render_gate_markdown,
    render_junit,
    render_table,
    summarize_gate,
)
from bench_orchestrator.scenarios.experiment import INIT, LAG, QUEUE, STARTUP
from bench_orchestrator.scenarios.registry import GATE, SCENARIOS
from bench_orchestrator.scenarios.trying import BASE, NOTHING_EXECUTED
from bench_orchestrator.sweeps.trying import Attempt, carry_out
from synthetic_locations.probed import PROBE
from synthetic_locations.shape import is_shape

_EXIT_CODES = {Ruling.UNDER: 0, Ruling.OVER: 1, Ruling.UNDECIDED: 4}
_MEASURES = {"max_lag_s": LAG, "max_queue_s": QUEUE, "max_init_s": INIT, "max_startup_s": STARTUP}
_MAX_REGRESSION = 0.1
_PROBED = "What was launched is the asset that does nothing; no other asset was executed."
_EXECUTED = "Each launch in a location that is not synthetic has really materialized one of its assets."


def _limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for the limit of each measure; the command gets them as `limits_s`, by option."""
    helps = {
        "--max-lag": "Limit for the median launch lag, such as 10s.",
        "--max-queue": "The same for the queue time, which is random.",
        "--max-init": "The same for the init time.",
        "--max-startup": "The same for the startup time: the launch lag without the queue wait.",
    }
    for (option, text), name in reversed(list(zip(helps.items(), _MEASURES, strict=True))):
        command = click.option(option, name, type=Duration(), help=text)(command)
    return command


@click.command(name="gate")
@_limit_options
@click.option("--baseline", "baseline_name", metavar="SWEEP|FILE", help="Earlier launches to compare with.")
@click.option(
    "--against",
    type=Output(folder=True, exists=True),
    help="Another checkout of the code to compare with: both are launched in turn.",
)
@click.option("--max-regression", type=Percentage(), help="How much longer the startup time may be than there.  [10%]")
@click.option("--save-baseline", "saved", type=Output(), help="File for these launches as a baseline.")
@code_options
@click.option("--project", is_flag=True, help="The code is the project of the current folder, as for bench try.")
@click.option(
    "--locations",
    "names",
    type=Names(),
    help=f"Code locations of a deployment, separated by commas.  [{','.join(SCENARIOS[GATE].locations)}]",
)
@click.option("--probe", is_flag=True, help="Launch the probe that each of --locations carries: it does nothing.")
@click.option("--asset", "assets", multiple=True, metavar="KEY", help="Launch this asset; may be repeated.")
@click.option("--execute", is_flag=True, help="Agree that real assets are materialized.")
@click.option(
    "--trials",
    type=click.IntRange(FEWEST_TRIALS, MOST_LAUNCHES),
    default=SCENARIOS[GATE].repeats,
    show_default=True,
    help="Measured launches per location, fixed beforehand.",
)
@timeout_option
@url_option
@click.option("--junit", type=Output(), help="File for the rulings as JUnit's XML.")
@click.option("--markdown", type=Output(), help="File for a summary in Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout, all else to stderr.")
def command(
    named: NamedCode,
    project: bool,
    names: tuple[str, ...] | None,
    baseline_name: str | None,
    against: Path | None,
    max_regression: float | None,
    saved: Path | None,
    probe: bool,
    assets: tuple[str, ...],
    execute: bool,
    trials: int,
    timeout_s: float | None,
    url: str | None,
    junit: Path | None,
    markdown: Path | None,
    as_json: bool,
    **limits_s: float | None,
) -> None:
    """Fail if launches are over a limit or slower than before, for CI.

    With -m, -f, -w or --project it needs no deployment: it starts one for the time being, with your definitions and an
    asset that does nothing, and launches that. Nothing of your code is executed but its import.

    Otherwise it launches in the locations of a deployment. In a location that is not synthetic, each trial really
    materializes one of its assets, or one of --asset, which needs --execute. With --probe it is the probe, which each
    location has to carry, and nothing else is executed.

    It judges the 95 % interval of each median, or of the ratio to the baseline's.

    \b
    Exit codes:
      0  under: each whole interval is under its limit
      1  over: a whole interval is over its limit
      3  nothing was measured: something cannot be used
      4  cannot tell: a limit is within an interval, or trials failed

    \b
    Examples:
      bench gate --max-lag 10s
      bench gate --max-lag 15s --locations sales --probe --trials 12 --url https://staging.example.com
      bench gate -m my_project.definitions --max-startup 8s --save-baseline baseline.json
      bench gate -m my_project.definitions --baseline baseline.json --max-regression 10% --junit gate.xml
      bench gate --project --against ../base --markdown gate.md
    """
    own_code = project or not named.is_empty
    limits = [Limit(measure, limit) for name, measure in _MEASURES.items() if (limit := limits_s[name]) is not None]
    _check_launched(own_code, names, probe, assets, execute=execute)
    _check_usage(named, own_code, names, url, baseline_name, against, max_regression, [*limits, saved])
    baseline = None if baseline_name is None else _find_baseline(baseline_name)
    console = open_console(as_json=as_json)
    if own_code:
        sweep, reference = _launch_code(named, against, trials, timeout_s or TIMEOUT_S, console)
        remarks = [NOTHING_EXECUTED]
    else:
        names = names or SCENARIOS[GATE].locations
        config: dict[str, Any] = {"locations": list(names), "repeats": trials}
        if probe or assets:
            config["assets"] = [PROBE] if probe else list(assets)
        if timeout_s is not None:
            config["timeout_s"] = timeout_s
        sweep, reference = measure(SCENARIOS[GATE], config, names, url, console), None
        remarks = [_PROBED if probe else _EXECUTED]
    if baseline is not None:
        remarks += [f"{change}." for change in baseline.changes(sweep)]
    compared = reference or baseline
    regression = None if compared is None else Regression(max_regression or _MAX_REGRESSION, compared)
    result = GateResult(sweep, limits, regression, judge(sweep.trials, limits, regression), remarks)
    # From here on the exit code is known, and nothing that fails may change it, but that the baseline is not saved.
    with warning_of_failures("the result cannot be printed"):
        _print(result, console)
        if as_json:
            click.echo(json.dumps(summarize_gate(result)))
    for file, what, content in ((junit, "JUnit", render_junit), (markdown, "Markdown", render_gate_markdown)):
        if file is not None:
            with warning_of_failures(f"{file} cannot be written"):
                console.print(f"{what}: {write_whole(file, content(result))}")
    if not own_code:
        with warning_of_failures("the report cannot be written"):
            console.print(f"Report: {write_sweep(sweep, keep(sweep)).html}")
    if saved is not None:
        _save(sweep, saved, console)
    sys.exit(_EXIT_CODES[result.ruling])


def _check_usage(
    named: NamedCode,
    own_code: bool,
    names: Sequence[str] | None,
    url: str | None,
    baseline_name: str | None,
    against: Path | None,
    max_regression: float | None,
    others: Sequence[object],
) -> None:
    """Raise UsageError for options that do not fit."""
    if own_code and (names or url):
        raise click.UsageError("--locations and --url name a deployment; your own code is launched without one.")
    if not own_code and (against or named.location):
        raise click.UsageError("--against and --location belong to your own code: -m, -f, -w or --project.")
    if baseline_name is not None and against is not None:
        raise click.UsageError("Compare with one of --baseline and --against.")
    if against is not None and any(path is not None and path.is_absolute() for path in named.paths):
        raise click.UsageError("With --against, name files relative to the checkouts.")
    if baseline_name is None and against is None:
        if max_regression is not None:
            raise click.UsageError("--max-regression needs --baseline or --against.")
        if not any(others):
            raise click.UsageError("Give a limit, such as --max-lag 10s, or what to compare with.")


def _check_launched(
    own_code: bool, names: Sequence[str] | None, probe: bool, assets: Sequence[str], *, execute: bool
) -> None:
    """Raise UsageError for a contradictory choice of assets, and for real assets without --execute."""
    if (probe or assets or execute) and (own_code or not names):
        raise click.UsageError("--probe, --asset and --execute belong to --locations of a deployment.")
    if probe and assets:
        raise click.UsageError("Launch one of --probe and --asset.")
    if assets and not execute:
        raise click.UsageError(f"Each trial really materializes {' or '.join(assets)}: agree to it with --execute.")
    real = [name for name in names or () if not is_shape(name)]
    if real and not (probe or execute):
        raise click.UsageError(
            f"Each trial really materializes an asset of {' or '.join(real)}: agree to it with --execute, or launch "
            "the probe of each location with --probe."
        )


def _find_baseline(name: str) -> Baseline:
    """Return the baseline of a file, or of a sweep in the results database.

    Raises:
        UsageError: the sweep is an experiment.
        UnusableError: there is neither, or the file is not a baseline.
    """
    file = Path(name)
    if file.is_file():
        return read_baseline(file.read_text(encoding="utf-8", errors="replace"), name)
    try:
        sweep = open_results().load(name)
    except UnusableError as error:
        raise UnusableError(f"There is no file {name}, and no such sweep: {error}") from error
    if sweep.plan.variants:
        raise click.UsageError(f"{name} is an experiment: a baseline is a sweep of code locations.")
    return baseline_of(sweep)


def _launch_code(
    named: NamedCode, against: Path | None, trials: int, timeout_s: float, console: Console
) -> tuple[Sweep, Beside | None]:
    """Launch a probe in the user's code; return those launches, and those in the other checkout of the same blocks."""
    head = named.find(Path.cwd())
    base = None if against is None else named.find(against.resolve())
    if base is not None:
        for checkout in (base, head):
            refuse_installed(checkout)
    with temporary_home() as home:
        for checkout in filter(None, (base, head)):
            load_once(checkout, home, timeout_s, console)
        attempt = Attempt(head, home, warm=False, launches=trials, timeout_s=timeout_s, base=base)
        sweep = carry_out(attempt, LoadingView(console))
    own, others = ([one for one in sweep.trials if (one.variant == BASE) is is_base] for is_base in (False, True))
    return replace(sweep, trials=tuple(own)), None if base is None else Beside(others)


def _print(result: GateResult, console: Console) -> None:
    if result.judgements:
        console.print(render_table(result.judgements))
    for line in result.lines:
        console.print(line)
    console.print(result.sentence, style=STYLES[result.ruling])


def _save(sweep: Sweep, file: Path, console: Console) -> None:
    """Write the baseline, unless nothing of it is complete.

    Raises:
        OSError: it cannot be written.
    """
    baseline = baseline_of(sweep)
    if not baseline.places:
        console.print(f"{file} is not written: no location was measured in all trials.", style="yellow")
        return
    console.print(f"Baseline: {write_whole(file, write_baseline(baseline))}")
