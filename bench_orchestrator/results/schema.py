"""The tables of the results database, their version, and the migrations from earlier versions.

To change the tables, increase `VERSION` and add `sql/migrations/VERSION.sql`, which migrates from the previous version.
New files are created from the columns of `rows` and `sql/schema.sql`; a test checks that both ways give the same
tables. What follows from other tables, `sql/derived.sql`, is created anew by each migration.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files

import duckdb

from bench_orchestrator.results.rows import COLUMNS, OBSERVED_COLUMNS, Column

VERSION = 4
"""1: the first version, in files without a version. 2: a trial may have several launches, each with a row. 3: they
have roles. 4: finished runs of any location are observed; the contents
of a sweep have the code servers of its locations."""

_TABLES: Mapping[str, Sequence[Column]] = {"columns": COLUMNS, "observed_columns": OBSERVED_COLUMNS}
"""What `sql/schema.sql` inserts."""

_PLANS_AT_ONCE = 100


def read_version(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the version of the file's tables; 0 if it has none.

    Raises:
        duckdb.Error: the file cannot be read.
    """
    tables = {name for (name,) in connection.execute(read_sql("tables")).fetchall()}
    if "schema_version" in tables:
        found = connection.execute("SELECT version FROM schema_version").fetchone()
        assert found is not None
        return int(found[0])
    return 1 if "launches" in tables else 0


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Migrate the tables to `VERSION`, or create them, in one transaction: a crash leaves the file unchanged.

    Raises:
        duckdb.Error: the file cannot be written, or is not a results database.
    """
    connection.execute("BEGIN")
    try:
        version = read_version(connection)
        if version == 0:
            defined = {name: ",\n    ".join(map(_define, columns)) for name, columns in _TABLES.items()}
            connection.execute(read_sql("schema").format(**defined))
        else:
            for step in range(version + 1, VERSION + 1):
                connection.execute(read_sql(f"migrations/{step}"))
        connection.execute(read_sql("derived"))
        describe_contents(connection)
        connection.execute("CREATE OR REPLACE TABLE schema_version AS SELECT ?::INTEGER AS version", [VERSION])
        connection.execute("COMMIT")
    except duckdb.Error:
        connection.execute("ROLLBACK")
        raise


def describe_contents(connection: duckdb.DuckDBPyConnection, sweep_ids: Sequence[str] | None = None) -> None:
    """Count what these sweeps hold, or all, some at a time: their plans are long."""
    if sweep_ids is None:
        sweep_ids = [sweep_id for (sweep_id,) in connection.execute("SELECT sweep_id FROM sweeps").fetchall()]
    for first in range(0, len(sweep_ids), _PLANS_AT_ONCE):
        batch = sweep_ids[first : first + _PLANS_AT_ONCE]
        connection.execute(read_sql("describe_contents"), {"sweep_ids": batch})


def read_sql(name: str) -> str:
    """Return the statements of a file in `sql/`."""
    return (files("bench_orchestrator.results") / "sql" / f"{name}.sql").read_text()


def _define(column: Column) -> str:
    kind = "JSON" if column.is_json else column.sql_type
    return f"{column.name} {kind}{' NOT NULL' if column.required else ''}"
