"""A launch laid out in time: properties for any log, and the pictures, read back as a viewer would."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from pictures import check_legible, check_small, words
from rich.console import Console
from samples import CREATED_US, ENVIRONMENT, make_trial, measured_sweep, on_kubernetes, relaunched

from bench_orchestrator.analysis.summary import location_rows
from bench_orchestrator.charts import save, waterfall
from bench_orchestrator.model.instants import MICROSECONDS, describe_us
from bench_orchestrator.model.launch import Outcome, Trial
from bench_orchestrator.model.run_queue import Hold, Holder
from bench_orchestrator.model.runs import RunEvent, RunLog, RunStatus, StepSpan
from bench_orchestrator.model.stages import BootStage, Boundary, Origin, RunWorker, Stage, StepWorker
from bench_orchestrator.timeline.launches import launch_of
from bench_orchestrator.timeline.stages import EVENT_TYPES, timeline
from bench_orchestrator.waterfall.layout import (
    Sample,
    UnknownLaunchError,
    Waterfall,
    excerpt,
    headline,
    median_of,
    of_launch,
    of_trial,
    remarks,
)
from bench_orchestrator.waterfall.text import render_waterfall, summarize_waterfall

LOG = (
    RunEvent("PIPELINE_ENQUEUED", CREATED_US + 200_000),
    RunEvent("PIPELINE_STARTING", CREATED_US + 3_200_000),
    RunEvent("ENGINE_EVENT", CREATED_US + 4_700_000, message="Started process for run (pid: 1)."),
    RunEvent("PIPELINE_FAILURE", CREATED_US + 16_300_000),
)
"""The log of a run whose worker could not load the definitions."""

instants = st.integers(CREATED_US, CREATED_US + 100 * MICROSECONDS)
logs = st.lists(
    st.builds(
        RunEvent,
        type=st.sampled_from(sorted(EVENT_TYPES)),
        time_us=instants,
        step_key=st.sampled_from([None, "a", "b"]),
        message=st.sampled_from(["", "Started process for run (pid: 1)."]),
    ),
    max_size=12,
)
spans = st.builds(StepSpan, st.text(max_size=60), st.none() | instants, st.none() | instants, st.none() | instants)


def with_steps(trial: Trial, count: int, *, own_process: bool = True) -> Trial:
    """Return the launch with this many steps in sequence, each launched for 4 s and running for 0.5 s."""
    starts_us = [(trial.launch.at_us[Boundary.STEP_STARTED] or 0) + number * 4_500_000 for number in range(count)]
    return relaunched(
        trial,
        steps=tuple(
            StepSpan(f"some_group__asset_{number}", start_us - 4_000_000 if own_process else None, start_us, end_us)
            for number, (start_us, end_us) in enumerate((start_us, start_us + 500_000) for start_us in starts_us)
        ),
        ended_us=starts_us[-1] + 700_000,
    )


def in_process(location: str = "a250") -> Trial:
    stages = dict.fromkeys(Stage, 400_000) | {Stage.STEP_BOOT: 0, Stage.STEP_LOAD: 0}
    return relaunched(make_trial(1, location, stages_us=stages), executor=StepWorker.IN_PROCESS)


def failed_run(reason: str = "ModuleNotFoundError: No module named 'warehouse'") -> Waterfall:
    return of_run(RunLog(LOG, reason), Outcome.FAILED)


def of_run(
    log: RunLog, outcome: Outcome | None, requested_us: int | None = None, created_us: int = CREATED_US
) -> Waterfall:
    """Return the waterfall of a run that is not a trial."""
    launch = launch_of("4f2a", log, outcome=outcome, requested_us=requested_us, created_us=created_us)
    return of_launch(launch, "job __ASSET_JOB")


def scheduled_on_celery() -> Trial:
    """Return the launch of a schedule's run whose step waited for a Celery worker."""
    stages = dict.fromkeys(Stage, 400_000) | {Stage.SUBMIT: 40 * MICROSECONDS, Stage.STEP_BOOT: 60 * MICROSECONDS}
    return relaunched(make_trial(stages_us=stages), executor=StepWorker.CELERY, origin=Origin.SCHEDULE)


