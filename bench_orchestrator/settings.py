"""The environment variables that steer the bench, each read when it is needed and never at import."""

import os
from pathlib import Path

WEBSERVER_URL = "BENCH_WEBSERVER_URL"
WEBSERVER_AUTHORIZATION = "BENCH_WEBSERVER_AUTHORIZATION"
RESULTS_DIR = "BENCH_RESULTS_DIR"
LOCK_WAIT_S = "BENCH_LOCK_WAIT_S"
MONITOR_LOCATIONS = "BENCH_MONITOR_LOCATIONS"
POSTGRES_URL = "DAGSTER_BENCH_POSTGRES_URL"

DEFAULT_WEBSERVER_URL = "http://127.0.0.1:3000"
"""Where `dagster dev` and `bench up` serve by default."""


def webserver_url() -> str:
    """The URL of the webserver to launch through."""
    return os.environ.get(WEBSERVER_URL) or DEFAULT_WEBSERVER_URL


def webserver_authorization() -> str | None:
    """The HTTP Authorization header for it; None where it wants none."""
    return os.environ.get(WEBSERVER_AUTHORIZATION) or None


def results_directory(home: Path | None = None) -> Path:
    """Where the results database, charts and reports are: `results` in the Dagster home, unless told otherwise."""
    told = os.environ.get(RESULTS_DIR)
    return Path(told) if told else (home or Path(os.environ.get("DAGSTER_HOME") or ".")) / "results"


def lock_wait_s() -> float:
    """How long to wait for another process to let go of the results database: a minute, unless told otherwise."""
    return float(os.environ.get(LOCK_WAIT_S) or 60)


def monitor_locations() -> tuple[str, ...]:
    """The code locations that the monitor schedule launches in; none where nobody said."""
    return tuple(name.strip() for name in os.environ.get(MONITOR_LOCATIONS, "").split(",") if name.strip())


def postgres_url() -> str | None:
    """The database that keeps the runs and events of local deployments; None where files in the home do."""
    return os.environ.get(POSTGRES_URL) or None
