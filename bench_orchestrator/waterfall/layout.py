"""The layout of one launch in time, shown by the chart, the terminal and the JSON output. Pure; its texts are legible.

A waterfall shows one actual launch of any run. For several runs it is the launch with the median lag, because medians
do not add up. Stages are placed end to end by the durations from the timeline, which has corrected clock skew. Steps
and the end of the run are placed by their own clocks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import Any

from bench_orchestrator.analysis.run_queue import describe
from bench_orchestrator.analysis.wording import describe_estimate, describe_outcome
from bench_orchestrator.model.errors import one_line
from bench_orchestrator.model.estimates import Estimate, median
from bench_orchestrator.model.instants import MICROSECONDS, describe_us
from bench_orchestrator.model.launch import Launch, Outcome, Trial
from bench_orchestrator.model.run_queue import Hold
from bench_orchestrator.model.runs import StepSpan
from bench_orchestrator.model.stages import (
    LAG_STAGES,
    BootStage,
    Boundary,
    Origin,
    Piece,
    RunWorker,
    Stage,
    StepWorker,
)
from bench_orchestrator.model.text import legible

_FIRST_STEPS = 20
_LAST_STEPS = 4
_MOST_WARNINGS = 3

_BEFORE_THE_LOG = (Stage.SUBMIT, Stage.PLAN_EVENTS)
_OF_A_STEP_WORKER = (Stage.STEP_BOOT, Stage.STEP_LOAD)
_LAUNCHED = (Boundary.STARTING, Boundary.WORKER_STARTED)
_OF_A_FORK = {"fork_ms", "template_assets", "template_age_s"}
_ANCHORS = (*tuple(Boundary)[2:], Boundary.CREATED, Boundary.REQUESTED)
"""Candidate anchors: clock correction never moves the first known one."""

_ZERO_WORDS: Mapping[Boundary, str] = {
    Boundary.CREATED: "the run's creation",
    Boundary.ENQUEUED: "RUN_ENQUEUED",
    Boundary.STARTING: "RUN_STARTING",
    Boundary.RUN_STARTED: "RUN_START",
}
"""Instants by their names in Dagster's UI."""


_WAITING_WORDS: Mapping[Piece, str] = {
    Stage.SUBMIT: "until it is created",
    Stage.PLAN_EVENTS: "until its plan is written",
    Stage.QUEUE_WAIT: "in the queue",
    Stage.WORKER_BOOT: "waiting for the run worker",
    Stage.WORKER_LOAD: "while the run worker loads the definitions",
    Stage.EXECUTOR_START: "until the executor starts a step",
    Stage.STEP_BOOT: "waiting for the step worker",
    Stage.STEP_LOAD: "while the step worker loads the definitions",
    Stage.STEP_INIT: "while the step's resources start",
}


class UnknownLaunchError(ValueError):
    """No launch matches, or more than one does; the message tells what to do."""


@dataclass(frozen=True)
class Bar:
    """A stage of a launch, or a piece of one, in microseconds from the waterfall's zero."""

    stage: Piece
    start_us: int
    end_us: int

    @property
    def duration_us(self) -> int:
        """The duration in microseconds."""
        return self.end_us - self.start_us


