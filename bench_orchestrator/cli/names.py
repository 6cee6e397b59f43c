"""The option value that several commands take: code locations by name."""

import click


class Names(click.ParamType[tuple[str, ...]]):
    """Names with commas between, as a tuple in their order."""

    name = "NAME,..."

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Split; an empty list is bad usage."""
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        if not names:
            self.fail("give at least one name", param, ctx)
        return names
