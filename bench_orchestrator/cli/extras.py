"""Which extra of dagster-bench brings which module, and what to type where one is missing."""

from collections.abc import Mapping

DISTRIBUTION = "dagster-bench"

EXTRAS: Mapping[str, str] = {
    "PIL": "local",
    "dagster": "local",
    "dagster_duckdb": "local",
    "dagster_shared": "local",
    "dagster_warm": "local",
    "dotenv": "local",
    "duckdb": "local",
    "filelock": "local",
    "matplotlib": "local",
    "numpy": "local",
    "scipy": "local",
    "sqlalchemy": "local",
    "dagster_postgres": "postgres",
    "psycopg2": "postgres",
    "dagster_k8s": "kubernetes",
    "kubernetes": "kubernetes",
    "prometheus_client": "exporter",
}
"""The extra of each top-level module that is not installed with dagster-bench alone."""


def explain_missing(error: ModuleNotFoundError) -> str | None:
    """Say which line installs the module; None for a module of no extra."""
    module = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(module)
    if extra is None:
        return None
    return f'{module} is not installed. Install it with:\n\n  pip install "{DISTRIBUTION}[{extra}]"'
