"""A launch's log becomes stages: first examples of the pipeline, then properties of any log."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench_orchestrator.model.runs import RunEvent
from bench_orchestrator.model.stages import INIT_STAGES, QUEUE_STAGES, Boundary, Origin, Stage
from bench_orchestrator.timeline.run_log import fold
from bench_orchestrator.timeline.stages import EVENT_TYPES, STEP_STARTS, Timeline, timeline

WORKER_STARTED = "Started process for run (pid: 3130)."
SUBMITTED = 'Submitting celery task for step "a" to queue "dagster".'
IN_CELERY = "[CeleryExecutor] Executing steps a in celery worker"
IN_A_POD = 'Executing step "a" in Kubernetes job dagster-step-1.'

# As Dagster 1.13 logs the launch of one asset, in its real order but with round instants.
REQUESTED_US, CREATED_US = 0, 40
QUEUED = [
    RunEvent("ASSET_MATERIALIZATION_PLANNED", 50, "a"),
    RunEvent("PIPELINE_ENQUEUED", 60),
    RunEvent("PIPELINE_STARTING", 5_060),
    RunEvent("ENGINE_EVENT", 7_060, message=WORKER_STARTED),
    RunEvent("PIPELINE_START", 9_060),
]
STEP = [
    RunEvent(
        "ENGINE_EVENT",
        9_070,
        message="Executing steps using multiprocess executor: parent process (pid: 3130)",
    ),
    RunEvent("STEP_WORKER_STARTING", 9_160, "a", 'Launching subprocess for "a".'),
    RunEvent("STEP_WORKER_STARTED", 10_160, "a", 'Executing step "a" in subprocess.'),
    RunEvent("RESOURCE_INIT_STARTED", 11_660, "a"),
    RunEvent("RESOURCE_INIT_SUCCESS", 11_670, "a"),
    RunEvent("LOGS_CAPTURED", 11_680),
    RunEvent("STEP_START", 11_690, "a"),
]
END = [
    RunEvent("STEP_SUCCESS", 11_800, "a"),
    RunEvent("PIPELINE_SUCCESS", 12_000),
]
COMPLETE = [*QUEUED, *STEP, *END]
IN_PROCESS_STEP = [
    RunEvent("ENGINE_EVENT", 9_070, message="Executing steps in process (pid: 3130)"),
    RunEvent("RESOURCE_INIT_STARTED", 9_090),
    RunEvent("RESOURCE_INIT_SUCCESS", 9_100),
    RunEvent("STEP_START", 9_120, "a"),
]


def read(events: Sequence[RunEvent]) -> Timeline:
    return timeline(events, requested_us=REQUESTED_US, created_us=CREATED_US)


def without(events: Sequence[RunEvent], *types: str) -> list[RunEvent]:
    return [event for event in events if event.type not in types]


def durations(times: Timeline) -> list[int | None]:
    """Return the stages in order: two before the queue, three of the queue, four of the init time."""
    return [times.stages_us[stage] for stage in Stage]


class TestACompleteLog:
    def test_each_stage_is_the_time_between_two_events(self) -> None:
        times = read(COMPLETE)
        assert times.stages_us == {
            Stage.SUBMIT: 40,  # the request is answered: the run exists
            Stage.PLAN_EVENTS: 20,  # one ASSET_MATERIALIZATION_PLANNED for each asset
            Stage.QUEUE_WAIT: 5_000,  # until the daemon dequeues it
            Stage.WORKER_BOOT: 2_000,  # until the run worker's process logs its start
            Stage.WORKER_LOAD: 2_000,  # until it has loaded all definitions and starts the run
            Stage.EXECUTOR_START: 100,  # until the executor requests a step worker
            Stage.STEP_BOOT: 1_000,  # until the step worker's process logs its start
            Stage.STEP_LOAD: 1_500,  # until it has loaded all definitions, again
            Stage.STEP_INIT: 30,  # until the resources are there and the step starts
        }
        assert times.warnings == ()

    def test_the_headline_figures_are_sums_of_stages(self) -> None:
        times = read(COMPLETE)
        assert times.queue_us == 9_000  # PIPELINE_ENQUEUED to PIPELINE_START
        assert times.init_us == 2_630  # PIPELINE_START to STEP_START
        assert times.lag_us == 9_000 + 2_630
        assert times.time_to_code_us == 40 + 20 + 9_000 + 2_630

    def test_the_instants_are_kept_as_logged(self) -> None:
        at_us = read(COMPLETE).at_us
        assert list(at_us) == list(Boundary)
        assert list(at_us.values()) == [0, 40, 60, 5_060, 7_060, 9_060, 9_160, 10_160, 11_660, 11_690]

    def test_it_has_the_executor_and_the_end(self) -> None:
        times = read(COMPLETE)
        assert times.executor == "multiprocess"
        assert times.ended_us == 12_000

    def test_only_some_types_of_event_matter(self) -> None:
        assert read([event for event in COMPLETE if event.type in EVENT_TYPES]) == read(COMPLETE)

    def test_the_first_step_to_start_is_the_one_measured(self) -> None:
        other = [RunEvent("STEP_WORKER_STARTING", 9_080, "b"), RunEvent("STEP_WORKER_STARTED", 10_100, "b")]
        later = [RunEvent("RESOURCE_INIT_STARTED", 11_685, "b"), RunEvent("STEP_START", 11_900, "b")]
        assert read([*QUEUED, *other, *STEP, *later, *END]) == read(COMPLETE)


class TestStagesThatDoNotExist:
    def test_in_process_steps_have_no_worker_to_boot_and_load(self) -> None:
        times = read([*QUEUED, *IN_PROCESS_STEP, *END])
        assert durations(times) == [40, 20, 5_000, 2_000, 2_000, 30, 0, 0, 30]
        assert times.init_us == 60
        assert times.executor == "in_process"
        assert times.warnings == ()

    def test_resources_may_be_logged_under_the_step_in_process_too(self) -> None:
        keyed = [RunEvent(e.type, e.time_us, "a", e.message) for e in IN_PROCESS_STEP]
        assert read([*QUEUED, *keyed, *END]) == read([*QUEUED, *IN_PROCESS_STEP, *END])

    def test_without_a_queue_the_queue_time_begins_with_the_start(self) -> None:
        """Under DefaultRunCoordinator nothing is enqueued, and the webserver launches the run itself."""
        times = read(without(COMPLETE, "PIPELINE_ENQUEUED"))
        assert durations(times)[:5] == [40, 5_020, 0, 2_000, 2_000]
        assert times.queue_us == 4_000
        assert times.at_us[Boundary.ENQUEUED] is None
        assert times.warnings == ()


class TestMissingInstants:
    @pytest.mark.parametrize(
        ("event_type", "warning", "expected"),
        [
            (
                "PIPELINE_STARTING",
                "starting is not known: worker boot is counted as queue wait",
                [40, 20, 7_000, 0, 2_000, 100, 1_000, 1_500, 30],
            ),
            (
                "ENGINE_EVENT",
                "worker_started is not known: worker load is counted as worker boot",
                [40, 20, 5_000, 4_000, 0, 100, 1_000, 1_500, 30],
            ),
            (
                "PIPELINE_START",
                "run_started is not known: executor start is counted as worker load",
                [40, 20, 5_000, 2_000, 2_100, 0, 1_000, 1_500, 30],
            ),
            (
                "STEP_WORKER_STARTING",
                "step_worker_starting is not known: step boot is counted as executor start",
                [40, 20, 5_000, 2_000, 2_000, 1_100, 0, 1_500, 30],
            ),
            (
                "STEP_WORKER_STARTED",
                "step_worker_started is not known: step load is counted as step boot",
                [40, 20, 5_000, 2_000, 2_000, 100, 2_500, 0, 30],
            ),
            (
                "RESOURCE_INIT_STARTED",
                "resource_init_started is not known: step init is counted as step load",
                [40, 20, 5_000, 2_000, 2_000, 100, 1_000, 1_530, 0],
            ),
        ],
    )
    def test_the_stage_before_takes_the_time_and_a_warning_says_so(
        self, event_type: str, warning: str, expected: list[int]
    ) -> None:
        times = read(without(COMPLETE, event_type))
        assert durations(times) == expected
        assert times.warnings == (warning,)
        assert times.time_to_code_us == 11_690

    def test_without_the_creation_submit_takes_the_plan_events(self) -> None:
        times = timeline(COMPLETE, requested_us=REQUESTED_US, created_us=None)
        assert durations(times)[:3] == [60, 0, 5_000]
        assert times.warnings == ("created is not known: plan events is counted as submit",)

    def test_without_the_request_there_is_no_submit_and_no_time_to_code(self) -> None:
        """No earlier stage could include the time, and zero would be wrong. It is normal, not a doubt."""
        times = timeline(COMPLETE, requested_us=None, created_us=CREATED_US)
        assert durations(times)[:3] == [None, 20, 5_000]
        assert times.time_to_code_us is None
        assert times.lag_us == 11_630
        assert times.warnings == ()

    def test_a_request_of_another_day_is_not_this_runs(self) -> None:
        """Its tag was copied by hand, or is in another unit, or a schedule caught up after days."""
        hour_us = 3_600_000_000
        for origin, apart_us, warning in (
            (Origin.REQUEST, 25 * hour_us, "the request is 25 h before the run's creation: it is not counted"),
            (Origin.SCHEDULE, 50 * hour_us, "the scheduled time is 50 h before the run's creation: it is not counted"),
            (Origin.REQUEST, -30 * hour_us, "the request is 30 h after the run's creation: it is not counted"),
        ):
            times = timeline(COMPLETE, requested_us=CREATED_US - apart_us, created_us=CREATED_US, origin=origin)
            assert times.warnings == (warning,)
            assert (times.at_us[Boundary.REQUESTED], durations(times)[:2]) == (None, [None, 20])
        times = timeline(COMPLETE, requested_us=CREATED_US - 20 * hour_us, created_us=CREATED_US)
        assert (durations(times)[0], times.warnings) == (20 * hour_us, ())

    def test_with_neither_the_lag_remains(self) -> None:
        times = timeline(COMPLETE, requested_us=None, created_us=None)
        assert durations(times)[:3] == [None, None, 5_000]
        assert times.lag_us == 11_630

    def test_a_job_run_by_itself_has_init_time_only(self) -> None:
        """`dg.materialize` logs neither a queue nor the start of a process."""
        times = timeline([QUEUED[-1], *IN_PROCESS_STEP, *END], requested_us=None, created_us=CREATED_US)
        assert (times.queue_us, times.init_us) == (0, 60)
        assert durations(times) == [None, 9_020, 0, 0, 0, 30, 0, 0, 30]
        assert times.warnings == ()


class TestRunsThatDidNotGetThere:
    def test_a_run_still_in_the_queue(self) -> None:
        times = read(QUEUED[:2])
        assert durations(times) == [40, 20, None, None, None, None, None, None, None]
        assert (times.queue_us, times.lag_us, times.time_to_code_us) == (None, None, None)
        assert (times.executor, times.ended_us, times.warnings) == (None, None, ())

    def test_a_run_canceled_in_the_queue(self) -> None:
        times = read([*QUEUED[:2], RunEvent("PIPELINE_CANCELED", 3_000)])
        assert times.ended_us == 3_000
        assert times.queue_us is None

    def test_a_run_worker_that_could_not_load_its_code(self) -> None:
        times = read([*QUEUED[:4], RunEvent("PIPELINE_FAILURE", 8_000)])
        assert durations(times) == [40, 20, 5_000, 2_000, None, None, None, None, None]
        assert times.queue_us is None

    def test_a_step_worker_that_could_not_load_its_code(self) -> None:
        times = read([*QUEUED, *STEP[:3], RunEvent("PIPELINE_FAILURE", 11_000)])
        assert durations(times) == [40, 20, 5_000, 2_000, 2_000, 100, 1_000, None, None]
        assert (times.queue_us, times.init_us, times.lag_us) == (9_000, None, None)
        assert times.executor == "multiprocess"

    def test_resources_that_could_not_start_in_process(self) -> None:
        times = read([*QUEUED, *IN_PROCESS_STEP[:2], RunEvent("PIPELINE_FAILURE", 9_500)])
        assert durations(times)[5:] == [30, 0, 0, None]
        assert times.executor is None

    def test_the_first_step_that_got_anywhere_is_measured(self) -> None:
        of_the_run = RunEvent("RESOURCE_INIT_STARTED", 9_080)
        steps = [RunEvent("STEP_WORKER_STARTING", 9_160, "a"), RunEvent("STEP_WORKER_STARTED", 10_000, "b")]
        times = read([*QUEUED, of_the_run, *steps])
        assert durations(times)[5:] == [100, None, None, None]

    def test_an_empty_log(self) -> None:
        assert durations(read([])) == [40, *[None] * 8]
        nothing = timeline([], requested_us=None, created_us=None)
        assert durations(nothing) == [None] * 9
        assert nothing.warnings == ()


class TestRepeatedAttempts:
    def test_the_user_waits_from_the_first_time_in_the_queue(self) -> None:
        """The first run worker died before it started the run, so the daemon queued the run again."""
        died = [
            RunEvent("PIPELINE_ENQUEUED", 10),
            RunEvent("PIPELINE_STARTING", 20),
            RunEvent("ENGINE_EVENT", 30, message=WORKER_STARTED),
        ]
        times = timeline([*died, *COMPLETE], requested_us=0, created_us=5)
        assert durations(times)[:5] == [5, 5, 5_050, 2_000, 2_000]
        assert times.warnings == ("the run was enqueued 2 times: queue time counts from the first",)

    def test_a_new_attempt_takes_back_what_the_last_one_reached(self) -> None:
        """The worker did not start before its request; the last attempt's worker never reported its start."""
        died = [RunEvent("PIPELINE_STARTING", 100), RunEvent("ENGINE_EVENT", 200, message=WORKER_STARTED)]
        times = read([*QUEUED[:2], *died, QUEUED[2], *COMPLETE[4:]])
        assert times.at_us[Boundary.WORKER_STARTED] is None
        assert durations(times)[2:5] == [5_000, 4_000, 0]
        assert times.warnings == ("worker_started is not known: worker load is counted as worker boot",)

    def test_a_run_that_is_queued_again_waits_in_the_queue(self) -> None:
        """The daemon could not reach its code location, and put it back."""
        again = [*QUEUED[:2], RunEvent("PIPELINE_ENQUEUED", 9_000)]
        times = read(again)
        assert times.at_us[Boundary.STARTING] is None
        assert times.stages_us[Stage.QUEUE_WAIT] is None
        assert read([*again, *QUEUED[1:]]).stages_us == read(QUEUED).stages_us

    def test_a_step_worker_that_was_started_again(self) -> None:
        died = [RunEvent("STEP_WORKER_STARTING", 9_100, "a"), RunEvent("STEP_WORKER_STARTED", 9_110, "a")]
        times = read([*QUEUED, *died, *STEP, *END])
        assert durations(times)[5:] == [100, 1_000, 1_500, 30]

    def test_a_step_whose_first_attempt_died_before_its_start_is_timed_to_its_retry(self) -> None:
        """Dagster writes STEP_RESTARTED in the place of STEP_START."""
        died = [RunEvent("STEP_WORKER_STARTING", 9_100, "a"), RunEvent("STEP_UP_FOR_RETRY", 9_150, "a")]
        retry = [replace(e, type="STEP_RESTARTED") if e.type == "STEP_START" else e for e in STEP]
        second = [replace(e, time_us=e.time_us + 5_000, step_key="b") for e in STEP]
        warning = "a was retried: its first attempt ended before STEP_START; timed to the retry"
        for later in ([], second):
            times = read([*QUEUED, *died, *retry, *later, *END])
            assert times == replace(read(COMPLETE), warnings=(warning,))

    def test_a_retry_of_the_step_comes_after_the_launch(self) -> None:
        retry = [RunEvent(event.type, event.time_us + 9_000, event.step_key, event.message) for event in STEP]
        assert read([*QUEUED, *STEP, *retry]) == read([*QUEUED, *STEP])

    def test_only_the_first_end_counts(self) -> None:
        assert read([*COMPLETE, RunEvent("PIPELINE_FAILURE", 99_000)]).ended_us == 12_000

    def test_a_run_that_was_taken_for_dead_ends_with_its_success(self) -> None:
        assert read([*QUEUED, RunEvent("PIPELINE_FAILURE", 9_000), *STEP, *END]).ended_us == read(COMPLETE).ended_us