def waiting(events: Sequence[RunEvent] = LOG[:1], now_us: int = CREATED_US + 120_200_000) -> Waterfall:
    """Return the waterfall of a run that has not ended, and that a limit holds."""
    launch = launch_of("4f2a", RunLog(tuple(events)), outcome=None, requested_us=None, created_us=CREATED_US)
    holder = Holder(
        "9d03e6aa-51c7-4f10-8000-000000000000", "nightly", RunStatus.STARTED, CREATED_US, "load", CREATED_US
    )
    hold = Hold("pool", "the pool db has 1 slot for ops", (holder,), 3, 1, "Raise its limit.")
    return replace(of_launch(launch, "job __ASSET_JOB", now_us=now_us), holds=(hold,))


def of(trial: Trial) -> Waterfall:
    return of_trial(trial, ENVIRONMENT)


DOUBTFUL = relaunched(
    make_trial(), warnings=tuple(f"clocks disagree: instant {n} is 3.000 ms before" for n in range(5))
)
STUCK = relaunched(with_steps(make_trial(), 2), outcome=Outcome.TIMED_OUT, reason="not over 300 s after its request")
STUCK = relaunched(STUCK, steps=(STUCK.launch.steps[0], replace(STUCK.launch.steps[1], started_us=None, ended_us=None)))

each_launch = pytest.mark.parametrize(
    "shown",
    [
        pytest.param(of(with_steps(make_trial(1, "a10k"), 1)), id="multiprocess"),
        pytest.param(of(with_steps(in_process(), 3, own_process=False)), id="in-process"),
        pytest.param(of(with_steps(make_trial(1, "a10k"), 6)), id="6 steps"),
        pytest.param(of(with_steps(make_trial(1, "a10k"), 1_000)), id="1,000 steps"),
        pytest.param(of(with_steps(on_kubernetes(make_trial(1, "a10k")), 1)), id="on Kubernetes"),
        pytest.param(of(with_steps(scheduled_on_celery(), 2)), id="scheduled, on Celery"),
        pytest.param(of(DOUBTFUL), id="doubtful, without steps"),
        pytest.param(of(STUCK), id="stuck in its second step"),
        pytest.param(failed_run(), id="failed"),
        pytest.param(
            of_run(RunLog(), None),
            id="just created",
        ),
        pytest.param(waiting(), id="waiting in the queue"),
    ],
)


