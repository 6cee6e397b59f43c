"""Temporary folders and files that Python removes at the end of the process."""

import tempfile
from pathlib import Path

FOLDER = tempfile.TemporaryDirectory()
FILE = tempfile.NamedTemporaryFile(suffix=".txt")  # noqa: SIM115


def look() -> dict[str, object]:
    made = tempfile.NamedTemporaryFile()  # noqa: SIM115
    return {"folder": Path(FOLDER.name).is_dir(), "file": Path(FILE.name).exists(), "made": Path(made.name).exists()}


def own() -> dict[str, object]:
    return {"name": tempfile.mktemp()}
