"""Limits are judged at every instant, by runs and by steps; a brute-force count agrees."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.model.launch import Launch, Outcome
from bench_orchestrator.model.runs import StepSpan
from bench_orchestrator.model.stages import Boundary
from bench_orchestrator.model.workload import Limit, Unit
from bench_orchestrator.timeline.occupancy import Span, breaches, empty_times_s, in_progress_s, most_at_once, spans_of

S = 1_000_000


def run(
    name: str,
    start_s: float,
    end_s: float | None,
    role: str = "",
    steps: Sequence[StepSpan] = (),
    enqueued_s: float | None = None,
) -> Launch:
    at_us = dict.fromkeys(Boundary) | {Boundary.STARTING: int(start_s * S)}
    if enqueued_s is not None:
        at_us[Boundary.ENQUEUED] = int(enqueued_s * S)
    return Launch(
        name,
        Outcome.OK,
        at_us=at_us,
        ended_us=None if end_s is None else int(end_s * S),
        role=role,
        steps=tuple(steps),
    )


def step(key: str, start_s: float, end_s: float | None) -> StepSpan:
    return StepSpan(key, None, int(start_s * S), None if end_s is None else int(end_s * S))


def test_a_run_that_starts_when_another_ends_keeps_the_limit() -> None:
    assert not [*breaches(Limit("a limit", 1), [run("a", 0, 2), run("b", 2, 3)])]


def test_the_run_that_started_beside_too_many_is_named() -> None:
    (breach,) = breaches(Limit("a limit", 1), [run("b", 1.999999, 3), run("a", 0, 2)])
    assert breach.run_id == "b"
    assert breach.what == "a limit was not kept: run b started beside 1 others under a limit of 1"


def test_a_run_without_an_end_holds_its_slot_for_ever() -> None:
    assert [breach.run_id for breach in breaches(Limit("a limit", 1), [run("a", 0, None), run("b", 999, 1_000)])] == [
        "b"
    ]


def test_only_the_roles_of_a_limit_count() -> None:
    runs = [run("a", 0, 9, "x"), run("b", 1, 9, "y"), run("c", 2, 9, "x")]
    assert [breach.run_id for breach in breaches(Limit("a limit", 1, ("x",)), runs)] == ["c"]
    assert not [*breaches(Limit("a limit", 1, ("y",)), runs)]


def test_a_limit_of_steps_counts_steps() -> None:
    runs = [run("a", 0, 9, steps=[step("one", 1, 3), step("two", 3, 5)]), run("b", 0, 9, steps=[step("one", 4, 6)])]
    (breach,) = breaches(Limit("pool p", 1, unit=Unit.STEPS), runs)
    assert breach.run_id == "b"
    assert "step one of run b started beside 1 others" in breach.what


def test_a_limit_on_runs_that_exist_counts_the_queue() -> None:
    def queued(name: str, created_s: float, start_s: float, end_s: float) -> Launch:
        launch = run(name, start_s, end_s)
        return replace(launch, at_us={**launch.at_us, Boundary.CREATED: int(created_s * S)})

    runs = [queued("a", 0, 1, 3), queued("b", 2, 4, 5), queued("c", 5, 6, 7)]
    assert not [*breaches(Limit("a limit", 1), runs)]
    (breach,) = breaches(Limit("a limit", 1, unit=Unit.RUNS_AND_QUEUED), runs)
    assert breach.run_id == "b"


def test_a_killed_step_ends_with_its_run() -> None:
    runs = [run("a", 0, 2, steps=[step("one", 1, None)]), run("b", 0, 9, steps=[step("one", 2, 6)])]
    assert not [*breaches(Limit("pool p", 1, unit=Unit.STEPS), runs)]


def test_a_raised_limit_holds_from_then_on() -> None:
    runs = [run("a", 0, 9), run("b", 1, 9), run("c", 5, 9), run("d", 6, 9)]
    assert [breach.run_id for breach in breaches(Limit("a limit", 1), runs, [(5 * S, 3)])] == ["b", "d"]


def test_a_run_that_never_started_holds_nothing() -> None:
    waiting = Launch("a", Outcome.CANCELED)
    assert spans_of(Limit("a limit", 1), [waiting, run("b", 1, 2)]) == [Span(S, 2 * S, "b")]


def test_time_in_progress_sums_all_spans() -> None:
    assert in_progress_s(spans_of(Limit("a limit", 1), [run("a", 0, 2), run("b", 1, 2.5), run("c", 1, None)])) == 3.5


class TestEmptySlots:
    def test_one_is_empty_from_its_holders_end_to_the_start_of_a_run_that_waited(self) -> None:
        assert empty_times_s(Limit("a limit", 1), [run("a", 0, 2), run("b", 3.5, 4, enqueued_s=1)]) == [1.5]

    def test_without_a_run_that_waited_it_does_not_count(self) -> None:
        runs = [run("a", 0, 2), run("b", 3.5, 4, enqueued_s=2), run("c", 9, 10)]
        assert empty_times_s(Limit("a limit", 1), runs) == []

    def test_slots_that_were_never_held_are_taken_first(self) -> None:
        assert empty_times_s(Limit("a limit", 2), [run("a", 0, 2), run("b", 3, 4, enqueued_s=0)]) == []

    def test_of_several_the_one_that_has_been_empty_for_longest_is_taken(self) -> None:
        runs = [run("a", 0, 2), run("b", 0, 3), run("c", 5, 9, enqueued_s=0), run("d", 6, 9, enqueued_s=0)]
        assert empty_times_s(Limit("a limit", 2), runs) == [3, 3]

    def test_slots_by_which_the_limit_was_raised_do_not_count(self) -> None:
        runs = [run("a", 0, 9), *(run(name, 4, 9, enqueued_s=0) for name in "bc"), run("d", 11, 12, enqueued_s=0)]
        assert empty_times_s(Limit("a limit", 1), runs) == [2]

    def test_a_runs_next_step_did_not_wait_when_the_slot_became_empty(self) -> None:
        own = run("a", 0, 9, steps=[step("one", 1, 2), step("two", 2.5, 3)], enqueued_s=0)
        other = run("b", 0, 9, steps=[step("one", 4, 5)], enqueued_s=0)
        assert empty_times_s(Limit("pool p", 1, unit=Unit.STEPS), [own, other]) == [1]

    def test_a_killed_step_leaves_its_slot_when_its_run_ends(self) -> None:
        killed = run("a", 0, 2, steps=[step("one", 1, None)], enqueued_s=0)
        other = run("b", 0, 9, steps=[step("one", 7, 8)], enqueued_s=0)
        assert empty_times_s(Limit("pool p", 1, unit=Unit.STEPS), [killed, other]) == [5]


SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 15) | st.none()), max_size=25)


@given(SPANS, st.integers(1, 5))
def test_the_count_is_that_of_every_instant(drawn: list[tuple[int, int | None]], slots: int) -> None:
    runs = [
        run(str(number), start, None if length is None else start + length)
        for number, (start, length) in enumerate(drawn)
    ]
    spans = spans_of(Limit("a limit", slots), runs)

    def at(instant_us: int) -> int:
        return sum(span.start_us <= instant_us and (span.end_us is None or instant_us < span.end_us) for span in spans)

    most = max((at(span.start_us) for span in spans), default=0)
    assert most_at_once(spans) == most
    assert bool([*breaches(Limit("a limit", slots), runs)]) == (most > slots)