class TestClocksThatDisagree:
    def at(self, event_type: str, time_us: int) -> Timeline:
        """Read the complete log with another time for its events of one type."""
        return read(
            [RunEvent(e.type, time_us if e.type == event_type else e.time_us, e.step_key, e.message) for e in COMPLETE]
        )

    def test_the_log_s_order_wins_over_its_timestamps(self) -> None:
        times = self.at("STEP_WORKER_STARTED", 9_040)
        assert times.at_us[Boundary.STEP_WORKER_STARTED] == 9_040
        assert durations(times)[5:] == [100, 0, 2_500, 30]
        assert times.warnings == ("clocks disagree: step_worker_started is 0.120 ms before step_worker_starting",)

    @pytest.mark.parametrize("time_us", [-10_000_000, 10_000_000])
    @pytest.mark.parametrize("event_type", ["PIPELINE_STARTING", "STEP_WORKER_STARTED"])
    def test_an_outlier_within_leaves_the_headline_alone(self, event_type: str, time_us: int) -> None:
        times = self.at(event_type, time_us)
        assert (times.queue_us, times.init_us, times.lag_us) == (9_000, 2_630, 11_630)
        assert len(times.warnings) == 1

    @pytest.mark.parametrize(("time_us", "queue_us"), [(-5_000, 0), (99_000, 11_630)])
    def test_a_run_start_out_of_bounds_leaves_the_lag_alone(self, time_us: int, queue_us: int) -> None:
        times = self.at("PIPELINE_START", time_us)
        assert times.lag_us == 11_630
        assert (times.queue_us, times.init_us) == (queue_us, 11_630 - queue_us)

    @pytest.mark.parametrize(
        ("requested_us", "created_us", "expected"),
        [(-9, 99_000, [69, 0]), (99_000, 40, [0, 20]), (99_000, 88_000, [0, 0])],
    )
    def test_the_request_s_clock_does_not_touch_the_lag(
        self, requested_us: int, created_us: int, expected: list[int]
    ) -> None:
        times = timeline(COMPLETE, requested_us=requested_us, created_us=created_us)
        assert times.lag_us == 11_630
        assert durations(times)[:2] == expected
        assert times.warnings


