"""Heavy libraries, imported only for the cost of importing them.

They are libraries that users really import at the top of their modules; nothing in them is called. Which ones are
installed depends on the machine, so the assets report what was imported.
"""

import time
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from synthetic_locations.process import Elapsed

HEAVY_LIBRARIES = ("kubernetes.client", "matplotlib.pyplot", "pandas", "scipy.stats")


@cache
def installed_libraries() -> tuple[str, ...]:
    """Return which of `HEAVY_LIBRARIES` are installed, without importing any."""
    # Checks top-level packages only: finding a submodule would import its package.
    return tuple(name for name in HEAVY_LIBRARIES if find_spec(name.partition(".")[0]))


@cache
def import_heavy() -> Elapsed:
    """Import the installed libraries once; later calls, also in forks of this process, return the first result.

    Raises:
        ImportError: a library is installed but cannot be imported.
    """
    started_s = time.perf_counter()
    for name in installed_libraries():
        import_module(name)
    return Elapsed(time.perf_counter() - started_s)
