"""How a process comes by the definitions of a location: the habits of users that loading time depends on."""

import gc
from functools import cache

import dagster as dg

from synthetic_locations.build import build_definitions
from synthetic_locations.shape import Shape


def load_definitions(shape: Shape, location_name: str | None = None) -> dg.Definitions:
    """The definitions of a location, for Dagster to load; see `build_definitions`.

    They are built once per process, which is what a user's module-level `defs = dg.Definitions(...)` comes to.
    With `rebuilt` they are built at every call, as by a user's plain function: Dagster 1.13 calls a function
    decorated with `@dg.definitions` twice in a code server and in a run worker.

    With `nogc` garbage collection is off from here on, for Dagster's part of the loading too. It takes a user
    three lines: `gc.disable()` at the top of the module, and `gc.freeze()`, `gc.enable()` at the beginning of an
    asset's function (`Work.perform`). It costs that cyclic garbage is not collected in a process that executes no
    asset: a run worker whose steps have processes of their own, until the run ends, and a code server for as long
    as it lives. In the others, the garbage of the loading is kept for good.

    Raises:
        dagster.DagsterInvalidDefinitionError: Dagster does not take the location name as part of a name.
        ValueError: a part has a name of its own.
    """
    if shape.nogc:
        gc.disable()
    location = location_name or shape.name
    return build_definitions(shape, location) if shape.rebuilt else _build_once(shape, location)


_build_once = cache(build_definitions)
