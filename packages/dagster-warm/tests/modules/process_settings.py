"""Settings of the process and of the interpreter."""

import faulthandler
import gc
import os
import resource
import sys

os.umask(0o027)
gc.set_threshold(5_000, 20, 20)
sys.setrecursionlimit(5_000)
faulthandler.enable()
_, HARD = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (0, HARD))


def look() -> dict[str, object]:
    umask = os.umask(0)
    os.umask(umask)
    return {
        "umask": umask,
        "threshold": list(gc.get_threshold()),
        "collects": gc.isenabled(),
        "recursion": sys.getrecursionlimit(),
        "faults": faulthandler.is_enabled(),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
    }
