"""Loads a location's definitions, with the user habits that affect loading time."""

import gc
from functools import cache

import dagster as dg

from synthetic_locations.build import build_definitions
from synthetic_locations.shape import Shape


def load_definitions(shape: Shape, location_name: str | None = None) -> dg.Definitions:
    """Return the definitions of a location, for Dagster to load; see `build_definitions`.

    By default they are built once per process, like a user's module-level `defs = dg.Definitions(...)`.

    `rebuilt` builds them at every call, like a user's plain function: Dagster 1.13 calls a `@dg.definitions` function
    twice in a code server and in a run worker.

    `nogc` disables garbage collection from here on, including Dagster's part of the loading. A user needs three lines:
    `gc.disable()` at the top of the module, and `gc.freeze()` and `gc.enable()` at the start of an asset's function
    (`Work.perform`). Two costs follow. Processes that execute no asset never collect cyclic garbage: run workers with
    out-of-process steps until the run ends, and code servers for their whole life. All other processes permanently
    keep the garbage of the loading.

    Raises:
        dagster.DagsterInvalidDefinitionError: Dagster does not allow the location name as part of a name.
        ValueError: the shape is a part and is renamed.
    """
    if shape.nogc:
        gc.disable()
    location = location_name or shape.name
    return build_definitions(shape, location) if shape.rebuilt else _build_once(shape, location)


_build_once = cache(build_definitions)
