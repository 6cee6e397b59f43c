"""The environment variables that configure the bench. Each is read on use, never at import."""

import os
from collections.abc import Mapping
from pathlib import Path

from bench_orchestrator.model.bounds import LONGEST_S
from bench_orchestrator.model.errors import UnusableError, one_line
from bench_orchestrator.model.instants import parse_instant_us

WEBSERVER_URL = "BENCH_WEBSERVER_URL"
WEBSERVER_AUTHORIZATION = "BENCH_WEBSERVER_AUTHORIZATION"
WEBSERVER_HEADERS = "BENCH_WEBSERVER_HEADERS"
WEBSERVER_CA_FILE = "BENCH_WEBSERVER_CA_FILE"
WEBSERVER_CERTIFICATE_FILE = "BENCH_WEBSERVER_CERTIFICATE_FILE"
WEBSERVER_KEY_FILE = "BENCH_WEBSERVER_KEY_FILE"
RESULTS_DIR = "BENCH_RESULTS_DIR"
LOCK_WAIT_S = "BENCH_LOCK_WAIT_S"
MONITOR_LOCATIONS = "BENCH_MONITOR_LOCATIONS"
MAX_LAG_S = "BENCH_MAX_LAG_S"
HISTORY_SINCE = "BENCH_HISTORY_SINCE"
OBSERVED_LOCATIONS = "BENCH_OBSERVED_LOCATIONS"
OBSERVE_BENCH = "BENCH_OBSERVE_BENCH"
POSTGRES_URL = "DAGSTER_BENCH_POSTGRES_URL"
TRACEBACK = "BENCH_TRACEBACK"

WEBSERVER_ACCESS: Mapping[str, str] = {
    "authorization": WEBSERVER_AUTHORIZATION,
    "headers": WEBSERVER_HEADERS,
    "ca_file": WEBSERVER_CA_FILE,
    "certificate_file": WEBSERVER_CERTIFICATE_FILE,
    "key_file": WEBSERVER_KEY_FILE,
}
"""What requests to the webserver carry: the variable of each parameter of `access.Access.parse`."""

DEFAULT_WEBSERVER_URL = "http://127.0.0.1:3000"
"""Where `dagster dev` and `bench up` serve by default."""


def webserver_url() -> str:
    """Return the URL of the webserver to launch through."""
    return os.environ.get(WEBSERVER_URL) or DEFAULT_WEBSERVER_URL


def webserver_access() -> dict[str, str | None]:
    """Return what requests to it carry, by parameter of `access.Access.parse`; None for what is unset."""
    return {parameter: os.environ.get(variable) or None for parameter, variable in WEBSERVER_ACCESS.items()}


def results_directory(home: Path | None = None) -> Path:
    """Return the folder of the results database, charts and reports; `results` in the Dagster home by default."""
    told = os.environ.get(RESULTS_DIR)
    return Path(told) if told else (home or Path(os.environ.get("DAGSTER_HOME") or ".")) / "results"


def lock_wait_s() -> float:
    """Return the seconds to wait while another process holds the results database; 60 by default.

    Raises:
        UnusableError: the variable is not a number of seconds from 0 to a day.
    """
    return _read_seconds(LOCK_WAIT_S, os.environ.get(LOCK_WAIT_S) or "60")


def max_lag_s() -> float | None:
    """Return the limit of the launch lag that the history is checked against, in seconds; None if there is none.

    Raises:
        UnusableError: the variable is not a number of seconds from 0 to a day.
    """
    told = os.environ.get(MAX_LAG_S)
    return _read_seconds(MAX_LAG_S, told) if told else None


def history_since_us() -> int:
    """Return the instant at which the history begins, in microseconds since 1970; 0 for all of it.

    Raises:
        UnusableError: the variable is not a date or a time in ISO format.
    """
    told = os.environ.get(HISTORY_SINCE)
    try:
        return parse_instant_us(told) if told else 0
    except ValueError as error:
        raise UnusableError(
            f"{HISTORY_SINCE} is {one_line(told or '', 40)!r}; it has to be a date or a time such as 2026-11-30T09:30."
        ) from error


def monitor_locations() -> tuple[str, ...]:
    """Return the code locations of the monitor schedule; empty for the scenario's own."""
    return _read_names(MONITOR_LOCATIONS)


def observed_locations() -> tuple[str, ...]:
    """Return the code locations whose runs are observed, as `Selection.parse` reads them; empty for all."""
    return _read_names(OBSERVED_LOCATIONS)


def observes_bench() -> bool:
    """Return whether the bench's own runs are observed as well."""
    return bool(os.environ.get(OBSERVE_BENCH))


def postgres_url() -> str | None:
    """Return the URL of the database for runs and events of local deployments; None for files in the home."""
    return os.environ.get(POSTGRES_URL) or None


def wants_traceback() -> bool:
    """Return whether a command that fails prints the traceback, too."""
    return bool(os.environ.get(TRACEBACK))


def _read_names(variable: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in os.environ.get(variable, "").split(",") if name.strip())


def _read_seconds(variable: str, told: str) -> float:
    try:
        seconds = float(told)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_S:
        raise UnusableError(
            f"{variable} is {one_line(told, 40)!r}; it has to be a number of seconds from 0 to {LONGEST_S:g}."
        )
    return seconds
