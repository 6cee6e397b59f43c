"""An object of a run that does something when it is deleted: the next run sees it."""

import os
from pathlib import Path
from typing import Any

LEFT = Path(os.environ["DAGSTER_HOME"], "deleted")
KEPT: list[Any] = []


class Closer:
    def __init__(self) -> None:
        self.descriptor = os.open(LEFT, os.O_CREAT | os.O_WRONLY)

    def __del__(self, write: Any = os.write) -> None:
        write(self.descriptor, b"closed")


def look() -> dict[str, object]:
    was_closed = LEFT.exists() and LEFT.read_text() == "closed"
    KEPT.append(Closer())
    return {"was_closed": was_closed}
