"""Tables in an asset's metadata."""

from collections.abc import Mapping, Sequence

import dagster as dg

from bench_orchestrator.results.rows import COLUMNS


def metadata_table(rows: Sequence[Mapping[str, str | int | float | None]]) -> dg.TableMetadataValue:
    """Show rows as a table; all have the same columns. A column's type is that of its first known value."""
    columns = list(rows[0]) if rows else []
    known = {name: next((row[name] for row in rows if row[name] is not None), "") for name in columns}
    return dg.MetadataValue.table(
        [dg.TableRecord(dict(row)) for row in rows],
        dg.TableSchema(
            [dg.TableColumn(name, dg.TableMetadataValue.infer_column_type(value)) for name, value in known.items()]
        ),
    )


def describe_measurements() -> dict[str, dg.TableSchema | str]:
    """Return the columns and the name of `launch_measurements` for Dagster's catalog."""
    of_launch = [
        (column.name, "json" if column.is_json else column.sql_type.lower(), column.description, column.required)
        for column in COLUMNS
    ]
    of_sweep = [
        ("launch", "bigint", "The position of the launch in its trial, from 1", True),
        ("sweep_status", "varchar", "complete, canceled, failed", True),
        ("sweep_created_us", "bigint", "When the sweep was planned", True),
        ("environment", "json", "Versions, CPU, launcher, coordinator, storage, limits", True),
    ]
    columns = [
        dg.TableColumn(name, kind, description, dg.TableColumnConstraints(nullable=not required))
        for name, kind, description, required in (*of_launch, *of_sweep)
    ]
    return {"dagster/column_schema": dg.TableSchema(columns), "dagster/table_name": "bench.main.launch_measurements"}
