"""The Dagster instance of a home: in the home itself, or in a subfolder with its storage on PostgreSQL.

The subfolder has its own dagster.yaml. A home's two instances share only its settings, its results and its lock.
"""

from pathlib import Path
from urllib.parse import urlsplit

import yaml

from bench_orchestrator import settings
from bench_orchestrator.atomic import replacing
from bench_orchestrator.deployment.home import DeploymentError

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
    config = (yaml.safe_load(configured.read_text()) if configured.exists() else None) or {}
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
    parts = urlsplit(postgres_url)
    if not parts.scheme.startswith("postgresql") or not parts.path.strip("/"):
        raise DeploymentError(
            f"{without_password(postgres_url)!r} is not the URL of a PostgreSQL database. "
            "Example: postgresql://user:password@host:5432/database"
        )
    import psycopg2  # deferred: most deployments do not use PostgreSQL

    try:
        # psycopg2 does not understand the driver name that SQLAlchemy accepts.
        psycopg2.connect(parts._replace(scheme="postgresql").geturl(), connect_timeout=10).close()
    except psycopg2.Error as error:
        reason = " ".join(str(error).split())
        raise DeploymentError(f"The database {without_password(postgres_url)} cannot be used: {reason}") from error


def without_password(url: str) -> str:
    """Return the URL with its password masked."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")).geturl()
