"""Instants and durations: integer microseconds (`_us`), so that sums of stages are exact.

Seconds appear only in text for people.
"""

import time
from datetime import UTC, datetime, timedelta

MICROSECONDS = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LATEST_US = 253_402_300_799 * MICROSECONDS
"""The end of the year 9999, the last that calendars know."""


def now_us() -> int:
    """Return the wall clock in microseconds since the epoch, as Dagster's processes stamp events."""
    return time.time_ns() // 1_000


def read_instant_us(told: object) -> int:
    """Return an instant in microseconds since the epoch, from a number or a text from outside.

    Raises:
        ValueError: it is not a whole number, or before 1970 or after 9999.
    """
    whole = isinstance(told, int) or (isinstance(told, str) and told.isascii() and told.isdecimal())
    us = int(told) if whole else -1  # type: ignore[call-overload]  # `whole` says so
    if not 0 <= us <= LATEST_US:
        raise ValueError(f"{str(told)[:40]!r} is not an instant")
    return us


def parse_instant_us(told: str) -> int:
    """Return an instant in microseconds since the epoch, from a date or a time in ISO format; UTC unless it says so.

    Raises:
        ValueError: it is neither, or before 1970.
    """
    instant = datetime.fromisoformat(told)
    return read_instant_us(datetime_us(instant if instant.tzinfo else instant.replace(tzinfo=UTC)))


def datetime_us(moment: datetime) -> int:
    """Return the instant of a time with a zone, in microseconds since the epoch."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def us_datetime(us: int) -> datetime:
    """Return an instant as a time in UTC."""
    return _EPOCH + timedelta(microseconds=us)


def describe_instant(us: int) -> str:
    """Return an instant as a person reads it: `2026-11-30 09:30 UTC`."""
    return f"{us_datetime(us):%Y-%m-%d %H:%M} UTC"


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
