"""Workspace files are read as Dagster reads them: every kind of entry, and what it refuses."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInvalidConfigError
from dagster._cli.api import grpc_command
from dagster._core.remote_origin import (
    CodeLocationOrigin,
    GrpcServerCodeLocationOrigin,
    ManagedGrpcPythonEnvCodeLocationOrigin,
)
from dagster._core.workspace.load import location_origins_from_config, location_origins_from_yaml_paths
from dagster_shared.check import CheckError
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.deployment import CodeLocation, ConnectedLocation, Deployment, DeploymentError, read_locations
from bench_orchestrator.deployment.status import LocationState, location_status

EVERY_KIND = """
load_from:
  - python_file: sub/one.py
  - python_file: {relative_path: sub/two.py, attribute: defs, working_directory: sub}
  - python_file: {relative_path: three.py, location_name: three, executable_path: ~/venv/bin/python}
  - python_module: module_one
  - python_module: {module_name: module_two, attribute: defs, working_directory: sub, executable_path: venv/bin/python}
  - python_module: {module_name: {env: SOME_MODULE}, location_name: {env: SOME_NAME}, executable_path: python3}
  - python_package: package_one
  - python_package: {package_name: package_two, attribute: defs, location_name: package}
  - autoload_defs_module: project.defs
  - autoload_defs_module: {module_name: project.other, location_name: other, working_directory: sub}
  - grpc_server: {port: 4000}
  - grpc_server: {host: far, port: {env: SOME_PORT}, location_name: far, ssl: true, additional_metadata: {a: b}}
  - grpc_server: {socket: /tmp/some.sock}
"""


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_MODULE", "module_three")
    monkeypatch.setenv("SOME_NAME", "three of them")
    monkeypatch.setenv("SOME_PORT", "4001")


def assert_as_dagster_reads(read: CodeLocation | ConnectedLocation, origin: CodeLocationOrigin, base: Path) -> None:
    """Compare a location with Dagster's reading: what a code server is asked for, or where there is one."""
    assert read.name == origin.location_name
    if isinstance(read, ConnectedLocation):
        assert isinstance(origin, GrpcServerCodeLocationOrigin)
        entry = {"load_from": [{"grpc_server": {**read.address, "location_name": read.name}}]}
        assert list(location_origins_from_config(entry, "workspace.yaml").values()) == [origin]
        return
    assert isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin)
    options = grpc_command.make_context("grpc", [*read.arguments[3:], "--socket", "any"]).params
    target = origin.loadable_target_origin
    for name in ("python_file", "module_name", "package_name", "autoload_defs_module_name", "attribute"):
        assert options[name] == getattr(target, name), name
    # Dagster takes them relative to the folder that it is started in, except for those of python_file.
    assert options["working_directory"] == os.path.normpath(base / (target.working_directory or ""))
    assert options["use_python_environment_entry_point"] == (target.executable_path is not None)
    if target.executable_path and os.sep in target.executable_path:
        assert read.python == str(base / target.executable_path)
    else:
        assert read.python == target.executable_path


def test_every_kind_is_read_as_dagster_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "workspace.yaml"
    file.write_text(EVERY_KIND)
    _, *locations = read_locations(file)
    origins = location_origins_from_yaml_paths([str(file)])
    assert len(locations) == len(origins) == 13
    for location, origin in zip(locations, origins, strict=True):
        assert_as_dagster_reads(location, origin, tmp_path)