@dataclass(frozen=True)
class Waterfall:
    """A launch laid out in time. All times but `zero_us` are microseconds from its zero."""

    run_id: str
    subject: str
    """What was launched, in words."""
    outcome: str
    """How the run ended, in words: `ok`, `timed out`, `not over`."""
    reason: str
    """One readable line about a failure; empty if the launch succeeded."""
    environment: Mapping[str, Any]
    """The environment of the launch; empty if it was not recorded."""
    executor: StepWorker | None
    run_worker: RunWorker | None
    origin: Origin
    """What asked for the run, if its request is known."""
    known: frozenset[Boundary]
    """The instants that were recorded."""
    zero: Boundary
    """The request, if its time is known; else the first instant of the run's log, with plan events before it."""
    zero_us: int
    """The zero as microseconds since the epoch."""
    bars: tuple[Bar, ...]
    """The finished stages with known durations, each starting at the end of the previous one."""
    boot: tuple[Bar, ...]
    """The pieces that make up worker boot; empty if it is not split."""
    unfinished: Bar | None
    """The stage in which a run without a first step was last seen, up to the run's end if there is one."""
    queue_us: int | None
    init_us: int | None
    lag_us: int | None
    ended_us: int | None
    steps: tuple[StepSpan, ...]
    """The steps in launch order."""
    warnings: tuple[str, ...]
    template: Mapping[str, float]
    """The process that a forked run was forked from; empty otherwise."""
    step_boot: tuple[Bar, ...] = ()
    """The pieces that make up step boot; empty if it is not split."""
    now_us: int | None = None
    """When a run was read that had not ended; None if it had, or if that was not recorded."""
    holds: tuple[Hold, ...] = ()
    """What a run that has not ended waits for."""

    @property
    def zero_words(self) -> str:
        """The zero in words."""
        if self.zero is Boundary.REQUESTED:
            return self.origin.instant
        return _ZERO_WORDS.get(self.zero, self.zero.value.replace("_", " "))

    @property
    def rows(self) -> tuple[Bar, ...]:
        """The stages to show: those that took time, or all if none did, and the unfinished one."""
        pieces = {Stage.WORKER_BOOT: self.boot, Stage.STEP_BOOT: self.step_boot}
        lasting: tuple[Bar, ...] = ()
        for bar in self.bars:
            lasting += tuple(one for one in (bar, *pieces.get(Stage(bar.stage), ())) if one.duration_us)
        return (*lasting, self.unfinished) if self.unfinished else lasting or self.bars

    @property
    def end_us(self) -> int:
        """The latest known instant of the run."""
        steps = [us for step in self.steps for us in (step.launched_us, step.started_us, step.ended_us)]
        known = (0, *(bar.end_us for bar in self.rows), *steps, self.ended_us, self.now_us)
        return max(us for us in known if us is not None)

    def label(self, stage: Piece) -> str:
        """Return the label of a stage's row; the first stage is named after what asked for the run."""
        return self.origin.label if stage is Stage.SUBMIT else stage.row_label

    def process(self, stage: Piece) -> str:
        """Return the process in which a stage ran, as the origin, the template and the step's worker tell."""
        if stage is Stage.SUBMIT:
            return self.origin.process
        if self.template and stage is Stage.WORKER_BOOT:
            return f"{Stage.WORKER_LOAD.process} (forked)"
        if self.run_worker is not None and stage is Stage.WORKER_BOOT:
            return self.run_worker.boot_process
        if self.executor is not None and stage is Stage.STEP_BOOT:
            return self.executor.boot_process
        if self.executor is not None and stage in (Stage.STEP_LOAD, Stage.STEP_INIT):
            return self.executor.process
        return stage.process

    def step_process(self, step: StepSpan) -> str:
        """Return the process in which a step ran."""
        return Stage.WORKER_LOAD.process if step.launched_us is None else self.process(Stage.STEP_LOAD)

    def edges_us(self, step: StepSpan) -> tuple[int, int, int]:
        """Return a step's launch, start and end; an unknown instant takes the value of the next, or the run's end."""
        ended_us = self.end_us if step.ended_us is None else step.ended_us
        started_us = ended_us if step.started_us is None else step.started_us
        return started_us if step.launched_us is None else step.launched_us, started_us, ended_us

    def lag_percent(self, bar: Bar) -> float | None:
        """Return a stage's share of the launch lag in percent; None if it precedes the lag or there is no lag."""
        counts = bar.stage in LAG_STAGES or isinstance(bar.stage, BootStage)
        return 100 * bar.duration_us / self.lag_us if self.lag_us and counts else None


@dataclass(frozen=True)
class Sample:
    """The launches from which a waterfall shows the one with the median lag."""

    lag_s: Estimate
    without_lag: int
    """Launches that did not reach their first step."""


def of_trial(trial: Trial, environment: Mapping[str, Any], launch: Launch | None = None) -> Waterfall:
    """Return the waterfall of a trial, or of one of its launches, measured in this environment.

    Raises UnknownLaunchError if no instant is known: there was no run, or its events have been deleted.
    """
    return of_launch(launch or trial.launch, subject_of(trial), environment)


def subject_of(trial: Trial) -> str:
    """Return what a trial launched, in words."""
    return f"{trial.asset_key} in {trial.location}, trial {trial.number} ({trial.variant}) of {trial.sweep_id}"


