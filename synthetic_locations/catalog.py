"""Code locations to point a workspace at: every shape's name is an attribute of this module.

    - python_module:
        module_name: synthetic_locations.catalog
        attribute: a2k
        location_name: a2k

The attribute is a `@dg.definitions` function, made when it is asked for, so that a process which loads one
location pays for that one. Asset keys begin with the attribute's name, whatever the workspace calls the
location.
"""

from collections.abc import Callable
from functools import cache

import dagster as dg

from synthetic_locations.loading import load_definitions
from synthetic_locations.shape import parse_shape

LOCATIONS = ("a10", "a250", "a500", "a2k", "a5k", "a10k", "a1p2k", "a10p10k")
"""The seven locations of the study, after a10, the floor: a location too small to matter."""


def __getattr__(name: str) -> Callable[..., dg.Definitions]:
    """The location of that shape.

    Raises:
        AttributeError: the name begins with an underscore, as what Python and its tools probe for does.
        ValueError: it is not the name of a shape. Not an AttributeError, which Dagster would replace with a
            message of its own, and the user in the UI would not see the grammar.
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
