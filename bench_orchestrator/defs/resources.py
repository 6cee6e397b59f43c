"""The resources of the meta location: the webserver to launch through, and the place for results."""

import os
from pathlib import Path
from typing import Self

import dagster as dg
from pydantic import Field

from bench_orchestrator import settings
from bench_orchestrator.results.store import Store
from bench_orchestrator.webserver import Webserver


class WebserverResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The deployment's webserver, which every trial is launched through."""

    url: str | None = Field(default=None, description=f"URL of the UI. None: {settings.DEFAULT_WEBSERVER_URL}.")
    authorization: str | None = Field(
        default=None, description="Value of the HTTP Authorization header. None: the webserver needs none."
    )

    @classmethod
    def from_environment(cls) -> Self:
        """Configure it by the variables of `settings`; their values are read in the process that connects."""
        return cls(url=_variable(settings.WEBSERVER_URL), authorization=_variable(settings.WEBSERVER_AUTHORIZATION))

    def connect(self) -> Webserver:
        """Make a client."""
        return Webserver(self.url or settings.DEFAULT_WEBSERVER_URL, self.authorization)


def _variable(name: str) -> dg.EnvVar | None:
    """The variable as configuration, without its value; None where it is not set, which Dagster would not accept."""
    return dg.EnvVar(name) if os.environ.get(name) else None


class ResultsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The folder of the DuckDB results database, charts and reports."""

    directory: str = Field(
        default="",
        description=f"A folder. Empty: {settings.RESULTS_DIR}, or `results` in DAGSTER_HOME.",
    )

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.directory) if self.directory else settings.results_directory()

    @property
    def store(self) -> Store:
        """The results database in it."""
        return Store.in_directory(self.path)
