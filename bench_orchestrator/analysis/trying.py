"""The answer of `bench try`: how long launches of a user's code take behind either server, and what to do first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from bench_orchestrator.analysis import wording
from bench_orchestrator.analysis.baseline import paired_startups_s
from bench_orchestrator.analysis.summary import Row, sweep_rows
from bench_orchestrator.analysis.wording import counted, describe_estimate
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Sweep, Trial
from bench_orchestrator.model.stages import Stage, StepWorker
from bench_orchestrator.scenarios.experiment import Remedy
from bench_orchestrator.scenarios.experiments import definitions_cache, dequeue_interval, executors
from bench_orchestrator.scenarios.trying import STOCK, WARM
from bench_orchestrator.statistics import Estimate, median, paired_difference

DEFAULT_DEQUEUE_INTERVAL_S = 5.0
"""Dagster's default: a run waits for up to this long before the daemon looks."""

_LOADING = (Stage.WORKER_LOAD, Stage.STEP_LOAD)
_OF_THE_STEP_PROCESS = (Stage.STEP_BOOT, Stage.STEP_LOAD)
_REPLACED = "replaced_executor"
"""What the probe reports if it was not launched by the code's own executor."""


@dataclass(frozen=True)
class Step:
    """Something to do, with the seconds per launch that it saves."""

    remedy: Remedy
    saved_s: float
    how_much: str
    """The saving in words, and what it rests on."""

    @property
    def words(self) -> str:
        """What it saves and costs, in sentences that follow its name."""
        return f"saves {self.how_much}. {self.remedy.costs}"


@dataclass(frozen=True)
class Answer:
    """What launching the probe has shown."""

    sentence: str
    assets: int
    """Assets of the code, without the probe."""
    rows: Mapping[str, Row]
    """The figures by side."""
    loads_s: Estimate | None
    """Seconds of a stock launch that its processes spend on loading the definitions."""
    saved_s: Estimate | None
    """Seconds that a launch behind the warm server is faster; None if not both were measured."""
    steps: tuple[Step, ...]
    """What to do, in order of seconds."""
    remarks: tuple[str, ...]
    """Further sentences: what dominates, how sure it is, what was left out, what went wrong."""


def conclude(sweep: Sweep, faults: Sequence[str] = ()) -> Answer:
    """Return the answer of a sweep that launched the probe.

    Args:
        faults: why the warm server could not fork runs of the code; empty if it could.
    """
    rows = {row.variant: row for row in sweep_rows(sweep)}
    measured = {side: [one for one in sweep.trials if one.measured and one.variant == side] for side in rows}
    assets = max((location.asset_count for location in sweep.plan.locations), default=0)
    loads_s = _median_of(measured[STOCK], _LOADING)
    saved_s = _saved_s(measured)
    return Answer(
        sentence=_sentence(rows, loads_s, assets, measured[STOCK], faults),
        assets=assets,
        rows=rows,
        loads_s=loads_s,
        saved_s=saved_s,
        steps=tuple(sorted(_steps(measured[STOCK], saved_s), key=attrgetter("saved_s"), reverse=True)),
        remarks=tuple(_remarks(rows, measured)),
    )


def _sentence(
    rows: Mapping[str, Row], loads_s: Estimate | None, assets: int, stock: Sequence[Trial], faults: Sequence[str]
) -> str:
    stock_s, warm_s = (rows[side].startup_s if side in rows else None for side in (STOCK, WARM))
    if stock_s is None or loads_s is None:
        return f"{wording.NOTHING_MEASURED}: {_why_not(rows[STOCK])}"
    what = f"load {counted(assets, 'asset')}" if assets > 1 else "load your code"
    times = "once" if stock[0].launch.executor is StepWorker.IN_PROCESS else "twice"
    own = (
        f"Your launches take {_seconds(stock_s)} from the queue to the first line of code; "
        f"{_seconds(loads_s)} of them {what}, {times}"
    )
    if faults:
        return f"{own}. Behind the warm server it would be the same, because of {counted(len(faults), 'fault')}"
    if WARM not in rows:
        return own
    if warm_s is None:
        return f"{own}. Behind the warm server: {_why_not(rows[WARM])}"
    return f"{own}. Behind the warm server: {_seconds(warm_s)}"


