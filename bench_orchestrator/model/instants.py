"""Instants and durations: integer microseconds (`_us`), so that sums of stages are exact.

Seconds appear only where a person reads them.
"""

import time

MICROSECONDS = 1_000_000


def now_us() -> int:
    """The wall clock in microseconds since the epoch, which is what Dagster's processes stamp events with."""
    return time.time_ns() // 1_000
