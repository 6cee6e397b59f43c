"""Workspace files: every kind of entry that Dagster takes, read without importing Dagster.

`tests/deployment/test_workspace.py` holds it to Dagster's own reading.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from bench_orchestrator.deployment.home import DeploymentError
from bench_orchestrator.deployment.locations import (
    STOCK_SERVER,
    WARM_SERVER,
    CodeLocation,
    ConnectedLocation,
    TargetKind,
    shape_location,
)
from bench_orchestrator.deployment.yaml_file import read_mapping
from bench_orchestrator.model.tags import META_LOCATION

_META_MODULE = "bench_orchestrator.definitions"

_TARGETS: Mapping[str, tuple[str, TargetKind]] = {
    "python_file": ("relative_path", TargetKind.FILE),
    "python_module": ("module_name", TargetKind.MODULE),
    "python_package": ("package_name", TargetKind.PACKAGE),
    "autoload_defs_module": ("module_name", TargetKind.AUTOLOADED_MODULE),
}
"""The key that names the target of each kind of entry."""

_Value = TypeVar("_Value")


def read_locations(workspace_file: Path, names: Sequence[str] = ()) -> list[CodeLocation | ConnectedLocation]:
    """Return the meta location and those of `workspace_file`, or only the ones in `names` if given.

    The warm server serves the meta location: sweeps begin and harvests end sooner, and use less of the machine. The
    other locations are measured, and Dagster's own server serves them. A name that is not in the file may be a shape,
    such as `a750`, which is then generated.

    Raises:
        DeploymentError: a name is neither, or the file is no workspace file.
    """
    meta = CodeLocation(META_LOCATION, _META_MODULE, server=WARM_SERVER)
    declared: dict[str, CodeLocation | ConnectedLocation] = {META_LOCATION: meta}
    declared |= {location.name: location for location in declared_locations(workspace_file)}
    if not names:
        return list(declared.values())
    return [
        declared.get(name) or _generated_location(name, workspace_file)
        for name in dict.fromkeys([META_LOCATION, *names])
    ]


def _generated_location(name: str, workspace_file: Path) -> CodeLocation:
    try:
        return shape_location(name)
    except DeploymentError as error:
        raise DeploymentError(f"{name} is neither a location of {workspace_file} nor a shape: {error}") from error


def declared_locations(workspace_file: Path) -> Iterator[CodeLocation | ConnectedLocation]:
    """Yield the locations of a workspace file, in its order; none if there is no file."""
    content = read_mapping(workspace_file)
    if unknown := [key for key in content if key != "load_from"]:
        raise DeploymentError(f"{workspace_file}: {unknown[0]!r} is unknown. It may hold `load_from` alone.")
    entries = content.get("load_from") or []
    if not isinstance(entries, list):
        raise DeploymentError(f"{workspace_file}: `load_from` must be a list.")
    seen: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        location = _Entry(workspace_file, number, entry).location()
        if location.name in seen:
            raise DeploymentError(f"{workspace_file}: two entries are called {location.name!r}.")
        seen.add(location.name)
        yield location


class _Entry:
    """One entry of `load_from`, whose settings are taken out one by one.

    Raises DeploymentError, which names the entry, for what Dagster would not take either.
    """

    def __init__(self, workspace_file: Path, number: int, entry: object) -> None:
        self._base = workspace_file.absolute().parent
        self._where = f"{workspace_file}, entry {number} of load_from"
        kinds = (*_TARGETS, "grpc_server")
        if not isinstance(entry, dict) or len(entry) != 1 or next(iter(entry)) not in kinds:
            raise self._error(f"exactly one of {', '.join(kinds)} is expected")
        ((self._kind, content),) = entry.items()
        self._where += f" ({self._kind})"
        if isinstance(content, str) and content and self._kind in _TARGETS:
            content = {_TARGETS[self._kind][0]: content}
        if not isinstance(content, dict):
            raise self._error("settings such as `location_name: mine` are expected")
        self._settings = dict(content)

    def location(self) -> CodeLocation | ConnectedLocation:
        """Return the location that the entry declares."""
        return self._connected() if self._kind == "grpc_server" else self._served()

    def _connected(self) -> ConnectedLocation:
        host, port, socket = self._text("host"), self._number("port"), self._text("socket")
        name = self._text("location_name") or f"grpc:{host or 'localhost'}:{socket or port}"
        ssl, metadata = self._take("ssl", bool), self._take("additional_metadata", dict)
        self._expect_no_more()
        if bool(port) == bool(socket):
            raise self._error("either a port or a socket is expected")
        address = {"host": host, "port": port, "socket": socket, "ssl": ssl, "additional_metadata": metadata}
        return ConnectedLocation(name, {key: value for key, value in address.items() if value is not None})

    def _served(self) -> CodeLocation:
        key, kind = _TARGETS[self._kind]
        target = self._text(key)
        if not target:
            raise self._error(f"{key} is missing")
        attribute = None if kind is TargetKind.AUTOLOADED_MODULE else self._text("attribute")
        folder, python = self._text("working_directory"), self._text("executable_path")
        shown = Path(target).name if kind is TargetKind.FILE else target
        name = self._text("location_name") or (f"{shown}:{attribute}" if attribute else shown)
        self._expect_no_more()
        return CodeLocation(
            name,
            str(self._base / target) if kind is TargetKind.FILE else target,
            attribute,
            self._base / folder if folder else self._base,
            kind=kind,
            python=self._executable(python) if python else None,
            server=WARM_SERVER if name == META_LOCATION else STOCK_SERVER,
        )

    def _executable(self, path: str) -> str:
        """Return the path of an executable; a name without a folder is looked for by the system."""
        return str(self._base / Path(path).expanduser()) if os.sep in path else path

    def _text(self, key: str) -> str | None:
        return self._take(key, str)

    def _number(self, key: str) -> int | None:
        value = self._settings.get(key)
        if not isinstance(value, dict):
            return self._take(key, int)
        text = self._text(key) or ""
        if not text.isdecimal():
            raise self._error(f"{key} must be a whole number, and {value['env']} holds none")
        return int(text)

    def _take(self, key: str, kind: type[_Value]) -> _Value | None:
        """Take a setting out, or what the environment variable `{env: NAME}` holds; None if it is absent."""
        if key not in self._settings:
            return None
        value = self._settings.pop(key)
        if kind is str and isinstance(value, dict) and list(value) == ["env"]:
            variable = str(value["env"])
            value = os.environ.get(variable)
            if value is None:
                raise self._error(f"{key} is that of the environment variable {variable}, which is not set")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            wanted = {str: "text", int: "a whole number", bool: "true or false", dict: "a mapping"}[kind]
            raise self._error(f"{key} must be {wanted}")
        return value

    def _expect_no_more(self) -> None:
        if self._settings:
            raise self._error(f"{', '.join(map(str, self._settings))}: unknown")

    def _error(self, what: str) -> DeploymentError:
        return DeploymentError(f"{self._where}: {what}.")
