"""The resources of the meta location: the webserver to launch through, and the results database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import dagster as dg
from dagster_duckdb import DuckDBResource
from pydantic import Field

from bench_orchestrator import settings
from bench_orchestrator.access import Access
from bench_orchestrator.results.database import CONNECTION_CONFIG
from bench_orchestrator.results.store import Store
from bench_orchestrator.webserver import Webserver

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class WebserverResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The deployment's webserver, which every trial is launched through."""

    url: str | None = Field(default=None, description=f"URL of the UI. None: {settings.DEFAULT_WEBSERVER_URL}.")
    authorization: str | None = Field(
        default=None, description="Value of the HTTP Authorization header. None: the webserver needs none."
    )
    headers: str | None = Field(default=None, description="Other HTTP headers, one `Name: value` per line.")
    ca_file: str | None = Field(default=None, description="PEM file of the authorities that its certificate is from.")
    certificate_file: str | None = Field(default=None, description="PEM file of the client's own certificate.")
    key_file: str | None = Field(default=None, description="PEM file of that certificate's key, if it is another.")

    @classmethod
    def from_environment(cls) -> Self:
        """Configure it from the variables of `settings`; their values are read in the process that connects."""
        return cls(
            url=_variable(settings.WEBSERVER_URL),
            **{parameter: _variable(variable) for parameter, variable in settings.WEBSERVER_ACCESS.items()},
        )

    def connect(self) -> Webserver:
        """Make a client.

        Raises:
            UnusableError: the URL, a header or a file cannot be used.
        """
        access = Access.parse(**{parameter: getattr(self, parameter) for parameter in settings.WEBSERVER_ACCESS})
        return Webserver(self.url or settings.DEFAULT_WEBSERVER_URL, access)


def _variable(name: str) -> dg.EnvVar | None:
    """Return the variable as configuration, without its value; None if it is unset, which Dagster would reject."""
    return dg.EnvVar(name) if os.environ.get(name) else None


class ResultsResource(DuckDBResource):
    """The DuckDB results database; charts and reports are in folders next to it.

    An asset that requires it as a `DuckDBResource` can query `launch_measurements`.
    """

    database: str | None = Field(  # type: ignore[assignment]
        default=None,
        description=f"Path of the file. None: bench.duckdb in {settings.RESULTS_DIR}, or in `results` in DAGSTER_HOME.",
    )
    connection_config: dict[str, Any] = Field(
        default={}, description=f"DuckDB's settings, which extend or override {dict(CONNECTION_CONFIG)}."
    )

    @property
    def path(self) -> Path:
        """The folder of the file."""
        return self.store.path.parent

    @property
    def store(self) -> Store:
        """The results database, as commands use it without Dagster."""
        store = Store(Path(self.database)) if self.database else Store.in_directory(settings.results_directory())
        return replace(store, config={**store.config, **self.connection_config})

    @contextmanager
    def get_connection(self, *, read_only: bool = True) -> Iterator["DuckDBPyConnection"]:
        """Yield a connection for queries, closed after the block; wait for another process's lock.

        Args:
            read_only: False also permits writing; no other process can open the file during the block.

        Raises:
            StoreError: nothing has been harvested yet (reading), or the file is held or damaged.
        """
        with self.store.open(read_only=read_only) as connection:
            yield connection
