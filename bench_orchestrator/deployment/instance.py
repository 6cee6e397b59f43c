"""The Dagster instance of a home: in the home itself, or in a subfolder with its storage on PostgreSQL.

The subfolder has its own dagster.yaml. A home's two instances share only its settings, its results and its lock.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

from bench_orchestrator import settings
from bench_orchestrator.atomic import replacing
from bench_orchestrator.deployment.home import DeploymentError
from bench_orchestrator.deployment.yaml_file import read_mapping
from bench_orchestrator.model.errors import one_line
from bench_orchestrator.model.urls import shown_url, why_ambiguous

_STORAGES = ("storage", "run_storage", "event_log_storage", "schedule_storage")


def instance_home(home: Path, postgres_url: str | None) -> Path:
    """Return the folder to use as DAGSTER_HOME; create it for PostgreSQL.

    Raises:
        DeploymentError: the URL is invalid, or the home's dagster.yaml already configures the storage.
    """
    if not postgres_url:
        return home
    check_url(postgres_url)
    configured = home / "dagster.yaml"
    config = dict(read_mapping(configured))
    if named := [key for key in _STORAGES if key in config]:
        raise DeploymentError(
            f"{configured} already configures the storage of runs and events ({', '.join(named)}). Remove that, or do "
            f"not use --postgres or {settings.POSTGRES_URL}."
        )
    # The URL may contain a password, and Dagster writes the settings into command lines: keep it in the environment.
    config["storage"] = {"postgres": {"postgres_url": {"env": settings.POSTGRES_URL}}}
    folder = home / ".bench" / "postgresql"
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "dagster.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(config))
    return folder


def check_url(postgres_url: str) -> None:
    """Raise DeploymentError unless this is the URL of a usable PostgreSQL database."""
    shown = shown_url(postgres_url)
    if ambiguous := why_ambiguous(postgres_url):
        raise DeploymentError(ambiguous)
    try:
        parts = urlsplit(postgres_url)
        unusable = not parts.scheme.startswith("postgresql") or not parts.path.strip("/") or parts.port == 0
    except ValueError:
        unusable = True
    if unusable:
        raise DeploymentError(
            f"{shown!r} is not the URL of a PostgreSQL database. Example: postgresql://user:password@host:5432/database"
        )
    import psycopg2  # deferred: most deployments do not use PostgreSQL

    try:
        # psycopg2 does not understand the driver name that SQLAlchemy accepts.
        psycopg2.connect(parts._replace(scheme="postgresql").geturl(), connect_timeout=10).close()
    except psycopg2.Error as error:
        reason = one_line(str(error))
        for secret in filter(None, (parts.password, unquote(parts.password or ""))):
            reason = reason.replace(secret, "***")
        raise DeploymentError(f"The database {shown} cannot be used: {reason}") from error
