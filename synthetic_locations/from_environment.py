"""A code location chosen by environment variables, for containers that share an image.

    BENCH_SHAPE=a2k dagster api grpc -m synthetic_locations.from_environment

`BENCH_SHAPE` is the name of a shape. `BENCH_LOCATION_NAME` replaces it in asset keys, to serve the same shape twice in
one deployment. Run and step workers load the location too and need the same environment.
"""

import os
from collections.abc import Mapping

import dagster as dg

from synthetic_locations.loading import load_definitions
from synthetic_locations.shape import GRAMMAR, parse_shape


def definitions_from(environment: Mapping[str, str]) -> dg.Definitions:
    """Return the definitions that `BENCH_SHAPE` and `BENCH_LOCATION_NAME` describe.

    Raises:
        ValueError: `BENCH_SHAPE` is unset, empty, or not the name of a shape.
    """
    name = environment.get("BENCH_SHAPE")
    if not name:
        raise ValueError(f"Set BENCH_SHAPE to the shape of this code location, such as a250:\n{GRAMMAR}")
    return load_definitions(parse_shape(name), environment.get("BENCH_LOCATION_NAME") or None)


@dg.definitions
def definitions() -> dg.Definitions:
    """Return the location that this process's environment describes; read when Dagster calls it."""
    return definitions_from(os.environ)
