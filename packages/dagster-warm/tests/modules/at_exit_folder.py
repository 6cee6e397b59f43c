"""A scratch folder that an exit handler removes."""

import atexit
import shutil
import tempfile
from pathlib import Path

SCRATCH = Path(tempfile.mkdtemp(prefix="scratch-"))
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)


def look() -> dict[str, object]:
    (SCRATCH / "part").write_text("1")
    return {"is_there": SCRATCH.is_dir()}
