"""Instants and durations: integer microseconds (`_us`), so that sums of stages are exact.

Seconds appear only in text for people.
"""

import time

MICROSECONDS = 1_000_000


def now_us() -> int:
    """Return the wall clock in microseconds since the epoch, as Dagster's processes stamp events."""
    return time.time_ns() // 1_000