# Few instants and steps make ties, repeats and reversals common.
TIMES = st.integers(-5, 40)
EVENTS = st.lists(
    st.builds(
        RunEvent,
        type=st.sampled_from([*sorted(EVENT_TYPES), "RUN_LOGS", "STEP_SUCCESS"]),
        time_us=TIMES,
        step_key=st.sampled_from([None, "a", "b"]),
        message=st.sampled_from(["", WORKER_STARTED, "Executing steps in process", SUBMITTED, IN_CELERY, IN_A_POD]),
    ),
    max_size=30,
)


def damaged(log: Sequence[RunEvent]) -> st.SearchStrategy[list[RunEvent]]:
    """Generate the log with some events lost or repeated and with wrong clocks."""
    return st.lists(st.integers(0, 2), min_size=len(log), max_size=len(log)).flatmap(
        lambda copies: st.tuples(
            *(
                st.builds(
                    lambda event, shift: replace(event, time_us=event.time_us + shift),
                    st.just(event),
                    st.sampled_from([0, 0, 0, -3_000, 3_000]),
                )
                for event, count in zip(log, copies, strict=True)
                for _ in range(count)
            )
        ).map(list)
    )


ON_CELERY = [
    *QUEUED,
    RunEvent("ENGINE_EVENT", 9_160, "a", SUBMITTED),
    RunEvent("ENGINE_EVENT", 10_160, "a", IN_CELERY),
    RunEvent("RESOURCE_INIT_STARTED", 11_660, "a"),
    RunEvent("STEP_RESTARTED", 11_690, "a"),
    *END,
]
DAMAGED = damaged(COMPLETE) | damaged(ON_CELERY)
LOGS = EVENTS | DAMAGED
OPTIONAL_TIMES = st.none() | TIMES


