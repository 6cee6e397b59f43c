"""What a deployment serves: the code locations of a workspace file, and any shape by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bench_orchestrator.deployment.home import DeploymentError
from bench_orchestrator.model.tags import META_LOCATION

_META_MODULE = "bench_orchestrator.definitions"
_SHAPES_MODULE = "synthetic_locations.catalog"

STOCK_SERVER = ("dagster", "api", "grpc")
WARM_SERVER = ("dagster_warm", "--no-reload")
"""The warm server, which forks its runs."""


@dataclass(frozen=True)
class CodeLocation:
    """What a code server serves: a module, or one attribute of it."""

    name: str
    module: str
    attribute: str | None = None
    working_directory: Path | None = None
    """None means the current directory."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the supervisor's environment."""
    cpus: float | None = None
    """CPU limit shared by its server, run workers and steps; None means no limit."""
    server: tuple[str, ...] = STOCK_SERVER
    """The server's module, with options in addition to those of `dagster api grpc`."""


def read_locations(workspace_file: Path, names: Sequence[str] = ()) -> list[CodeLocation]:
    """Return the meta location and those of `workspace_file`, or only the ones in `names` if given.

    The warm server serves the meta location: sweeps begin and harvests end sooner, and use less of the machine. The
    other locations are measured, and Dagster's own server serves them.

    A name that is not in the file may be a shape, such as `a750`, which is then generated.
    Raises DeploymentError for a name that is neither.
    """
    declared = {META_LOCATION: CodeLocation(META_LOCATION, _META_MODULE, server=WARM_SERVER)}
    if workspace_file.exists():
        for entry in yaml.safe_load(workspace_file.read_text())["load_from"]:
            location = _declared_location(entry["python_module"], workspace_file.parent)
            declared[location.name] = location
    if not names:
        return list(declared.values())
    return [
        declared.get(name) or _generated_location(name, workspace_file)
        for name in dict.fromkeys([META_LOCATION, *names])
    ]


def shape_location(name: str, cpus: float | None = None, server: tuple[str, ...] = STOCK_SERVER) -> CodeLocation:
    """Return the generated location of a shape. Raises DeploymentError for a name that is not a shape."""
    from synthetic_locations.shape import parse_shape  # deferred: most starts need no shape

    try:
        parse_shape(name)
    except ValueError as error:
        raise DeploymentError(str(error)) from error
    return CodeLocation(name, _SHAPES_MODULE, name, cpus=cpus, server=server)


def _declared_location(entry: str | Mapping[str, str], base: Path) -> CodeLocation:
    if isinstance(entry, str):
        entry = {"module_name": entry}
    module, attribute = entry["module_name"], entry.get("attribute")
    name = entry.get("location_name") or (f"{module}:{attribute}" if attribute else module)
    folder = entry.get("working_directory")
    server = WARM_SERVER if name == META_LOCATION else STOCK_SERVER
    return CodeLocation(name, module, attribute, base / folder if folder else base, server=server)


def _generated_location(name: str, workspace_file: Path) -> CodeLocation:
    try:
        return shape_location(name)
    except DeploymentError as error:
        raise DeploymentError(f"{name} is neither a location of {workspace_file} nor a shape: {error}") from error
