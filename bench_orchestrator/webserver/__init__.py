"""The GraphQL client for a deployment's webserver. It does not need Dagster."""

from bench_orchestrator.webserver.client import (
    ASSET_JOB,
    BackfillEntry,
    LocationEntry,
    Webserver,
    message_of,
    understood,
)
from bench_orchestrator.webserver.connection import (
    AccessDeniedError,
    BadUrlError,
    DatabaseTroubleError,
    LaunchRejectedError,
    LocationAwayError,
    Traffic,
    WebserverError,
    WebserverUnreachableError,
)

__all__ = [
    "ASSET_JOB",
    "AccessDeniedError",
    "BackfillEntry",
    "BadUrlError",
    "DatabaseTroubleError",
    "LaunchRejectedError",
    "LocationAwayError",
    "LocationEntry",
    "Traffic",
    "Webserver",
    "WebserverError",
    "WebserverUnreachableError",
    "message_of",
    "understood",
]