def test_what_is_served_and_what_is_connected_to_are_one_workspace_for_dagster(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "workspace.yaml"
    file.write_text(EVERY_KIND)
    locations = read_locations(file)
    deployment = Deployment(home, locations, port=1)
    deployment._environment = {}
    deployment.url = "http://127.0.0.1:1"
    deployment.port = 1
    (home / ".bench").mkdir()
    deployment._plan_servers(tmp_path)  # overwrites the file, as in a deployment's own folder
    origins = location_origins_from_yaml_paths([str(file)])
    assert [origin.location_name for origin in origins] == [location.name for location in locations]
    assert all(isinstance(origin, GrpcServerCodeLocationOrigin) for origin in origins)
    assert len(deployment._code_servers) == 11
    by_name = {server.name: server for server in deployment._code_servers}
    assert by_name["three"].command[:4] == [str(Path("~/venv/bin/python").expanduser()), "-m", "dagster", "api"]
    with pytest.raises(DeploymentError, match="code server of far was not started here"):
        deployment.stop_server("far")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("load_from: [", "is not valid YAML: while parsing"),
        ("\x00", "is not valid YAML"),
        ("- python_module: a", "a mapping such as"),
        ("load: []", "'load' is unknown"),
        ("load_from: {python_module: a}", "`load_from` must be a list"),
        ("load_from: [a]", r"entry 1 of load_from: exactly one of python_file, .*grpc_server is expected"),
        ("load_from: [{python_module: a, python_file: b}]", "exactly one of"),
        ("load_from: [{python_module: a}, {ruby_module: b}]", "entry 2 of load_from: exactly one of"),
        ("load_from: [{python_module: 3}]", r"\(python_module\): settings such as"),
        ("load_from: [{python_module: {attribute: a}}]", "module_name is missing"),
        ("load_from: [{python_module: {module_name: a, attribut: b}}]", "attribut: unknown"),
        ("load_from: [{autoload_defs_module: {module_name: a, attribute: b}}]", "attribute: unknown"),
        ("load_from: [{python_file: {relative_path: 3}}]", "relative_path must be text"),
        ("load_from: [{python_module: {module_name: {env: UNSET_HERE}}}]", "variable UNSET_HERE, which is not set"),
        ("load_from: [{grpc_server: {host: far}}]", "either a port or a socket is expected"),
        ("load_from: [{grpc_server: {port: 1, socket: /x}}]", "either a port or a socket is expected"),
        ("load_from: [{grpc_server: {port: '4000'}}]", "port must be a whole number"),
        ("load_from: [{grpc_server: {port: {env: SOME_NAME}}}]", "port must be a whole number, and SOME_NAME holds"),
        ("load_from: [{grpc_server: {port: 1, ssl: 'yes'}}]", "ssl must be true or false"),
        ("load_from: [{python_module: a}, {python_file: a}]", "two entries are called 'a'"),
    ],
)
def test_what_is_no_workspace_is_refused_in_one_line_with_its_place(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "workspace.yaml"
    file.write_text(content)
    with pytest.raises(DeploymentError, match=message) as refused:
        read_locations(file)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_or_another_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="cannot be read: Is a directory"):
        read_locations(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("load_from: [{python_module: \xe4}]".encode("latin-1"))
    with pytest.raises(DeploymentError, match="is not valid YAML"):
        read_locations(tmp_path / "latin.yaml")


@pytest.mark.parametrize("content", ["", "load_from:", "load_from: []", "# nothing"])
def test_an_empty_one_has_the_meta_location_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "workspace.yaml").write_text(content)
    assert [location.name for location in read_locations(tmp_path / "workspace.yaml")] == ["bench_orchestrator"]


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    ["x", "y.py", None, 3, 0, True, [], {"env": "SOME_PORT"}, {"env": "UNSET_HERE"}, {"env": 3}]
)
KEYS = ("relative_path", "module_name", "package_name", "attribute", "location_name", "working_directory")
SERVER_KEYS = ("host", "port", "socket", "ssl", "additional_metadata", "executable_path")
KINDS = ("python_file", "python_module", "python_package", "autoload_defs_module", "grpc_server", "other")
SETTINGS = st.dictionaries(st.sampled_from([*KEYS, *SERVER_KEYS]), VALUES, min_size=1, max_size=3)
ENTRIES = st.dictionaries(st.sampled_from(KINDS), VALUES | SETTINGS, max_size=2)


@given(entries=st.lists(ENTRIES, max_size=2))
def test_dagster_takes_what_is_taken_and_nothing_else(
    entries: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    file = folder / "workspace.yaml"
    file.write_text(yaml.safe_dump({"load_from": entries}))
    try:
        origins = location_origins_from_yaml_paths([str(file)])
    except (DagsterInvalidConfigError, CheckError):
        with pytest.raises(DeploymentError):
            read_locations(file)
        return
    _, *locations = read_locations(file)
    for location, origin in zip(locations, origins, strict=True):
        assert_as_dagster_reads(location, origin, folder)


class TestAConnectedLocation:
    def test_its_state_is_the_webservers(self) -> None:
        error = {"__typename": "PythonError", "message": "m", "causes": [{"message": " because "}]}
        loaded = {"__typename": "RepositoryLocation"}
        for entry, state, message in (
            (None, LocationState.LOADING, ""),
            ({"locationOrLoadError": None}, LocationState.LOADING, ""),
            ({"locationOrLoadError": loaded}, LocationState.LOADED, ""),
            ({"locationOrLoadError": error}, LocationState.ERROR, "because"),
            (
                {"locationOrLoadError": {**error, "className": "DagsterUserCodeUnreachableError"}},
                *(LocationState.ERROR, "m"),
            ),
        ):
            status = location_status("far", None, entry)
            assert (status.state, status.message, status.load_s) == (state, message, None)
