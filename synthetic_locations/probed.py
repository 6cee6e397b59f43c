"""What the processes of a location with a probe load: an entry of their environment. Needs no Dagster."""

import json
from collections.abc import Mapping

PROBE = "dagster_bench_probe"
"""The key of the probe: an asset that does nothing."""

MODULE, ATTRIBUTE = "synthetic_locations.probe", "definitions"
"""Where a code server finds the location with its probe."""

VARIABLE = "BENCH_PROBED"


def environment_of(options: Mapping[str, str | None]) -> dict[str, str]:
    """Return the entry for a location that `dagster api grpc` would serve with these options.

    Args:
        options: by parameter of Dagster's `get_loadable_targets`: `module_name`, `attribute`, `working_directory`, …
    """
    return {VARIABLE: json.dumps(dict(options))}


def read_options(environment: Mapping[str, str]) -> dict[str, str | None]:
    """Return the options of that entry.

    Raises:
        ValueError: there is none.
    """
    if VARIABLE not in environment:
        raise ValueError(f"{VARIABLE} is not set: it says which code the probe is added to.")
    options: dict[str, str | None] = json.loads(environment[VARIABLE])
    return options
