"""The resources of the meta location: the webserver to launch through, and the place for results."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from bench_orchestrator import settings
from bench_orchestrator.results.store import Store
from bench_orchestrator.webserver import Webserver


class WebserverResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The deployment's webserver, which every trial is launched through."""

    url: str = Field(
        default="",
        description=f"URL of the UI. Empty: {settings.WEBSERVER_URL}, or {settings.DEFAULT_WEBSERVER_URL}.",
    )

    def connect(self) -> Webserver:
        """A client; the credentials come from the environment, so that no run configuration holds them."""
        return Webserver(self.url or settings.webserver_url(), settings.webserver_authorization())


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
