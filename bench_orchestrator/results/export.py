"""Export of a sweep's raw rows as CSV and Parquet."""

import json
from itertools import islice
from pathlib import Path

import duckdb

from bench_orchestrator.atomic import replacing
from bench_orchestrator.model.errors import one_line
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.results.rows import COLUMNS, launch_rows

_BATCH = 500
"""Rows per conversion, to bound memory."""


def write_launches(sweep: Sweep, csv: Path, parquet: Path) -> None:
    """Write every launch, in trial order and with all columns, atomically to both files.

    Raises:
        OSError: a file cannot be written.
    """
    structure = json.dumps([{column.name: column.sql_type for column in COLUMNS}])
    rows = (row for trial in sweep.trials for row in launch_rows(trial))
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE launches AS SELECT unnest(from_json('[]'::JSON, ?), recursive := true)", [structure]
        )
        while batch := list(islice(rows, _BATCH)):
            connection.execute(
                "INSERT INTO launches SELECT unnest(from_json(?::JSON, ?), recursive := true)",
                [json.dumps(batch), structure],
            )
        for path, options in ((csv, "FORMAT csv, HEADER"), (parquet, "FORMAT parquet")):
            with replacing(path) as temporary:
                try:
                    connection.execute(f"COPY (FROM launches ORDER BY trial, rowid) TO ? ({options})", [str(temporary)])
                except duckdb.IOException as error:
                    raise OSError(one_line(str(error))) from error