def printed(shown: Waterfall, sample: Sample | None = None, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    console.print(render_waterfall(shown, sample))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class TestLayingOut:
    def test_a_launch_begins_at_its_request_and_ends_at_its_time_to_code(self) -> None:
        trial = make_trial(1, "a10k")
        shown = of(trial)
        assert (shown.zero, shown.zero_us) == (Boundary.REQUESTED, trial.launch.at_us[Boundary.REQUESTED])
        assert [bar.stage for bar in shown.bars] == list(Stage)
        assert shown.bars[0].start_us == 0
        assert shown.bars[-1].end_us == trial.launch.time_to_code_us
        assert {bar.stage: bar.duration_us for bar in shown.bars} == trial.launch.stages_us

    def test_without_a_request_zero_is_the_queue_and_plan_events_come_before_it(self) -> None:
        log = RunLog(
            events=(*LOG[:3], RunEvent("PIPELINE_START", LOG[3].time_us), RunEvent("STEP_START", LOG[3].time_us + 9))
        )
        shown = of_run(log, Outcome.OK)
        assert (shown.zero, shown.zero_us) == (Boundary.ENQUEUED, LOG[0].time_us)
        assert (shown.bars[0].stage, shown.bars[0].start_us) == (Stage.PLAN_EVENTS, -200_000)
        assert shown.bars[-1].end_us == shown.lag_us == LOG[3].time_us + 9 - LOG[0].time_us

    def test_on_kubernetes_the_pieces_of_worker_boot_fill_it(self) -> None:
        shown = of(on_kubernetes(make_trial()))
        (whole,) = [bar for bar in shown.bars if bar.stage is Stage.WORKER_BOOT]
        assert [bar.stage for bar in shown.boot] == list(BootStage)
        assert (shown.boot[0].start_us, shown.boot[-1].end_us) == (whole.start_us, whole.end_us)
        assert all(before.end_us == after.start_us for before, after in pairwise(shown.boot))
        rows = [row.stage for row in shown.rows]
        assert rows[rows.index(Stage.WORKER_BOOT) :][1:6] == list(BootStage)
        pieces = summarize_waterfall(shown)["worker_boot"]
        assert [piece["stage"] for piece in pieces] == [stage.value for stage in BootStage]
        assert sum(piece["seconds"] for piece in pieces) == pytest.approx(whole.duration_us / MICROSECONDS)

    def test_a_run_that_failed_shows_the_stage_in_which_it_did(self) -> None:
        shown = failed_run()
        assert shown.unfinished is not None
        assert (shown.unfinished.stage, shown.unfinished.start_us) == (Stage.WORKER_LOAD, 4_500_000)
        assert shown.unfinished.end_us == shown.ended_us == shown.end_us == 16_100_000
        assert headline(shown) == "Failed in worker load, 16.1 s after RUN_ENQUEUED"

    def test_a_run_that_waits_shows_for_how_long_so_far_and_for_what(self) -> None:
        shown = waiting()
        assert headline(shown) == "No step has started: 120.0 s so far in the queue"
        assert shown.unfinished is not None
        assert (shown.unfinished.stage, shown.unfinished.duration_us) == (Stage.QUEUE_WAIT, 120 * MICROSECONDS)
        assert (
            "Held by step load of run 9d03e6aa-51c7-4f10-8000-000000000000 (job nightly, STARTED for 120 s"
            in printed(shown)
        )
        assert "so far" in printed(shown)
        data = json.loads(json.dumps(summarize_waterfall(shown)))
        assert data["so_far_s"] == 120
        assert data["waits_for"][0]["holders"][0]["since_epoch_s"] == CREATED_US / MICROSECONDS

    @given(logs, instants)
    def test_a_run_that_has_not_ended_waits_until_it_was_looked_at(self, events: list[RunEvent], now_us: int) -> None:
        shown = waiting(events, now_us)
        if shown.now_us is None:
            assert shown.ended_us is not None
            return
        assert shown.now_us + shown.zero_us == now_us
        assert shown.end_us >= shown.now_us
        if shown.unfinished is not None:
            assert shown.unfinished.end_us == max(shown.unfinished.start_us, shown.now_us)
        assert printed(shown)
        assert summarize_waterfall(shown)

    def test_a_step_is_shifted_to_the_same_zero_and_never_runs_backwards(self) -> None:
        trial = make_trial()
        zero_us = trial.launch.at_us[Boundary.REQUESTED] or 0
        steps = (StepSpan("a", zero_us + 9, zero_us + 5, zero_us + 7), StepSpan("b", None, zero_us + 3, None))
        shown = of(relaunched(trial, steps=steps))
        assert shown.steps == (StepSpan("a", 9, 9, 9), StepSpan("b", None, 3, None))
        assert shown.edges_us(shown.steps[1]) == (3, 3, shown.end_us)

    def test_a_step_in_the_run_worker_is_initialised_there(self) -> None:
        assert of(in_process()).process(Stage.STEP_INIT) == "run worker"
        assert of(make_trial()).process(Stage.STEP_INIT) == "step worker"

    @pytest.mark.parametrize("worker", StepWorker)
    def test_a_steps_worker_is_named_as_what_it_is(self, worker: StepWorker) -> None:
        shown = of(relaunched(make_trial(), executor=worker))
        names = [shown.process(stage) for stage in (Stage.STEP_BOOT, Stage.STEP_LOAD, Stage.STEP_INIT)]
        assert names == [worker.boot_process, worker.process, worker.process]

    @pytest.mark.parametrize("worker", RunWorker)
    def test_a_runs_worker_is_named_as_what_it_is_unless_it_was_forked(self, worker: RunWorker) -> None:
        trial = relaunched(make_trial(), run_worker=worker)
        assert of(trial).process(Stage.WORKER_BOOT) == worker.boot_process
        assert of(relaunched(trial, template={"fork_ms": 3.0})).process(Stage.WORKER_BOOT) == "run worker (forked)"

    @pytest.mark.parametrize("origin", Origin)
    def test_the_first_stage_is_named_after_what_asked_for_the_run(self, origin: Origin) -> None:
        shown = of(relaunched(make_trial(), origin=origin))
        assert (shown.label(Stage.SUBMIT), shown.process(Stage.SUBMIT)) == (origin.label, origin.process)
        assert (shown.zero_words, summarize_waterfall(shown)["origin"]) == (origin.instant, origin.value)

    def test_of_a_launch_that_never_was_a_run_there_is_none(self) -> None:
        with pytest.raises(UnknownLaunchError, match="rejected, no such job"):
            of(make_trial(outcome=Outcome.REJECTED, reason="no such job"))

    @given(logs, st.none() | instants, instants, st.lists(spans, max_size=3).map(tuple))
    def test_any_log_gives_stages_end_to_end_that_end_at_time_to_code_or_the_lag(
        self, events: list[RunEvent], requested_us: int | None, created_us: int, steps: tuple[StepSpan, ...]
    ) -> None:
        times = timeline(events, requested_us=requested_us, created_us=created_us)
        log = RunLog(events=tuple(events), steps=steps)
        shown = of_run(log, Outcome.FAILED, requested_us, created_us)
        assert {bar.stage: bar.duration_us for bar in shown.bars} == {
            stage: us for stage, us in times.stages_us.items() if us is not None
        }
        assert all(before.end_us == after.start_us for before, after in pairwise(shown.bars))
        if times.lag_us is not None:
            assert shown.unfinished is None
            assert shown.bars[-1].end_us == (times.lag_us if requested_us is None else times.time_to_code_us)
            assert shown.bars[-1].end_us + shown.zero_us == max(
                us for boundary in (first_in_log(times.at_us), Boundary.STEP_STARTED) if (us := times.at_us[boundary])
            )
        else:
            assert shown.unfinished is not None
            assert shown.unfinished.start_us == (shown.bars[-1].end_us if shown.bars else 0)
        assert all(bar.end_us >= bar.start_us for bar in shown.rows)
        for launched_us, started_us, ended_us in map(shown.edges_us, shown.steps):
            assert launched_us <= started_us <= ended_us <= shown.end_us
        assert headline(shown)
        assert printed(shown)
        assert summarize_waterfall(shown)


class TestTheMedian:
    @given(st.lists(st.integers(0, 10**9), min_size=1, max_size=9))
    def test_is_a_launch_that_happened_the_faster_of_two_in_the_middle(self, loads_us: list[int]) -> None:
        trials = [
            make_trial(n, stages_us=dict.fromkeys(Stage, 0) | {Stage.WORKER_LOAD: us}) for n, us in enumerate(loads_us)
        ]
        shown, sample = median_of([of(trial) for trial in trials])
        assert shown.lag_us == sorted(loads_us)[(len(loads_us) - 1) // 2]
        assert sample.lag_s.value == pytest.approx(float(np.median(loads_us)) / MICROSECONDS)
        assert (sample.lag_s.n, sample.without_lag) == (len(loads_us), 0)

    def test_is_that_of_the_tables(self) -> None:
        sweep = measured_sweep(["a10k"])
        (row,) = location_rows(sweep.trials)
        shown, sample = median_of([of(trial) for trial in sweep.trials if trial.measured])
        assert row.median_launch is not None
        assert (shown.lag_us or 0) / MICROSECONDS == row.median_launch.lag_s
        assert sample.lag_s == row.lag_s
        assert headline(shown, sample).startswith(f"Median launch lag {row.median_launch.lag_s:.1f} s [")
        assert "the median lag of n = 5; the interval covers the median with 94 %" in " ".join(remarks(shown, sample))

    def test_leaves_out_and_counts_what_has_no_lag(self) -> None:
        shown, sample = median_of([failed_run(), of(make_trial())])
        assert (shown.run_id, sample.lag_s.n, sample.without_lag) == (of(make_trial()).run_id, 1, 1)
        assert "1 more did not reach their first step" in " ".join(remarks(shown, sample))
        with pytest.raises(UnknownLaunchError, match="None of the 2 runs reached its first step"):
            median_of([failed_run(), failed_run()])


class TestItsWords:
    def test_the_headline_names_the_longest_stage_of_the_lag(self) -> None:
        stages = dict(make_trial().launch.stages_us) | {
            Stage.SUBMIT: 90 * MICROSECONDS,
            Stage.STEP_LOAD: 20 * MICROSECONDS,
        }
        trial = make_trial(stages_us={stage: us or 0 for stage, us in stages.items()})
        lag_us = trial.launch.lag_us or 0
        assert headline(of(trial)) == (
            f"Launch lag {describe_us(lag_us)}: step load takes 20.0 s ({2e9 / lag_us:.0f} %)"
        )

    def test_the_remarks_say_what_is_absent_failed_and_doubtful(self) -> None:
        absent = in_process()
        absent = relaunched(absent, stages_us=dict(absent.launch.stages_us) | {Stage.QUEUE_WAIT: 0})
        assert "Step boot and step load: none, in-process. Took no time: queue wait." in " ".join(remarks(of(absent)))
        assert "Failed: ModuleNotFoundError: No module named 'warehouse'" in " ".join(remarks(failed_run()))
        doubts = " ".join(remarks(of(DOUBTFUL)))
        assert "Uncertain: clocks disagree: instant 0 is 3.000 ms before; " in doubts
        assert doubts.endswith("; and 2 more.")

    def test_a_wait_for_celery_is_named_as_that(self) -> None:
        shown = of(scheduled_on_celery())
        assert headline(shown).endswith(": waiting for a Celery worker takes 60.0 s (96 %)")
        assert "Step boot includes the load of the definitions" in " ".join(remarks(shown))

    def test_the_remarks_say_what_begins_where_and_do_not_doubt_it(self) -> None:
        """A run from the UI, one under a coordinator without a queue, and one that its own process executes."""
        start = (RunEvent("PIPELINE_START", LOG[3].time_us), RunEvent("STEP_START", LOG[3].time_us + 9, "a"))
        unasked = "Begins at the run's creation: nobody recorded the request."
        at_once = "Did not queue: its deployment launches runs at once, and queue time begins with RUN_STARTING."
        itself = "Did not queue: the process that created the run executed it."
        resource = RunEvent("RESOURCE_INIT_STARTED", LOG[3].time_us + 5)
        for before, requested_us, said in (
            (LOG[:3], None, [unasked]),
            (LOG[1:3], None, [unasked, at_once]),
            (LOG[1:3], CREATED_US - 9, [at_once]),
            ((), None, [unasked, itself]),
            (LOG[:3], CREATED_US - 9, []),
        ):
            shown = of_run(RunLog((*before, start[0], resource, start[1])), Outcome.OK, requested_us)
            text = " ".join(remarks(shown))
            assert [words for words in (unasked, at_once, itself) if words in text] == said
            assert (shown.warnings, "Uncertain" in text) == ((), False)

    @given(st.integers(0, 1_100))
    def test_many_steps_are_cut_to_the_first_and_the_last(self, count: int) -> None:
        steps = [StepSpan(str(number), None, number, number) for number in range(count)]
        shown = [step for group in excerpt(steps) for step in group]
        assert shown == (steps if count <= 24 else [*steps[:20], *steps[-4:]])


class TestThePicture:
    @each_launch
    def test_says_its_finding_and_every_stage_with_its_seconds_and_process_small_and_legible(
        self, shown: Waterfall
    ) -> None:
        figure = waterfall(shown)
        text = words(figure)
        assert " ".join(figure.get_suptitle().split()) == headline(shown)
        for bar in shown.rows:
            assert f"{shown.label(bar.stage)} " in text
            assert shown.process(bar.stage) in text
            assert bar is shown.unfinished or describe_us(bar.duration_us) in text
        for remark in remarks(shown):
            assert remark in text
        assert "UTC" in text
        check_small(figure)
        check_legible(figure)

    def test_draws_the_lag_in_its_two_pieces_and_below_it_the_stages_end_to_end(self) -> None:
        trial = make_trial(1, "a10k")
        spans = bars(waterfall(of(trial)), 0)
        queue, init, *stages = spans
        assert all(before[1] == pytest.approx(after[0]) for before, after in pairwise(stages))
        assert queue[0] == pytest.approx(stages[2][0])
        assert queue[1] == init[0] == pytest.approx(stages[4][1])
        assert init[1] == stages[-1][1] == pytest.approx((trial.launch.time_to_code_us or 0) / MICROSECONDS)

    def test_draws_a_step_light_to_its_start_and_solid_to_its_end(self) -> None:
        figure = waterfall(of(with_steps(make_trial(), 2)))
        first_light, first_solid, *_ = bars(figure, 1)
        assert first_light[1] - first_light[0] == pytest.approx(4)
        assert first_solid[1] - first_solid[0] == pytest.approx(0.5)
        assert first_light[1] == pytest.approx(first_solid[0])
        assert len(bars(waterfall(of(with_steps(in_process(), 3, own_process=False))), 1)) == 3

    def test_says_how_many_steps_are_left_out(self) -> None:
        figure = waterfall(of(with_steps(make_trial(), 1_000)))
        assert "976 steps are left out" in words(figure)
        assert [len(ax.get_yticks()) for ax in figure.axes[1:]] == [20, 4]
        widths = [ax.get_xlim()[1] - ax.get_xlim()[0] for ax in figure.axes[1:]]
        assert widths[0] == pytest.approx(widths[1])

    def test_shares_one_scale_unless_the_stages_would_shrink_to_nothing(self) -> None:
        short, long = (waterfall(of(with_steps(make_trial(1, "a10k"), count))) for count in (1, 9))
        assert short.axes[0].get_xlim() == short.axes[1].get_xlim()
        assert long.axes[0].get_xlim()[1] < long.axes[1].get_xlim()[1]

    def test_is_the_same_each_time(self, tmp_path: Path) -> None:
        first, second = (save(waterfall(failed_run()), tmp_path / name, "timeline") for name in "ab")
        assert first.png.read_bytes() == second.png.read_bytes()
        assert first.svg.read_bytes() == second.svg.read_bytes()


class TestInTheTerminal:
    @each_launch
    @pytest.mark.parametrize("width", [80, 120])
    def test_each_stage_has_a_row_with_its_process_its_seconds_and_a_bar(self, shown: Waterfall, width: int) -> None:
        text = printed(shown, width=width)
        lines = text.splitlines()
        assert lines[0] == headline(shown)
        for bar in shown.rows:
            (line,) = [line for line in lines if line.startswith(f"  {shown.label(bar.stage)} ")]
            assert shown.process(bar.stage) in line
            assert describe_us(bar.duration_us) in line
            assert len(line) <= width
            assert ("█" in line) or bar is shown.unfinished
        assert shown.zero_words in text
        for remark in remarks(shown):
            assert remark in text

    def test_steps_have_rows_too(self) -> None:
        text = printed(of(with_steps(make_trial(), 1_000)))
        assert "976 steps are left out" in text
        assert text.count("some_group__asset_") == 24
        assert "░" in text

    @each_launch
    def test_as_data_every_second_is_there(self, shown: Waterfall) -> None:
        data = json.loads(json.dumps(summarize_waterfall(shown)))
        assert [stage["stage"] for stage in data["stages"]] == [bar.stage for bar in shown.bars]
        assert all(stage["process"] for stage in data["stages"])
        assert [step["step"] for step in data["steps"]] == [step.key for step in shown.steps]
        assert (data["lag_s"] is None) == (data["unfinished"] is not None)
        if data["lag_s"] is not None:
            assert sum(stage["lag_percent"] or 0 for stage in data["stages"]) == pytest.approx(100)
        assert data["median_of"] is None

    def test_as_data_a_step_says_whose_process_it_ran_in(self) -> None:
        for trial, process in ((make_trial(), "step worker"), (in_process(), "run worker")):
            shown = of(with_steps(trial, 2, own_process=trial.launch.executor != "in_process"))
            assert {step["process"] for step in summarize_waterfall(shown)["steps"]} == {process}


def bars(figure: Figure, panel: int) -> list[tuple[float, float]]:
    """Return the extents of the bars of one part of a picture, in drawing order."""
    return [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in figure.axes[panel].patches]  # type: ignore[attr-defined]


def first_in_log(at_us: Mapping[Boundary, int | None]) -> Boundary:
    return next(boundary for boundary in tuple(Boundary)[2:] if at_us[boundary] is not None)
