"""Option types that several commands share: lists of names, durations."""

import re

import click

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


class Duration(click.ParamType[float]):
    """A duration such as `10s`, `500ms` or `2min`, in seconds; a bare number is seconds."""

    name = "DURATION"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert to seconds; fail unless it is a positive duration."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)", value.strip())
        seconds = float(found[1]) * _SECONDS[found[2]] if found and found[2] in _SECONDS else 0.0
        if seconds <= 0:
            self.fail(f"{value!r} is not a positive duration. Examples: 10s, 500ms, 2min.", param, ctx)
        return seconds
