"""Instants and durations: integer microseconds (`_us`), so that sums of stages are exact.

Seconds appear only in text for people.
"""

import time

MICROSECONDS = 1_000_000


def now_us() -> int:
    """Return the wall clock in microseconds since the epoch, as Dagster's processes stamp events."""
    return time.time_ns() // 1_000


def describe_us(us: int | None, decimals: int | None = None) -> str:
    """Microseconds in seconds as a person reads them: `8.9 s`, `0.24 s`; a dash where they are not known.

    Args:
        decimals: how many; by default 1 from a second on, and 2 below.
    """
    if us is None:
        return "–"
    if decimals is None and 0 < us < 5_000:
        return "<0.01 s"
    if decimals is None:
        decimals = 2 if us < MICROSECONDS else 1
    return f"{us / MICROSECONDS:,.{decimals}f} s"
