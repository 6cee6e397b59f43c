"""What a run's log tells beyond its launch."""

from collections.abc import Sequence

import pytest
from doctor_samples import event, story_of
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.model.run_queue import LOCATION_AWAY_MESSAGE
from bench_orchestrator.model.runs import RunError, RunEvent
from bench_orchestrator.timeline.run_log import LOG_TYPES, fold
from bench_orchestrator.timeline.story import StoryFold, find_time_limit

S = 1_000_000
BLOCKED = "Step blocked by limit for pool db"

EVENTS = st.lists(
    st.builds(
        RunEvent,
        type=st.sampled_from([*sorted(LOG_TYPES), "ASSET_MATERIALIZATION_PLANNED", "STEP_UP_FOR_RETRY"]),
        time_us=st.integers(0, 10**16),
        step_key=st.sampled_from([None, "a", "b"]),
        message=st.sampled_from(["", BLOCKED, "Step still blocked by limit for pool db", LOCATION_AWAY_MESSAGE]),
        error=st.none() | st.builds(RunError, st.text(max_size=9)),
    ),
    max_size=25,
)


@given(EVENTS)
def test_nothing_is_negative_and_the_log_is_the_same(events: Sequence[RunEvent]) -> None:
    story = story_of(events)
    assert story.log == fold(events)
    assert story.planned >= len(story.planned_assets) >= (story.planned > 0)
    assert story.step_retries == sum(one.type == "STEP_UP_FOR_RETRY" and one.step_key is not None for one in events)
    assert story.retried_us >= 0
    assert all(us >= 0 for us in story.pool_waits_us.values())
    assert story.pool_waits >= len(story.pool_waits_us)


def test_planned_events_are_counted_with_the_assets_that_they_name() -> None:
    planned = [
        event("ASSET_MATERIALIZATION_PLANNED", 0, step, f"job intends to materialize asset {asset}")
        for step, asset in (("a", "a"), ("a", "a"), ("both", "b"), ("both", "c"))
    ]
    story = story_of(planned)
    assert (story.planned, len(story.planned_assets)) == (4, 3)


def test_a_retry_costs_the_failed_attempt_and_the_wait_after_it() -> None:
    story = story_of(
        [
            event("STEP_START", 10, "a"),
            event("STEP_UP_FOR_RETRY", 13, "a"),
            event("STEP_RESTARTED", 15, "a"),
            event("STEP_UP_FOR_RETRY", 16, "a"),
            event("STEP_RESTARTED", 20, "a"),
            event("STEP_SUCCESS", 30, "a"),
        ]
    )
    assert (story.step_retries, story.retried_us) == (2, 10 * S)


@pytest.mark.parametrize("begins", ["STEP_START", "STEP_WORKER_STARTING"])
def test_a_step_waits_for_its_pool_until_it_begins(begins: str) -> None:
    story = story_of(
        [
            event("ENGINE_EVENT", 1, "a", BLOCKED),
            event("ENGINE_EVENT", 2, "b", "Step blocked by concurrency limit for key other"),
            event("ENGINE_EVENT", 61, "a", "Step still blocked by limit for pool db"),
            event(begins, 65, "a"),
            event(begins, 66, "a"),
        ]
    )
    assert story.pool_waits_us == {"db": 64 * S}
    assert story.pool_waits == 1


def test_a_code_server_that_is_away_or_late_is_noted() -> None:
    late = "User code server request timed out due to taking longer than 60 seconds to complete."
    chain = RunError("it failed", cause=RunError(f"because:\n{late}"))
    story = story_of(
        [
            event("ENGINE_EVENT", 0, message=f"{LOCATION_AWAY_MESSAGE} into the queue (2 retries remaining)"),
            RunEvent("ENGINE_EVENT", 1, error=chain),
            event("ENGINE_EVENT", 2, error="StatusCode.DEADLINE_EXCEEDED"),
        ]
    )
    assert (story.location_away, story.time_limit) == (1, late)


@pytest.mark.parametrize(("text", "found"), [("Deadline Exceeded", True), ("no such table", False), ("", False)])
def test_a_time_limit_is_told_from_other_errors(text: str, found: bool) -> None:
    assert bool(find_time_limit(text)) is found


def test_a_log_that_was_cut_off_says_so() -> None:
    cut = StoryFold()
    cut.take(event("STEP_START", 1, "a"))
    assert cut.code_reached
    assert not cut.story(whole=False).whole
