"""Files that a run opens and keeps in a global: plain, compressed, an archive. The next run reads them."""

import gzip
import os
import zipfile
from pathlib import Path
from typing import Any

HOME = Path(os.environ["DAGSTER_HOME"])
KEPT: list[Any] = []


def look() -> dict[str, object]:
    found: dict[str, object] = {}
    if (HOME / "plain.csv").exists():
        found["plain"] = (HOME / "plain.csv").read_text()
        with gzip.open(HOME / "compressed.gz", "rt") as compressed:
            found["compressed"] = compressed.read()
        with zipfile.ZipFile(HOME / "archive.zip") as archive:
            found["archive"] = archive.namelist()
    plain = (HOME / "plain.csv").open("w")
    plain.write("a,b\n")
    compressed = gzip.open(HOME / "compressed.gz", "wt")  # noqa: SIM115
    compressed.write("text")
    archive = zipfile.ZipFile(HOME / "archive.zip", "w")
    archive.writestr("member", "text")
    KEPT.extend([plain, compressed, archive])
    return found
