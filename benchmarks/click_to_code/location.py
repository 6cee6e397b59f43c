"""The launched code location: synthetic assets, and one that is in a pool.

As in `synthetic_locations.catalog`, every shape's name is an attribute of this module.
"""

from collections.abc import Callable
from functools import cache

import dagster as dg

from synthetic_locations.loading import load_definitions
from synthetic_locations.shape import parse_shape

CLICKED = "clicked"
"""The key of the asset that is launched, and the name of its pool."""


@dg.asset(name=CLICKED, pool=CLICKED)
def clicked() -> None:
    """Do nothing."""


@cache
def _merged(name: str) -> dg.Definitions:
    return dg.Definitions.merge(load_definitions(parse_shape(name)), dg.Definitions(assets=[clicked]))


def __getattr__(name: str) -> Callable[..., dg.Definitions]:
    """Return the location of the shape with this name.

    Raises:
        AttributeError: the name begins with an underscore.
    """
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return dg.definitions(lambda: _merged(name))
