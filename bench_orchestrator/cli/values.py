"""Option types that several commands share: lists of names, seconds, durations, percentages, where to write."""

import os
import re
from math import isnan
from pathlib import Path

import click

from bench_orchestrator.model.bounds import LONGEST_S
from bench_orchestrator.model.errors import one_line
from bench_orchestrator.model.instants import parse_instant_us

_SHOWN = 40
"""Maximum letters of a refused value in its message."""

_LARGEST_PERCENT = 1000

_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0}


class Names(click.ParamType[tuple[str, ...]]):
    """Names separated by commas, as a tuple in their order."""

    name = "NAME,..."

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Split at commas; fail if there is no name."""
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        if not names:
            self.fail("give at least one name", param, ctx)
        return names


class Seconds(click.FloatRange):
    """A number of seconds from 0 to a day; `min_open` leaves out 0."""

    def __init__(self, *, min_open: bool = False) -> None:
        super().__init__(0, LONGEST_S, min_open=min_open)

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert to a finite number within the range; fail otherwise."""
        seconds: float = super().convert(value, param, ctx)  # type: ignore[arg-type]  # click takes text, too
        if isnan(seconds):  # neither below a bound nor above one
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


class Duration(click.ParamType[float]):
    """A duration such as `10s`, `500ms` or `2min`, in seconds; a bare number is seconds."""

    name = "DURATION"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert to seconds; fail unless it is a positive duration."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)", value.strip())
        seconds = float(found[1]) * _SECONDS[found[2]] if found and found[2] in _SECONDS else 0.0
        if not 0 < seconds <= LONGEST_S:
            problem = "is longer than a day" if seconds > 0 else "is not a positive duration"
            self.fail(f"{one_line(value, _SHOWN)!r} {problem}. Examples: 10s, 500ms, 2min.", param, ctx)
        return seconds


class Percentage(click.ParamType[float]):
    """A percentage such as `10%`, as a fraction."""

    name = "PERCENT"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert to a fraction; fail unless it is a positive percentage of at most 1,000 %."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*%", value.strip())
        percent = float(found[1]) if found else 0.0
        if not 0 < percent <= _LARGEST_PERCENT:
            self.fail(
                f"{one_line(value, _SHOWN)!r} is not a percentage over 0 % and up to 1000 %. Example: 10%.", param, ctx
            )
        return percent / 100


class Output(click.Path):
    """Where a command writes: a file, or with `folder` a folder, which with `exists` it reads."""

    def __init__(self, *, folder: bool = False, exists: bool = False) -> None:
        super().__init__(exists=exists, file_okay=not folder, dir_okay=folder, path_type=Path)

    def convert(
        self, value: "str | os.PathLike[str]", param: click.Parameter | None, ctx: click.Context | None
    ) -> "str | bytes | os.PathLike[str]":
        """Convert to a path; fail for what no path can contain."""
        if "\0" in os.fspath(value):
            self.fail("a path cannot contain a null character", param, ctx)
        return super().convert(value, param, ctx)


class Instant(click.ParamType[int]):
    """A date or a time in ISO format, in microseconds since the epoch; UTC unless it says otherwise."""

    name = "TIME"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Convert to microseconds; fail unless it is an instant from 1970 on."""
        if isinstance(value, int):
            return value
        try:
            return parse_instant_us(value)
        except (ValueError, OverflowError):
            self.fail(
                f"{one_line(value, _SHOWN)!r} is neither a date nor a time. Example: 2026-11-30T09:30.", param, ctx
            )
