"""Polling: looks at least once, until the condition holds or the patience is over; and says that it goes on."""

import time

import pytest

from bench_orchestrator.waiting import poll, spaced


class Looks:
    def __init__(self, *seen: int) -> None:
        self.seen = list(seen)
        self.slept: list[float] = []

    def __call__(self) -> int:
        return self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]


def test_it_looks_until_a_look_satisfies_and_rests_in_between() -> None:
    looks = Looks(0, 0, 7, 8)
    assert poll(looks, patience_s=60, every_s=0.5, sleep=looks.slept.append) == 7
    assert looks.slept == [0.5, 0.5]
    assert looks.seen == [8]


@pytest.mark.parametrize("patience_s", [0.0, -3.0])
def test_without_patience_it_looks_once(patience_s: float) -> None:
    looks = Looks(0, 7)
    assert poll(looks, patience_s=patience_s, every_s=0.5, sleep=looks.slept.append) == 0
    assert looks.slept == []


def test_when_the_patience_is_over_it_returns_what_it_saw_last() -> None:
    looks = Looks(1, 2, 3)
    assert poll(looks, lambda seen: seen > 3, patience_s=0.05, every_s=0.01) == 3


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_a_look_raises_ends_the_wait(error: type[BaseException]) -> None:
    def look() -> bool:
        raise error("seen")

    with pytest.raises(error, match="seen"):
        poll(look, patience_s=60, every_s=0.5)


def test_a_long_wait_says_at_intervals_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[float] = []
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    say = spaced(lambda line: said.append(float(line)), 60)
    for clock[0] in (1.0, 59.0, 60.0, 61.0, 119.0, 121.0, 121.0, 500.0):
        say(str(clock[0]))
    assert said == [60, 121, 500]
