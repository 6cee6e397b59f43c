"""Code locations for a workspace: every shape's name is an attribute of this module.

    - python_module:
        module_name: synthetic_locations.catalog
        attribute: a2k
        location_name: a2k

Each attribute is a `@dg.definitions` function, created on access, so that a process only pays for the location that
it loads. Asset keys begin with the attribute's name, whatever the workspace calls the location.
"""

from collections.abc import Callable
from functools import cache

import dagster as dg

from synthetic_locations.loading import load_definitions
from synthetic_locations.shape import parse_shape

LOCATIONS = ("a10", "a250", "a500", "a2k", "a5k", "a10k", "a1p2k", "a10p10k")
"""The study's seven locations, preceded by a10: a location too small for its size to matter."""


def __getattr__(name: str) -> Callable[..., dg.Definitions]:
    """Return the location of the shape with this name.

    Raises:
        AttributeError: the name begins with an underscore, as attributes that Python and its tools probe for do.
        ValueError: no shape has this name. An AttributeError would not do: Dagster replaces its message, and the
            UI would not show the grammar.
    """
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _location(name)


@cache
def _location(name: str) -> Callable[..., dg.Definitions]:
    shape = parse_shape(name)

    @dg.definitions
    def definitions() -> dg.Definitions:
        return load_definitions(shape)

    return definitions
