"""A code location named by environment variables, for containers that all run one image.

    BENCH_SHAPE=a2k dagster api grpc -m synthetic_locations.from_environment

`BENCH_SHAPE` is the name of a shape. `BENCH_LOCATION_NAME`, which the asset keys begin with, is for two
locations of the same shape in one deployment. Run and step workers load the location too: they need the same
environment.
"""

import os
from collections.abc import Mapping

import dagster as dg

from synthetic_locations.loading import load_definitions
from synthetic_locations.shape import GRAMMAR, parse_shape


def definitions_from(environment: Mapping[str, str]) -> dg.Definitions:
    """The definitions that `BENCH_SHAPE` and `BENCH_LOCATION_NAME` ask for.

    Raises:
        ValueError: `BENCH_SHAPE` is unset or empty, or not the name of a shape.
    """
    name = environment.get("BENCH_SHAPE")
    if not name:
        raise ValueError(f"Set BENCH_SHAPE to what this code location contains, such as a250:\n{GRAMMAR}")
    return load_definitions(parse_shape(name), environment.get("BENCH_LOCATION_NAME") or None)


@dg.definitions
def definitions() -> dg.Definitions:
    """The location of this process's environment, which is read when Dagster asks for it."""
    return definitions_from(os.environ)
