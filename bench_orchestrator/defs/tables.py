"""Tables in an asset's metadata."""

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from bench_orchestrator.results.rows import COLUMNS, OBSERVED_COLUMNS, Column


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
    of_sweep = [
        ("launch", "bigint", "The position of the launch in its trial, from 1", True),
        ("sweep_status", "varchar", "complete, canceled, failed", True),
        ("sweep_created_us", "bigint", "When the sweep was planned", True),
        ("environment", "json", "Versions, CPU, launcher, coordinator, storage, limits", True),
    ]
    return _describe("launch_measurements", [*map(_entry, COLUMNS), *of_sweep])


def describe_observed() -> dict[str, dg.TableSchema | str]:
    """Return the columns and the name of `observed_launches` for Dagster's catalog."""
    return _describe("observed_launches", map(_entry, OBSERVED_COLUMNS))


def _entry(column: Column) -> tuple[str, str, str, bool]:
    kind = "json" if column.is_json else column.sql_type.lower()
    return column.name, kind, column.description, column.required


def _describe(name: str, entries: Iterable[tuple[str, str, str, bool]]) -> dict[str, dg.TableSchema | str]:
    """Describe a table of the results database.

    Args:
        entries: the name, type and description of each column, and whether every row has a value.
    """
    columns = [
        dg.TableColumn(column, kind, description, dg.TableColumnConstraints(nullable=not required))
        for column, kind, description, required in entries
    ]
    return {"dagster/column_schema": dg.TableSchema(columns), "dagster/table_name": f"bench.main.{name}"}
