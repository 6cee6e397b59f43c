"""Tables in an asset's metadata."""

from collections.abc import Mapping, Sequence

import dagster as dg


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
