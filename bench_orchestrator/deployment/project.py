"""The code that `bench try` loads: named by options, or the project of a folder. Read without importing Dagster.

`tests/deployment/test_project.py` holds it to Dagster's own reading.
"""

import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from shutil import which
from typing import Any

from bench_orchestrator.deployment.home import DeploymentError
from bench_orchestrator.deployment.locations import CodeLocation, ConnectedLocation, TargetKind
from bench_orchestrator.deployment.workspace import declared_locations
from bench_orchestrator.model.errors import one_line
from synthetic_locations import probed

_WORKSPACES = ("workspace.yaml", "workspace.yml")


def find_code(
    folder: Path,
    *,
    module: str | None = None,
    file: Path | None = None,
    workspace: Path | None = None,
    attribute: str | None = None,
    working_directory: Path | None = None,
    location: str | None = None,
) -> CodeLocation:
    """Return the code location that the options name, or else the project in `folder`, as Dagster would serve it.

    The folder's `.env` is its environment, as for `dagster dev`.

    Args:
        working_directory: where a module or file is imported from; None means `folder`.
        location: which of several locations of a workspace or project is meant.

    Raises:
        DeploymentError: there is none, there are several, or it cannot be loaded here.
    """
    base = (working_directory or folder).absolute()
    if module is not None:
        return _in_environment(CodeLocation(_named(module, attribute), module, attribute, base), folder)
    if file is not None:
        name = _named(file.name, attribute)
        found = CodeLocation(name, str(file.absolute()), attribute, base, kind=TargetKind.FILE)
        return _in_environment(found, folder)
    return _in_environment(_only(_locations(folder, workspace), location), folder)


def probed_location(code: CodeLocation, name: str, folder: Path, server: tuple[str, ...]) -> CodeLocation:
    """Return the location that serves this code with the probe.

    Args:
        name: its name in the workspace.
        folder: the working directory of its processes.
        server: the code server's module, with its options.
    """
    options = {_parameter(kind): code.target if kind is code.kind else None for kind in TargetKind}
    options |= {"attribute": code.attribute, "working_directory": str(code.working_directory or folder)}
    return CodeLocation(
        name,
        probed.MODULE,
        probed.ATTRIBUTE,
        folder,
        environment={**code.environment, **probed.environment_of(options)},
        server=server,
    )


def _parameter(kind: TargetKind) -> str:
    return kind.removeprefix("--").replace("-", "_")


def _named(target: str, attribute: str | None) -> str:
    """Return the name that Dagster gives a location without one."""
    return f"{target}:{attribute}" if attribute else target


def _only(found: list[CodeLocation | ConnectedLocation], name: str | None) -> CodeLocation:
    """Return the location of that name, or the only one."""
    chosen = [one for one in found if name in (None, one.name)]
    if len(chosen) != 1:
        names = ", ".join(one.name for one in found)
        raise DeploymentError(
            f"There is no code location {name!r}; there is {names}."
            if name
            else f"There are several code locations: {names}. Name one: --location NAME"
        )
    (only,) = chosen
    if isinstance(only, ConnectedLocation):
        raise DeploymentError(f"{only.name} is served by somebody else. Name its code: -m MODULE or -f FILE")
    if only.python is not None and os.path.abspath(which(only.python) or only.python) != sys.executable:  # noqa: PTH100
        raise DeploymentError(
            f"{only.name} is served by another Python. Install dagster-bench there, and run the command with it: "
            f"{only.python} -m bench_orchestrator try"
        )
    return only


def _locations(folder: Path, workspace: Path | None) -> list[CodeLocation | ConnectedLocation]:
    """Return the locations of a workspace file, or those of the folder's project."""
    files = [workspace] if workspace else [folder / name for name in _WORKSPACES if (folder / name).exists()]
    if workspace is not None and not workspace.exists():
        raise DeploymentError(f"There is no file {workspace}.")
    found: list[CodeLocation | ConnectedLocation] = [] if workspace else list(_project(folder))
    if not found and files:
        found = list(declared_locations(files[0]))
    if not found:
        raise DeploymentError(
            f"There is no Dagster project in {folder}: no [tool.dg.project] or [tool.dagster] in pyproject.toml, no "
            "[project] in dg.toml, no workspace.yaml. Name the code: -m MODULE, -f FILE or -w workspace.yaml"
        )
    return found


def _project(folder: Path) -> Iterator[CodeLocation]:
    """Yield the locations of pyproject.toml or dg.toml: what `dagster dev` or `dg dev` would serve."""
    pyproject = folder / "pyproject.toml"
    tool = _table(_read(pyproject), "tool", pyproject)
    block = _table(tool, "dagster", pyproject)
    name = _text(block, "code_location_name", pyproject)
    if (module := _text(block, "module_name", pyproject)) is not None:
        yield CodeLocation(name or module, module, working_directory=folder)
        return
    modules = [one for one in block.get("modules") or () if isinstance(one, dict) and one.get("type") == "module"]
    for one in modules:
        module = _text(one, "name", pyproject) or ""
        yield CodeLocation(name if name and len(modules) == 1 else module, module, working_directory=folder)
    if modules:
        return
    own = folder / "dg.toml"
    file, project = (
        (own, _table(_read(own), "project", own))
        if own.exists()
        else (pyproject, _table(_table(tool, "dg", pyproject), "project", pyproject))
    )
    if project:
        yield _dg_project(folder, file, project)


def _dg_project(folder: Path, file: Path, project: Mapping[str, Any]) -> CodeLocation:
    root = _text(project, "root_module", file)
    if not root:
        raise DeploymentError(f"{file}: root_module of the dg project is missing.")
    name = _text(project, "code_location_name", file) or folder.name
    source = folder / "src" if (folder / "src").is_dir() else folder
    if project.get("autoload_defs"):
        module = _text(project, "defs_module", file) or f"{root}.defs"
        return CodeLocation(name, module, working_directory=source, kind=TargetKind.AUTOLOADED_MODULE)
    module = _text(project, "code_location_target_module", file) or f"{root}.definitions"
    return CodeLocation(name, module, working_directory=source)


def _in_environment(code: CodeLocation, folder: Path) -> CodeLocation:
    from dotenv import dotenv_values  # deferred: only this command needs it

    file = folder / ".env"
    values = dotenv_values(file) if file.is_file() else {}
    return replace(code, environment={name: value for name, value in values.items() if value is not None})


def _read(file: Path) -> Mapping[str, Any]:
    """Return the content of a TOML file; empty if there is none."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DeploymentError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DeploymentError(f"{file} is not valid TOML: {one_line(str(error))}") from error


def _table(content: Mapping[str, Any], key: str, file: Path) -> Mapping[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise DeploymentError(f"{file}: {key} must be a table.")
    return value


def _text(content: Mapping[str, Any], key: str, file: Path) -> str | None:
    value = content.get(key)
    if value is not None and not isinstance(value, str):
        raise DeploymentError(f"{file}: {key} must be text.")
    return value
