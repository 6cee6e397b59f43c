"""Instants and durations: the clock, and durations formatted for people."""

import time

import pytest

from bench_orchestrator.model.instants import MICROSECONDS, describe_us, now_us


def test_the_clock_is_the_wall_clock_in_microseconds() -> None:
    before = time.time()
    assert before - 1 <= now_us() / MICROSECONDS <= time.time() + 1


@pytest.mark.parametrize(("duration_us", "text"), [(7_314_000, "7.31 s"), (0, "0.00 s"), (None, "–"), (12, "0.00 s")])
def test_a_duration_reads_as_seconds_with_as_many_decimals_as_asked_for(duration_us: int | None, text: str) -> None:
    assert describe_us(duration_us, decimals=2) == text


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0.00 s"),
        (4_999, "<0.01 s"),
        (5_001, "0.01 s"),
        (-200_000, "-0.20 s"),
        (999_999, "1.00 s"),
        (1_000_000, "1.0 s"),
        (1_234_560_000, "1,234.6 s"),
    ],
)
def test_seconds_have_two_digits_below_one(us: int, text: str) -> None:
    assert describe_us(us) == text
