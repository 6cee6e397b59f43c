"""What a deployment serves or connects to: code locations, among them any shape by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from bench_orchestrator.deployment.home import DeploymentError

_SHAPES_MODULE = "synthetic_locations.catalog"

STOCK_SERVER = ("dagster", "api", "grpc")
WARM_SERVER = ("dagster_warm", "--no-reload")
"""The warm server, which forks its runs."""


class TargetKind(StrEnum):
    """What a code server loads, by the option of `dagster api grpc` that names it."""

    MODULE = "--module-name"
    FILE = "--python-file"
    PACKAGE = "--package-name"
    AUTOLOADED_MODULE = "--autoload-defs-module-name"


@dataclass(frozen=True)
class CodeLocation:
    """What a code server serves: a module or the like, or one attribute of it."""

    name: str
    target: str
    """The module, package or file."""
    attribute: str | None = None
    working_directory: Path | None = None
    """None means the current directory."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the supervisor's environment."""
    cpus: float | None = None
    """CPU limit shared by its server, run workers and steps; None means no limit."""
    server: tuple[str, ...] = STOCK_SERVER
    """The server's module, with options in addition to those of `dagster api grpc`."""
    kind: TargetKind = TargetKind.MODULE
    python: str | None = None
    """The Python that serves it; None means the supervisor's own."""

    @property
    def arguments(self) -> list[str]:
        """The server's module with the options that say what it serves."""
        arguments = [*self.server, "--location-name", self.name, self.kind, self.target]
        if self.attribute:
            arguments += ["--attribute", self.attribute]
        if self.working_directory:
            arguments += ["--working-directory", str(self.working_directory)]
        if self.python:
            arguments.append("--use-python-environment-entry-point")
        return arguments


@dataclass(frozen=True)
class ConnectedLocation:
    """A code location whose server somebody else runs."""

    name: str
    address: Mapping[str, Any]
    """An entry `grpc_server` of a workspace file: host, port or socket, ssl, additional metadata."""


def shape_location(name: str, cpus: float | None = None, server: tuple[str, ...] = STOCK_SERVER) -> CodeLocation:
    """Return the generated location of a shape. Raises DeploymentError for a name that is not a shape."""
    from synthetic_locations.shape import parse_shape  # deferred: most starts need no shape

    try:
        parse_shape(name)
    except ValueError as error:
        raise DeploymentError(str(error)) from error
    return CodeLocation(name, _SHAPES_MODULE, name, cpus=cpus, server=server)
