"""Runs and steps laid out as a Gantt chart: properties for any instants, counts held to a slow count of their own."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from gantt_samples import (
    by_batch,
    by_stage,
    make_launch,
    queue_of_runs,
    run_of_batches,
    three_forms,
    troubled_queue,
)
from hypothesis import given
from hypothesis import strategies as st
from samples import CREATED_US, make_trial

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import OUTCOMES, Launch, Outcome
from bench_orchestrator.model.runs import StepSpan
from bench_orchestrator.model.stages import Boundary
from bench_orchestrator.waterfall.gantt import (
    ChartedRun,
    Curve,
    Gantt,
    Panel,
    Phase,
    Row,
    Segment,
    Unit,
    headline,
    remarks,
)
from bench_orchestrator.waterfall.gantt_layout import MOST_PANELS, by_mapping_key, gantt_of, run_panel, step_panel
from bench_orchestrator.waterfall.layout import UnknownLaunchError

instants = st.integers(CREATED_US, CREATED_US + 60)
known = st.none() | instants
names = st.sampled_from(["a", "a[x]", "a[y]", "b[x]", "b[y]", "g.b[z]", "\u202e"])
launches = st.builds(
    Launch,
    run_id=st.none() | st.text(max_size=12),
    outcome=st.none() | st.sampled_from(Outcome),
    at_us=st.fixed_dictionaries(dict.fromkeys(Boundary, known)),
    ended_us=known,
    steps=st.lists(st.builds(StepSpan, names, known, known, known), max_size=6).map(tuple),
)
runs = st.builds(ChartedRun, launches, group=st.text(max_size=3), read_us=known)


def check(panel: Panel) -> None:
    """Check what holds for every panel: its rows lie within the axis, and their phases are end to end and in order."""
    assert min(row.start_us for row in panel.rows) == 0
    assert panel.makespan_us == max(row.end_us for row in panel.rows)
    for row in panel.rows:
        assert 0 <= row.start_us <= row.end_us <= panel.makespan_us
        assert all(segment.start_us <= segment.end_us for segment in row.segments)
        assert all(before.end_us == after.start_us for before, after in pairwise(row.segments))
        phases = [list(Phase).index(segment.phase) for segment in row.segments]
        assert phases == sorted(set(phases))
        assert not (row.is_open and row.outcome in OUTCOMES.values())


def counted(spans: Iterable[tuple[int, int | None]], us: int) -> int:
    """Count the spans at an instant: each with its start, without its end."""
    return sum(start_us <= us and (end_us is None or us < end_us) for start_us, end_us in spans)


def check_curve(curve: Curve, spans: list[tuple[int, int | None]], end_us: int) -> None:
    """Hold a curve to a count at every instant."""
    numbers = dict(curve.changes)
    assert list(numbers) == sorted(numbers)
    assert curve.changes[0][0] == 0
    number = 0
    for us in range(end_us + 2):
        number = numbers.get(us, number)
        assert number == counted(spans, us)
    assert curve.peak == max(counted(spans, us) for us in range(end_us + 2))
    assert all(before != after for (_, before), (_, after) in pairwise(curve.changes))


class TestRuns:
    @given(st.lists(runs, max_size=8))
    def test_any_runs_have_rows_in_order_and_are_counted_at_every_instant(self, drawn: list[ChartedRun]) -> None:
        begun = [run for run in drawn if any(us is not None for us in run.launch.at_us.values())]
        if not begun:
            with pytest.raises(UnknownLaunchError, match="Nothing is known of any"):
                run_panel(drawn)
            return
        panel = run_panel(drawn)
        check(panel)
        assert len(panel.rows) == len(begun) == len(drawn) - panel.without_row
        assert [row.start_us for row in panel.rows] == sorted(row.start_us for row in panel.rows)
        spans = [
            (segments[0].start_us, None if row.is_open else row.end_us)
            for row in panel.rows
            if (segments := [segment for segment in row.segments if segment.phase is not Phase.QUEUED])
        ]
        check_curve(panel.in_progress, spans, panel.makespan_us)
        shown = Gantt(Unit.RUNS, (panel,))
        assert headline(shown)
        assert all(remarks(shown, 3))

    @given(st.integers(1, 60), st.integers(1, 8))
    def test_as_many_are_in_progress_as_a_limit_lets(self, count: int, limit: int) -> None:
        panel = run_panel(queue_of_runs(count, limit))
        assert panel.in_progress.peak == min(count, limit)
        assert panel.makespan_us == max(row.end_us for row in panel.rows)
        assert headline(Gantt(Unit.RUNS, (panel,))).endswith(f", up to {min(count, limit)} in progress")

    def test_a_row_is_in_the_queue_then_starting_then_at_its_steps(self) -> None:
        (row,) = run_panel([ChartedRun(make_launch(1, 10, 30, 60, 100))]).rows
        assert row.segments == (
            Segment(Phase.QUEUED, 0, 20),
            Segment(Phase.STARTING, 20, 50),
            Segment(Phase.RUNNING, 50, 90),
        )
        assert row.name == "00000001-0000-4000-8000-000000000000"

    def test_without_a_queue_it_begins_when_it_starts_and_in_its_own_process_with_its_run(self) -> None:
        launch = make_launch(1, None, 30, 60, 100)
        assert run_panel([ChartedRun(launch)]).rows[0].since(Phase.STARTING) == 0
        itself = replace(launch, at_us={**launch.at_us, Boundary.STARTING: None, Boundary.RUN_STARTED: CREATED_US + 40})
        (row,) = run_panel([ChartedRun(itself)]).rows
        assert row.segments == (Segment(Phase.STARTING, 0, 20), Segment(Phase.RUNNING, 20, 60))

    def test_one_that_is_only_created_waits(self) -> None:
        launch = make_launch(1, None, outcome=None)
        created = replace(launch, at_us={**launch.at_us, Boundary.CREATED: CREATED_US})
        (row,) = run_panel([ChartedRun(created, read_us=CREATED_US + 9)]).rows
        assert (row.segments, row.is_open) == ((Segment(Phase.QUEUED, 0, 9),), True)

    def test_what_failed_was_canceled_or_goes_on_is_marked(self) -> None:
        shown = gantt_of(troubled_queue())
        assert [row.outcome for row in shown.rows] == [None, Outcome.FAILED, Outcome.CANCELED, None, None]
        assert [row.is_open for row in shown.rows] == [False, False, False, True, True]
        assert [row.end_us // MICROSECONDS for row in shown.rows] == [6, 5, 4, 12, 12]
        assert headline(shown) == "5 runs in 12.0 s so far, up to 2 in progress, 1 failed, 1 canceled"
        assert shown.groups == ("job_0", "job_1")
        assert list(remarks(shown, 3)) == [
            "3 runs of job_0, 2 runs of job_1.",
            "A run is in progress from RUN_STARTING to its end.",
            "Rows left out, evenly: 2 of 5. The counts above the rows have all of them.",
            "2 runs had no end when this was read.",
        ]

    def test_one_that_timed_out_has_no_end_and_is_drawn_as_far_as_it_is_known(self) -> None:
        late = make_launch(1, 0, 10, 20, None, Outcome.TIMED_OUT, [StepSpan("a", None, CREATED_US + 20, None)])
        (row,) = run_panel([ChartedRun(late, read_us=CREATED_US + 99)]).rows
        assert (row.outcome, row.is_open, row.end_us) == (Outcome.TIMED_OUT, True, 20)

    def test_launches_without_a_run_are_said_to_have_no_row(self) -> None:
        rejected = ChartedRun(make_trial(outcome=Outcome.REJECTED).launch)
        shown = gantt_of([rejected, *queue_of_runs(2, 1)])
        assert "Without a row, because nothing is known of them: 1 run." in list(remarks(shown, 9))
        for nothing in ([], [rejected]):
            with pytest.raises(UnknownLaunchError, match="Nothing is known of any"):
                gantt_of(nothing)


class TestSteps:
    @given(runs)
    def test_any_steps_have_rows_in_order_and_are_counted_at_every_instant(self, run: ChartedRun) -> None:
        begun = [step for step in run.launch.steps if (step.launched_us, step.started_us, step.ended_us) != (None,) * 3]
        if not begun:
            with pytest.raises(UnknownLaunchError, match="launched no step"):
                step_panel(run)
            return
        panel = step_panel(run)
        check(panel)
        assert len(panel.rows) == len(begun)
        starts = [row.since(Phase.RUNNING) for row in panel.rows]
        started = [us for us in starts if us is not None]
        assert starts == [*sorted(started), *[None] * (len(starts) - len(started))]
        spans = [
            (start_us, None if row.is_open else row.end_us)
            for row in panel.rows
            if (start_us := row.since(Phase.RUNNING)) is not None
        ]
        check_curve(panel.in_progress, spans, panel.makespan_us)
        batches = [list(rows_of(panel, batch)) for batch in "xyz"]
        if any(len(rows) > 1 for rows in batches):
            assert panel.in_flight is not None
            check_curve(panel.in_flight, [span for rows in batches for span in span_of(rows)], panel.makespan_us)
        else:
            assert panel.in_flight is None
        assert headline(Gantt(Unit.STEPS, (panel,)))

    def test_a_row_is_launched_then_at_work(self) -> None:
        step = StepSpan("load[b1]", CREATED_US + 5, CREATED_US + 25, CREATED_US + 60)
        (row,) = step_panel(ChartedRun(make_launch(1, 0, 1, 25, 99, steps=[step]))).rows
        assert row == Row(
            "load[b1]", "load", (Segment(Phase.STARTING, 0, 20), Segment(Phase.RUNNING, 20, 55)), None, False
        )

    @pytest.mark.parametrize(
        ("outcome", "ended_us", "expected"),
        [
            (Outcome.CANCELED, 90, (Outcome.CANCELED, False, 90)),
            (Outcome.OK, 90, (None, False, 90)),
            (None, None, (None, True, 120)),
            (Outcome.TIMED_OUT, None, (Outcome.TIMED_OUT, True, 30)),
        ],
    )
    def test_one_without_an_end_ends_with_its_run(
        self, outcome: Outcome | None, ended_us: int | None, expected: tuple[Outcome | None, bool, int]
    ) -> None:
        steps = [StepSpan("a", None, CREATED_US, CREATED_US + 9), StepSpan("b", None, CREATED_US + 30, None)]
        launch = make_launch(1, None, None, 0, ended_us, outcome, steps)
        _, row = step_panel(ChartedRun(launch, read_us=CREATED_US + 120)).rows
        assert (row.outcome, row.is_open, row.end_us) == expected

    def test_a_run_without_one_says_how_to_see_why(self) -> None:
        for outcome, said in ((None, "has launched no step yet"), (Outcome.FAILED, "launched no step.")):
            with pytest.raises(UnknownLaunchError, match=rf"{said}.*bench timeline 00000001-"):
                gantt_of([ChartedRun(make_launch(1, 0, 5, None, None, outcome))], steps=True)

    def test_a_single_run_is_shown_by_its_steps_or_else_by_itself(self) -> None:
        assert gantt_of([run_of_batches(2, 1, by_stage)]).unit is Unit.STEPS
        assert gantt_of(queue_of_runs(1, 1)).unit is Unit.RUNS
        assert gantt_of([run_of_batches(2, 1, by_stage)] * 2).unit is Unit.RUNS

    def test_of_several_runs_each_has_a_panel_and_there_is_a_limit(self) -> None:
        shown = gantt_of([run_of_batches(2, 1, by_stage)] * MOST_PANELS, steps=True)
        assert [panel.title for panel in shown.panels] == ["run 00000007"] * MOST_PANELS
        with pytest.raises(UnknownLaunchError, match="The steps of 7 runs do not fit on a chart: give at most 6"):
            gantt_of([run_of_batches(2, 1, by_stage)] * (MOST_PANELS + 1), steps=True)

    def test_a_run_that_did_not_end_well_says_why(self) -> None:
        run = run_of_batches(2, 1, by_stage)
        failed = replace(run, launch=replace(run.launch, outcome=Outcome.FAILED, reason="ValueError: no\nrows."))
        said = next(remarks(gantt_of([failed]), 9))
        assert said == f"job etl; run {run.launch.run_id}; failed: ValueError: no rows."

    @pytest.mark.parametrize(
        ("key", "parts"),
        [
            ("extract", ("extract", "")),
            ("extract[batch_3]", ("extract", "batch_3")),
            ("etl.load[b]", ("etl.load", "b")),
            ("[b]", ("[b]", "")),
            ("load[]", ("load[]", "")),
            ("", ("", "")),
        ],
    )
    def test_a_key_is_split_into_group_and_batch(self, key: str, parts: tuple[str, str]) -> None:
        assert by_mapping_key(key) == parts


class TestBatches:
    def test_fewer_are_in_flight_where_the_priority_rises_along_the_chain(self) -> None:
        static, dynamic, rising = three_forms(batches=9, slots=3).panels
        assert [panel.in_flight.peak for panel in (static, dynamic, rising) if panel.in_flight] == [9, 9, 3]
        assert {panel.in_progress.peak for panel in (static, dynamic, rising)} == {3}
        first_load = [
            min(row.since(Phase.RUNNING) or 0 for row in panel.rows if row.group == "load")
            for panel in (dynamic, rising)
        ]
        assert first_load[1] < first_load[0]

    def test_the_panels_share_one_axis_and_one_list_of_groups(self) -> None:
        shown = three_forms(batches=9, slots=3)
        assert shown.end_us == max(panel.makespan_us for panel in shown.panels)
        assert shown.groups == ("extract", "transform", "load")
        assert headline(shown).startswith("Makespan: static ")
        assert "dynamic map: job etl; run 00000007-0000-4000-8000-000000000000." in list(remarks(shown, 99))

    def test_of_many_panels_the_headline_names_the_shortest_and_the_longest(self) -> None:
        panels = [run_panel(queue_of_runs(count, 1), f"{count} runs") for count in (3, 1, 5, 2, 4)]
        assert headline(Gantt(Unit.RUNS, tuple(panels))) == "Makespan: from 1 runs 3.0 s to 5 runs 15.0 s"
        assert headline(Gantt(Unit.RUNS, tuple(panels[:2]))) == "Makespan: 3 runs 9.0 s, 1 runs 3.0 s"

    def test_groups_that_tell_nothing_are_none(self) -> None:
        assert gantt_of(queue_of_runs(3, 1)).groups == ()
        assert gantt_of([run_of_batches(1, 1, by_batch)]).groups == ()


def test_what_the_environments_share_is_kept() -> None:
    first, second = queue_of_runs(2, 1)
    shown = gantt_of([first, replace(second, environment={**second.environment, "cpu_count": 4})])
    assert shown.environment == {name: value for name, value in first.environment.items() if name != "cpu_count"}


def rows_of(panel: Panel, batch: str) -> Iterable[Row]:
    return (row for row in panel.rows if by_mapping_key(row.name)[1] == batch)


def span_of(rows: list[Row]) -> Iterable[tuple[int, int | None]]:
    """Yield the span of a batch, if one of its steps has started."""
    starts_us = [us for row in rows if (us := row.since(Phase.RUNNING)) is not None]
    if starts_us:
        yield min(starts_us), None if any(row.is_open for row in rows) else max(row.end_us for row in rows)
