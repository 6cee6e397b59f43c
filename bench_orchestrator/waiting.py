"""Waiting for something that this process can only look at."""

import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

_Seen = TypeVar("_Seen")


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