def total(times: Timeline, stages: Sequence[Stage]) -> int:
    return sum(us for stage in stages if (us := times.stages_us[stage]) is not None)


class TestAnyLog:
    @given(LOGS, OPTIONAL_TIMES, OPTIONAL_TIMES)
    def test_the_sums_are_exact(self, events: list[RunEvent], requested_us: int | None, created_us: int | None) -> None:
        times = timeline(events, requested_us=requested_us, created_us=created_us)
        if times.queue_us is not None:
            assert times.queue_us == total(times, QUEUE_STAGES)
        if times.init_us is not None:
            assert times.init_us == total(times, INIT_STAGES)
        if times.lag_us is not None:
            assert times.queue_us is not None
            assert times.init_us is not None
            assert times.lag_us == times.queue_us + times.init_us
        if times.time_to_code_us is not None:
            assert None not in times.stages_us.values()
            assert times.time_to_code_us == total(times, list(Stage))
            assert times.lag_us is not None
            assert times.time_to_code_us == total(times, [Stage.SUBMIT, Stage.PLAN_EVENTS]) + times.lag_us

    @given(LOGS, OPTIONAL_TIMES, OPTIONAL_TIMES)
    def test_later_steps_are_not_needed(
        self, events: list[RunEvent], requested_us: int | None, created_us: int | None
    ) -> None:
        kept = fold(events).events
        assert len(kept) <= len(events)
        assert timeline(kept, requested_us=requested_us, created_us=created_us) == timeline(
            events, requested_us=requested_us, created_us=created_us
        )

    @given(LOGS, OPTIONAL_TIMES, OPTIONAL_TIMES)
    def test_no_stage_is_negative_and_the_unknown_ones_are_at_the_ends(
        self, events: list[RunEvent], requested_us: int | None, created_us: int | None
    ) -> None:
        times = timeline(events, requested_us=requested_us, created_us=created_us)
        assert all(us is None or us >= 0 for us in times.stages_us.values())
        known = [us is not None for us in durations(times)]
        if any(known):
            first, last = known.index(True), len(known) - known[::-1].index(True)
            assert all(known[first:last])
            # Before the log, only stages without a beginning are unknown.
            assert first == (0 if requested_us is not None else 1 if created_us is not None else 2)

    @given(LOGS)
    def test_the_figures_are_known_if_and_only_if_their_ends_were_reached(self, events: list[RunEvent]) -> None:
        times = timeline(events, requested_us=0, created_us=0)
        step_started = any(event.type in STEP_STARTS for event in events)
        known = {times.init_us is not None, times.lag_us is not None, times.time_to_code_us is not None}
        assert known == {step_started}
        if times.at_us[Boundary.RUN_STARTED] is not None:
            assert times.queue_us is not None

    @given(LOGS, OPTIONAL_TIMES, OPTIONAL_TIMES, OPTIONAL_TIMES, OPTIONAL_TIMES)
    def test_the_request_never_affects_what_the_log_says(
        self,
        events: list[RunEvent],
        requested_us: int | None,
        created_us: int | None,
        r: int | None,
        c: int | None,
    ) -> None:
        one = timeline(events, requested_us=requested_us, created_us=created_us)
        other = timeline(events, requested_us=r, created_us=c)
        assert durations(one)[2:] == durations(other)[2:]
        assert (one.queue_us, one.init_us, one.lag_us) == (other.queue_us, other.init_us, other.lag_us)

    @given(LOGS)
    def test_the_lag_is_what_the_log_says_wherever_it_can_be(self, events: list[RunEvent]) -> None:
        times = timeline(events, requested_us=0, created_us=0)
        enqueued_us, step_started_us = times.at_us[Boundary.ENQUEUED], times.at_us[Boundary.STEP_STARTED]
        if enqueued_us is not None and step_started_us is not None:
            assert times.lag_us == max(0, step_started_us - enqueued_us)

    @given(LOGS, OPTIONAL_TIMES, OPTIONAL_TIMES)
    def test_an_unclamped_stage_is_the_plain_difference_and_a_clamped_one_has_a_warning(
        self, events: list[RunEvent], requested_us: int | None, created_us: int | None
    ) -> None:
        times = timeline(events, requested_us=requested_us, created_us=created_us)
        known = [us for us in times.at_us.values() if us is not None]
        backwards = any(later < earlier for earlier, later in pairwise(known))
        assert any("clocks disagree" in warning for warning in times.warnings) == backwards
        if not backwards:
            for stage, us in times.stages_us.items():
                start_us, end_us = times.at_us[stage.start], times.at_us[stage.end]
                if start_us is not None and end_us is not None:
                    assert us == end_us - start_us

    @given(st.lists(st.integers(0, 10**16), min_size=len(Boundary), max_size=len(Boundary)).map(sorted))
    @example([7] * len(Boundary))
    def test_a_complete_log_in_order_is_read_as_it_stands(self, instants_us: list[int]) -> None:
        marks = without(COMPLETE, "PIPELINE_SUCCESS")
        marks = [e for e in marks if e.type in EVENT_TYPES and not e.message.startswith("Executing steps")]
        events = [
            RunEvent(mark.type, us, mark.step_key, mark.message)
            for mark, us in zip(marks, instants_us[2:], strict=True)
        ]
        times = timeline(events, requested_us=instants_us[0], created_us=instants_us[1])
        assert times.warnings == ()
        assert durations(times) == [later - earlier for earlier, later in pairwise(instants_us)]

    @given(LOGS)
    def test_a_step_that_started_has_a_worker_and_a_retry_is_said(self, events: list[RunEvent]) -> None:
        times = read(events)
        if times.at_us[Boundary.STEP_STARTED] is not None:
            assert times.executor is not None
            first = next(event for event in events if event.type in STEP_STARTS)
            assert any("retried" in warning for warning in times.warnings) == (first.type == "STEP_RESTARTED")

    @given(LOGS)
    def test_other_types_of_event_do_not_matter(self, events: list[RunEvent]) -> None:
        needed = [event for event in events if event.type in EVENT_TYPES]
        assert read(needed) == read(events)
