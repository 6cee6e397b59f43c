"""Heavy libraries, imported for nothing but what that costs.

They are real ones that users import at the top of their modules. Which of them are there depends on the
machine, so the assets report which were imported. Nothing of them is called.
"""

import time
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from synthetic_locations.process import Elapsed

HEAVY_LIBRARIES = ("kubernetes.client", "matplotlib.pyplot", "pandas", "scipy.stats")


@cache
def installed_libraries() -> tuple[str, ...]:
    """Those of `HEAVY_LIBRARIES` that are installed, without importing any."""
    # Only of the package at the top: to find a submodule imports the package that it is in.
    return tuple(name for name in HEAVY_LIBRARIES if find_spec(name.partition(".")[0]))


@cache
def import_heavy() -> Elapsed:
    """Import the libraries that are installed; later calls, in forks of this process too, answer with the first.

    Raises:
        ImportError: one of them is installed and cannot be imported.
    """
    started_s = time.perf_counter()
    for name in installed_libraries():
        import_module(name)
    return Elapsed(time.perf_counter() - started_s)
