"""An exit handler that a run registers: the next run sees what it left."""

import atexit
import os
from pathlib import Path

LEFT = Path(os.environ["DAGSTER_HOME"], "left_at_exit")


def look() -> dict[str, object]:
    was_left = LEFT.exists()
    atexit.register(LEFT.touch)
    return {"was_left": was_left}