def of_launch(
    launch: Launch,
    subject: str,
    environment: Mapping[str, Any] | None = None,
    *,
    now_us: int | None = None,
    step_boot_us: Mapping[BootStage, int] | None = None,
) -> Waterfall:
    """Return the waterfall of any run's launch.

    Args:
        subject: what was launched, in words.
        environment: the environment of the launch, if known.
        now_us: when its log was read, in microseconds since the epoch: until then a run in progress waits.
        step_boot_us: the pieces of step boot, if it is split.

    Raises UnknownLaunchError if no instant is known.
    """
    subject = one_line(subject)
    outcome = "not over" if launch.outcome is None else describe_outcome(launch.outcome)
    known_at_us = {boundary: us for boundary in _ANCHORS if (us := launch.at_us[boundary]) is not None}
    if not known_at_us:
        raise UnknownLaunchError(f"There is nothing to show of {subject}: {outcome}, {legible(launch.reason)}.")
    anchor, anchor_us = next(iter(known_at_us.items()))
    requested = Boundary.REQUESTED in known_at_us
    known_us = {stage: us for stage in Stage if (us := launch.stages_us[stage]) is not None}
    before_log_us = sum(known_us.get(stage, 0) for stage in _BEFORE_THE_LOG)
    zero_us = anchor_us - (before_log_us if requested else 0)
    edges_us = accumulate(known_us.values(), initial=0 if requested else -before_log_us)
    bars = tuple(Bar(stage, *edges) for stage, edges in zip(known_us, pairwise(edges_us), strict=True))

    ended_us = None if launch.ended_us is None else launch.ended_us - zero_us
    waiting_us = None if now_us is None or launch.outcome is not None or ended_us is not None else now_us - zero_us
    unfinished = None
    if launch.lag_us is None:
        reached, since_us = (list(known_us)[-1].end, bars[-1].end_us) if bars else (anchor, 0)
        stage = next(stage for stage in Stage if stage.start is reached)
        unfinished = Bar(stage, since_us, max(since_us, ended_us or waiting_us or since_us))
    return Waterfall(
        run_id=legible(launch.run_id or ""),
        subject=subject,
        outcome=outcome,
        reason=legible(launch.reason),
        environment=environment or {},
        executor=launch.executor,
        run_worker=launch.run_worker,
        origin=launch.origin,
        known=frozenset(known_at_us),
        zero=Boundary.REQUESTED if requested else anchor,
        zero_us=zero_us,
        bars=bars,
        boot=_pieces(bars, Stage.WORKER_BOOT, launch.boot_us),
        unfinished=unfinished,
        queue_us=launch.queue_us,
        init_us=launch.init_us,
        lag_us=launch.lag_us,
        ended_us=ended_us,
        steps=tuple(_shift(step, zero_us) for step in launch.steps),
        warnings=tuple(map(legible, launch.warnings)),
        template=launch.template,
        step_boot=_pieces(bars, Stage.STEP_BOOT, step_boot_us or {}),
        now_us=waiting_us,
    )


def _pieces(bars: Sequence[Bar], stage: Stage, pieces_us: Mapping[BootStage, int]) -> tuple[Bar, ...]:
    """Return the pieces of a stage, end to end from its beginning."""
    begin_us = next((bar.start_us for bar in bars if bar.stage is stage), 0)
    edges_us = pairwise(accumulate(pieces_us.values(), initial=begin_us))
    return tuple(Bar(piece, *edges) for piece, edges in zip(pieces_us, edges_us, strict=True))