def _why_not(row: Row) -> str:
    failed = {
        outcome: row.failures.get(outcome, 0) + (count if outcome.value != "ok" else 0)
        for outcome, count in row.warmup_outcomes.items()
    }
    return wording.describe_outcomes(failed) or "no launch"


def _steps(stock: Sequence[Trial], saved_s: Estimate | None) -> Iterator[Step]:
    """Yield what would make the stock launches faster. Each saving is counted alone."""
    if saved_s is not None and (saved_s.low or saved_s.value) > 0:
        yield Step(
            definitions_cache.EXPERIMENT.remedy_of("warm, a10k"),
            saved_s.value,
            f"{_seconds(saved_s)} per launch, measured here",
        )
    step_process_s = _median_of(stock, _OF_THE_STEP_PROCESS)
    if step_process_s is not None and stock[0].launch.executor is StepWorker.MULTIPROCESS:
        stages = " and ".join(stage.label for stage in _OF_THE_STEP_PROCESS)
        yield Step(
            executors.EXPERIMENT.remedy_of("in-process, 1 step"),
            step_process_s.value,
            f"{_seconds(step_process_s)} per launch: {stages}, which it leaves out",
        )
    if stock:
        wait_s = DEFAULT_DEQUEUE_INTERVAL_S / 2
        yield Step(
            dequeue_interval.EXPERIMENT.remedy_of("at once"),
            wait_s,
            f"{wait_s:g} s per launch in the median at Dagster's default dequeue interval of "
            f"{DEFAULT_DEQUEUE_INTERVAL_S:g} s, not measured here",
        )


def _remarks(rows: Mapping[str, Row], measured: Mapping[str, Sequence[Trial]]) -> Iterator[str]:
    stock = rows[STOCK]
    if stock.n:
        yield wording.dominance_in_seconds([stock])
    coverages = [row.startup_s.coverage for row in rows.values() if row.startup_s is not None]
    if coverages:
        launches = " and ".join(dict.fromkeys(str(row.n) for row in rows.values() if row.n))
        sides = " on each side, in turn" if len(rows) > 1 else ""
        yield (
            f"Medians of {launches} launches{sides}, with intervals that cover "
            f"{100 * min(coverages):.0f} %. The wait in the queue is left out: it is random, 0 to "
            f"{DEFAULT_DEQUEUE_INTERVAL_S:g} s with Dagster's defaults"
        )
    for side, trials in measured.items():
        cold = sum(not trial.launch.template for trial in trials)
        if side == WARM and cold:
            yield f"{cold} of {len(trials)} launches behind the warm server were not forked"
    replaced = {str(name) for trial in measured[STOCK] if (name := trial.launch.step_process.get(_REPLACED))}
    for name in sorted(replaced):
        yield f"The executor {wording.quote(name)} starts steps elsewhere; Dagster's default one was used instead"
    yield wording.tally(list(rows.values()))


def _saved_s(measured: Mapping[str, Sequence[Trial]]) -> Estimate | None:
    """Return by how much the warm launches are faster, from those of the same block."""
    stock, warm = paired_startups_s(measured.get(STOCK, ()), measured.get(WARM, ()))
    return paired_difference(stock, warm) if stock else None


def _median_of(trials: Sequence[Trial], stages: Sequence[Stage]) -> Estimate | None:
    """Return the median of what these stages take together, in seconds."""
    samples = [us / MICROSECONDS for trial in trials if (us := trial.launch.took_us(*stages)) is not None]
    return median(samples) if samples else None


def _seconds(estimate: Estimate) -> str:
    return describe_estimate(estimate, digits=None)
