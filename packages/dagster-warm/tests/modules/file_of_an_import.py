"""A file that is opened by the import, and that runs write to without closing it."""

import os
from pathlib import Path

PATH = Path(os.environ["DAGSTER_HOME"], "of_an_import.txt")
FILE = PATH.open("a")


def look() -> dict[str, object]:
    lines = len(PATH.read_text().splitlines())
    FILE.write("a line of a run\n")
    return {"lines": lines}
