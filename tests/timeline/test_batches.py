"""Batches as the steps of a run tell them, with exact values, and inversions held to a count by brute force."""

import pytest
from batch_samples import S, etl_run, run_of, step
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.model.launch import Launch
from bench_orchestrator.timeline.batches import chains, first_load_us, flights, inversions, split_step
from bench_orchestrator.timeline.occupancy import Span, most_at_once


@pytest.mark.parametrize(
    ("key", "stage", "batch"),
    [
        ("load[batch_03]", "load", "batch_03"),
        ("load_batch_03", "load", "batch_03"),
        ("transform_12[batch_000]", "transform_12", "batch_000"),
        ("transform_12_batch_000", "transform_12", "batch_000"),
        ("split", "split", ""),
        ("asset_0000", "asset_0000", ""),
        ("load[other]", "load[other]", ""),
        ("load[batch_1", "load[batch_1", ""),
        ("load_batch_1]", "load_batch_1]", ""),
        ("", "", ""),
    ],
)
def test_a_step_s_key_tells_its_stage_and_batch(key: str, stage: str, batch: str) -> None:
    assert split_step(key) == (stage, batch)


def test_a_batch_is_in_flight_from_its_first_start_to_the_end_of_its_load() -> None:
    steps = (
        step("split", 0, 1),
        step("extract[batch_0]", 1, 3, boot_s=1),
        step("load[batch_0]", 4, 6, boot_s=1),
        step("extract[batch_1]", 2, 4),
        step("load[batch_1]", 7, None),
        step("extract[batch_2]", 8, 9),
    )
    assert flights(run_of(steps)) == [
        Span(2 * S, 6 * S, "run1", "batch_0"),
        Span(2 * S, None, "run1", "batch_1"),
        Span(8 * S, None, "run1", "batch_2"),
    ]
    assert first_load_us(run_of(steps)) == 6 * S


def test_a_run_without_batches_has_none() -> None:
    launch = run_of([step("load", 0, 1), step("asset_0", 0, 1)])
    assert (chains(launch), flights(launch), first_load_us(launch), inversions(launch)) == ({}, [], None, 0)


@pytest.mark.parametrize("static", [False, True])
def test_stage_by_stage_all_batches_are_in_flight_at_once(static: bool) -> None:
    launch = etl_run(4, static=static)
    assert most_at_once(flights(launch)) == 4
    # Each stage's first step waits while the other three batches come to the stage before it.
    assert inversions(launch) == 3 + 3
    assert first_load_us(launch) == (2 + 4 + 4 + 1) * S


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_with_priorities_there_are_no_more_than_slots_and_no_inversions(slots: int) -> None:
    launch = etl_run(6, slots=slots, prioritised=True)
    assert most_at_once(flights(launch)) == slots
    assert inversions(launch) == 0
    assert first_load_us(launch) == (2 + 3) * S


def test_what_counts_is_when_the_executor_began_to_start_a_step() -> None:
    earlier = step("extract[batch_0]", 0, 2)
    waiting = step("load[batch_0]", 5, 6)
    # Begun before the load was ready, started after it.
    assert inversions(run_of([earlier, waiting, step("extract[batch_1]", 1, 4, boot_s=2)])) == 0
    assert inversions(run_of([earlier, waiting, step("extract[batch_1]", 3, 4)])) == 1
    # The moment of an end tells an executor of it; both are begun at one moment.
    assert inversions(run_of([earlier, waiting, step("extract[batch_1]", 2, 4)])) == 1
    assert inversions(run_of([earlier, waiting, step("extract[batch_1]", 5, 6)])) == 0


def test_nothing_is_known_of_a_step_that_was_never_begun() -> None:
    unlaunched = run_of([step("extract[batch_0]", 0, 1), step("extract[batch_1]", 2, 3)])
    assert inversions(unlaunched) == 0
    assert list(chains(unlaunched)) == ["batch_0", "batch_1"]


@st.composite
def runs(draw: st.DrawFn) -> Launch:
    steps = []
    for batch in range(draw(st.integers(1, 5))):
        now_s = 0
        for stage in ("extract", "transform_1", "load"):
            begun_s = now_s + draw(st.integers(0, 6))
            now_s = begun_s + draw(st.integers(1, 4))
            steps.append(step(f"{stage}[batch_{batch}]", begun_s, now_s))
    return run_of(draw(st.permutations(steps)))


@given(runs())
def test_inversions_are_those_of_a_count_by_brute_force(launch: Launch) -> None:
    known = [(stage, one) for steps in chains(launch).values() for stage, one in enumerate(steps)]
    ends_us = {one.key: one.ended_us or 0 for _, one in known}
    before = {one.key: steps[stage - 1].key for steps in chains(launch).values() for stage, one in enumerate(steps)}

    def waits(other: tuple[int, object], at_us: int) -> bool:
        stage, one = other
        key, started_us = one.key, one.started_us  # type: ignore[attr-defined]
        return stage > 0 and ends_us[before[key]] <= at_us < started_us

    counted = sum(
        any(other[0] > stage and waits(other, one.started_us or 0) for other in known) for stage, one in known
    )
    assert inversions(launch) == counted


@given(st.integers(1, 8), st.integers(1, 4), st.booleans())
def test_no_order_has_more_batches_in_flight_than_there_are(batches: int, slots: int, prioritised: bool) -> None:
    launch = etl_run(batches, slots=slots, prioritised=prioritised)
    most = most_at_once(flights(launch))
    assert min(batches, slots) <= most <= (min(batches, slots) if prioritised else batches)
