"""What a deployment serves: the code locations of a workspace file, and any shape by its name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bench_orchestrator.deployment.home import DeploymentError

META_LOCATION = "bench_orchestrator"
_META_MODULE = "bench_orchestrator.definitions"
_SHAPES_MODULE = "synthetic_locations.catalog"

STOCK_SERVER = ("dagster", "api", "grpc")
WARM_SERVER = ("dagster_warm", "--no-reload")
"""Which forks its runs."""


@dataclass(frozen=True)
class CodeLocation:
    """What a code server serves: a module, or one attribute of it."""

    name: str
    module: str
    attribute: str | None = None
    working_directory: Path | None = None
    """The current directory, if None."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those of the supervisor."""
    cpus: float | None = None
    """How much CPU its server may use, together with the run workers and steps that it starts; None is no limit."""
    server: tuple[str, ...] = STOCK_SERVER
    """The module that serves it, with options beside those of `dagster api grpc`."""


def read_locations(workspace_file: Path, names: Sequence[str] = ()) -> list[CodeLocation]:
    """The meta location and those of `workspace_file`; only the ones in `names`, if there are any.

    The meta location is served by the warm server: its sweeps begin and its harvests end sooner, and take less of the
    machine. The others are measured, and served by Dagster's own.

    A name that the file does not have may be a shape, such as `a750`: it is generated.
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
    """The generated location of that shape. Raises DeploymentError for a name that is no shape."""
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
