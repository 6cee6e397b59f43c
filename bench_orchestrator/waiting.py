"""Waiting for something that this process can only look at."""

import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

_Seen = TypeVar("_Seen")

SIGN_OF_LIFE_S = 60.0
"""Seconds between two lines about one long wait."""


def poll(
    look: Callable[[], _Seen],
    until: Callable[[_Seen], bool] = bool,
    *,
    patience_s: float,
    every_s: float,
    sleep: Callable[[float], None] = time.sleep,
) -> _Seen:
    """Look again and again, until a look satisfies or the patience is over; return what the last look saw.

    There is at least one look, and what it raises ends the wait.

    Args:
        until: whether a look satisfies.
        patience_s: seconds from the first look on, after which no other follows.
        every_s: seconds between two looks.
    """
    again = Retrying(
        retry=retry_if_not_result(until),
        stop=stop_after_delay(patience_s),
        wait=wait_fixed(every_s),
        sleep=sleep,
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    return again(look)


def spaced(say: Callable[[str], None], every_s: float = SIGN_OF_LIFE_S) -> Callable[[str], None]:
    """Return a function that says a line only if it, or the call of this function, was `every_s` seconds ago.

    A long wait calls it at every look, so that its log shows that the process lives.
    """
    last = time.monotonic()

    def say_sometimes(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= every_s:
            last = time.monotonic()
            say(line)

    return say_sometimes
