"""The meta location with blank charts: they take most of a harvest's time."""

import dagster as dg
from blank_charts import leave_charts_blank


@dg.definitions
def defs() -> dg.Definitions:
    """Return the meta location's definitions."""
    from bench_orchestrator.definitions import defs as meta  # not here twice: Dagster looks for one in a module

    leave_charts_blank()
    return meta()
