"""The folder of an execution: its rows, and the table that follows from them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench_orchestrator.atomic import replacing

ROWS, TABLE = "rows.json", "table.md"
"""The names of the files."""


def write_rows(directory: Path, machine: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], table: str) -> None:
    """Write the rows, with the machine that they were measured on, and the table."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = ",\n  ".join(map(json.dumps, rows))
    for name, text in (
        (ROWS, f'{{"machine": {json.dumps(machine)},\n "samples": [\n  {lines}\n ]}}\n'),
        (TABLE, f"{table}\n"),
    ):
        with replacing(directory / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def read_rows(directory: Path) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """Return the machine and the rows."""
    content = json.loads((directory / ROWS).read_text(encoding="utf-8"))
    return content["machine"], content["samples"]