def median_waterfall(waterfalls: Sequence[Waterfall]) -> tuple[Waterfall, Sample]:
    """Return the waterfall with the median lag (for an even number, the faster of the middle two) and its sample.

    Raises UnknownLaunchError if none has a lag.
    """
    with_lag = [(one.lag_us, one) for one in waterfalls if one.lag_us is not None]
    if not with_lag:
        raise UnknownLaunchError(f"None of the {len(waterfalls)} runs reached its first step; show one of them alone.")
    with_lag.sort(key=itemgetter(0))
    _, shown = with_lag[(len(with_lag) - 1) // 2]
    lag_s = median([lag_us / MICROSECONDS for lag_us, _ in with_lag])
    return shown, Sample(lag_s, len(waterfalls) - len(with_lag))


def excerpt(steps: Sequence[StepSpan]) -> tuple[Sequence[StepSpan], ...]:
    """Return the steps to show: all of them, or the first and the last if there are many."""
    if len(steps) <= _FIRST_STEPS + _LAST_STEPS:
        return (steps,) if steps else ()
    return steps[:_FIRST_STEPS], steps[-_LAST_STEPS:]


def headline(shown: Waterfall, sample: Sample | None = None) -> str:
    """State the finding in one sentence: the lag and its longest stage, or how far the run got."""
    if shown.lag_us is not None:
        longest = max((bar for bar in shown.bars if bar.stage in LAG_STAGES), key=lambda bar: bar.duration_us)
        in_celery = longest.stage is Stage.STEP_BOOT and shown.executor is StepWorker.CELERY
        what = shown.process(longest.stage) if in_celery else longest.stage.label
        takes = f"{what} takes {describe_us(longest.duration_us)}"
        percent = f"{shown.lag_percent(longest) or 0:.0f} %"
        if sample is not None:
            return f"Median launch lag {describe_estimate(sample.lag_s)}: {takes}, {percent} of the launch shown"
        return f"Launch lag {describe_us(shown.lag_us)}: {takes} ({percent})"
    assert shown.unfinished is not None  # because it has no lag
    if shown.now_us is not None:
        waits = f"{describe_us(shown.unfinished.duration_us)} so far {_WAITING_WORDS[shown.unfinished.stage]}"
        return f"No step has started: {waits}"
    if shown.ended_us is None:
        return f"No step has started; last seen in {shown.unfinished.stage.label}"
    how = "Over" if shown.outcome == Outcome.OK else shown.outcome.capitalize()
    after = f"{describe_us(shown.unfinished.end_us)} after {shown.zero_words}"
    return f"{how} in {shown.unfinished.stage.label}, {after}"


def remarks(shown: Waterfall, sample: Sample | None = None) -> Iterator[str]:
    """Yield further paragraphs: what is shown, which stages are absent, why the launch failed, what is uncertain."""
    yield f"{shown.subject}; run {shown.run_id}."
    if sample is not None:
        yield _describe_sample(sample)
    yield from _describe_beginning(shown)
    absent = [bar.stage for bar in shown.bars if not bar.duration_us]
    if shown.executor is StepWorker.IN_PROCESS:
        yield f"{' and '.join(stage.label for stage in _OF_A_STEP_WORKER).capitalize()}: none, in-process."
        absent = [stage for stage in absent if stage not in _OF_A_STEP_WORKER]
    if shown.executor is StepWorker.CELERY:
        yield "Step boot includes the load of the definitions: a Celery worker reports itself after it."
    if absent:
        yield f"Took no time: {', '.join(stage.label for stage in absent)}."
    if shown.template.keys() >= _OF_A_FORK:
        yield (
            f"Launched warm: forked within {shown.template['fork_ms']:.0f} ms from a template that held "
            f"{shown.template['template_assets']:,.0f} assets and was {shown.template['template_age_s']:,.0f} s old."
        )
    yield from (describe(hold, shown.zero_us + (shown.now_us or 0)) for hold in shown.holds)
    if shown.reason:
        yield f"{shown.outcome.capitalize()}: {shown.reason}"
    if shown.warnings:
        more = len(shown.warnings) - _MOST_WARNINGS
        doubts = [*shown.warnings[:_MOST_WARNINGS], *([f"and {more} more"] if more > 0 else [])]
        yield f"Uncertain: {'; '.join(doubts)}."


def _describe_beginning(shown: Waterfall) -> Iterator[str]:
    """Yield what begins where, for a launch that did not go through all stages before its worker."""
    if Boundary.REQUESTED not in shown.known and Boundary.CREATED in shown.known:
        yield "Begins at the run's creation: nobody recorded the request."
    if Boundary.ENQUEUED in shown.known:
        return
    if not shown.known.isdisjoint(_LAUNCHED):
        yield "Did not queue: its deployment launches runs at once, and queue time begins with RUN_STARTING."
    elif Boundary.RUN_STARTED in shown.known:
        yield "Did not queue: the process that created the run executed it. Until RUN_START all counts as plan events."


def _describe_sample(sample: Sample) -> str:
    n = sample.lag_s.n
    middle = ", the faster of the middle two" if n % 2 == 0 else ""
    covers = f"; the interval covers the median with {100 * sample.lag_s.coverage:.0f} %" if n > 1 else ""
    left_out = f" {sample.without_lag} more did not reach their first step." if sample.without_lag else ""
    return f"Shows the launch with the median lag of n = {n}{middle}{covers}.{left_out}"


def _shift(step: StepSpan, zero_us: int) -> StepSpan:
    """Shift the step's instants to the zero, each at or after the previous one."""
    launched_us, started_us, ended_us = (
        None if us is None else us - zero_us for us in (step.launched_us, step.started_us, step.ended_us)
    )
    if started_us is not None and launched_us is not None:
        started_us = max(launched_us, started_us)
    reached_us = launched_us if started_us is None else started_us
    if ended_us is not None and reached_us is not None:
        ended_us = max(reached_us, ended_us)
    return StepSpan(legible(step.key), launched_us, started_us, ended_us)
