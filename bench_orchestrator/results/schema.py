"""The tables of the results database, their version, and the way from earlier versions to it.

To change the tables: raise `VERSION` and add `sql/migrations/VERSION.sql`, which takes the version before to it. What
makes a new file changes with `rows.COLUMNS` and `sql/schema.sql`; a test holds both ways to the same tables.
"""

from importlib.resources import files

import duckdb

from bench_orchestrator.results.rows import COLUMNS, Column

VERSION = 2
"""1: the first, in files that do not say. 2: a trial may have several launches, each with a row."""


def read_version(connection: duckdb.DuckDBPyConnection) -> int:
    """The version of the file's tables; 0 of a file without any.

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
    """Bring the tables to `VERSION`, or make them, in one transaction: a crash leaves the file as it was.

    Raises:
        duckdb.Error: the file cannot be written, or is no results database.
    """
    connection.execute("BEGIN")
    try:
        version = read_version(connection)
        if version == 0:
            connection.execute(read_sql("schema").replace("{columns}", ",\n    ".join(map(_define, COLUMNS))))
        else:
            for step in range(version + 1, VERSION + 1):
                connection.execute(read_sql(f"migrations/{step}"))
        connection.execute(read_sql("views"))
        connection.execute("CREATE OR REPLACE TABLE schema_version AS SELECT ?::INTEGER AS version", [VERSION])
        connection.execute("COMMIT")
    except duckdb.Error:
        connection.execute("ROLLBACK")
        raise


def read_sql(name: str) -> str:
    """The statements of a file in `sql/`."""
    return (files("bench_orchestrator.results") / "sql" / f"{name}.sql").read_text()


def _define(column: Column) -> str:
    kind = "JSON" if column.is_json else column.sql_type
    return f"{column.name} {kind}{' NOT NULL' if column.required else ''}"
