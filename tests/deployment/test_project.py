"""The code to try is found as Dagster and dg find it, and what cannot be loaded here is refused."""

import json
import sys
import tomllib
from pathlib import Path

import pytest
from dagster._core.workspace.load_target import get_target_from_toml_data
from dagster_dg_cli.cli.utils import _workspace_entry_for_project
from dagster_dg_core.context import DgContext

from bench_orchestrator.deployment import (
    STOCK_SERVER,
    WARM_SERVER,
    CodeLocation,
    DeploymentError,
    find_code,
    probed_location,
)
from bench_orchestrator.deployment.locations import TargetKind
from synthetic_locations.probed import read_options

DG = '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "shop"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to an empty folder named `here`."""
    made = tmp_path / "here"
    made.mkdir()
    monkeypatch.chdir(made)
    return made


@pytest.mark.parametrize(
    "content",
    [
        '[tool.dagster]\nmodule_name = "shop.definitions"\n',
        '[tool.dagster]\nmodule_name = "shop.definitions"\ncode_location_name = "shop"\n',
        '[tool.dagster]\nmodules = [{type = "module", name = "shop"}]\n',
        f'{DG}code_location_name = "shop"\n',
        f'{DG}code_location_name = "shop"\ncode_location_target_module = "shop.all"\n',
        f'{DG}code_location_name = "shop"\nautoload_defs = true\n',
        f'{DG}code_location_name = "shop"\nautoload_defs = true\ndefs_module = "shop.more"\n',
    ],
)
def test_a_pyproject_is_read_as_dagster_reads_it(folder: Path, content: str) -> None:
    (folder / "pyproject.toml").write_text(content)
    found = find_code(folder)
    targets = get_target_from_toml_data(tomllib.loads(content))
    (origin,) = (targets[0] if isinstance(targets, list) else targets).create_origins()  # type: ignore[union-attr]
    expected = origin.loadable_target_origin
    assert found.name == origin.location_name
    assert found.target == (expected.module_name or expected.autoload_defs_module_name)
    assert (found.kind is TargetKind.MODULE) is (expected.module_name is not None)
    assert str(found.working_directory) == expected.working_directory


@pytest.mark.parametrize("source", ["src", "."])
@pytest.mark.parametrize("file", ["pyproject.toml", "dg.toml"])
def test_a_dg_project_is_read_as_dg_reads_it(folder: Path, file: str, source: str) -> None:
    (folder / source / "shop").mkdir(parents=True)
    (folder / source / "shop" / "definitions.py").touch()
    (folder / file).write_text(DG if file == "pyproject.toml" else DG.replace("tool.dg.", "").replace("[tool.dg]", ""))
    found = find_code(folder)
    context = DgContext.from_file_discovery_and_command_line_config(folder, {})
    assert {
        "working_directory": str(found.working_directory),
        "module_name": found.target,
        "location_name": found.name,
    } == _workspace_entry_for_project(context, use_executable_path=False)["python_module"]


def test_options_name_a_module_or_a_file(folder: Path) -> None:
    assert find_code(folder, module="shop") == CodeLocation("shop", "shop", None, folder)
    assert find_code(folder, module="shop", attribute="defs", working_directory=Path("src")) == CodeLocation(
        "shop:defs", "shop", "defs", folder / "src"
    )
    assert find_code(folder, file=Path("shop.py")) == CodeLocation(
        "shop.py", str(folder / "shop.py"), None, folder, kind=TargetKind.FILE
    )


def test_the_env_file_of_the_folder_is_the_environment(folder: Path) -> None:
    (folder / ".env").write_text("TOKEN=secret\nEMPTY=\nALONE\n")
    assert find_code(folder, module="shop").environment == {"TOKEN": "secret", "EMPTY": ""}


TWO = "load_from: [{python_module: {module_name: one}}, {python_file: two.py}, {grpc_server: {port: 4000}}]"


def test_a_workspace_has_the_location_that_is_named(folder: Path) -> None:
    (folder / "workspace.yaml").write_text(TWO)
    for workspace in (None, folder / "workspace.yaml"):
        found = find_code(folder, workspace=workspace, location="two.py")
        assert (found.kind, found.target) == (TargetKind.FILE, str(folder / "two.py"))
    (folder / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "three"\n')
    assert find_code(folder).target == "three"


@pytest.mark.parametrize(
    ("files", "location", "message"),
    [
        ({}, None, r"There is no Dagster project in .*here: .*-m MODULE"),
        ({"pyproject.toml": "[tool.dagster"}, None, "pyproject.toml is not valid TOML"),
        ({"pyproject.toml": "tool = 3"}, None, "tool must be a table"),
        ({"pyproject.toml": "[tool.dagster]\nmodule_name = 3"}, None, "module_name must be text"),
        ({"dg.toml": "[project]\nname = 'a'"}, None, "root_module of the dg project is missing"),
        ({"workspace.yaml": TWO}, None, r"several code locations: one, two.py, grpc:localhost:4000\. Name one"),
        ({"workspace.yaml": TWO}, "three", "no code location 'three'; there is one, two.py"),
        ({"workspace.yaml": TWO}, "grpc:localhost:4000", "is served by somebody else"),
        (
            {"workspace.yaml": "load_from: [{python_module: {module_name: a, executable_path: venv/bin/python}}]"},
            None,
            r"served by another Python.*venv/bin/python -m bench_orchestrator try",
        ),
    ],
)
def test_what_cannot_be_loaded_here_is_refused(
    folder: Path, files: dict[str, str], location: str | None, message: str
) -> None:
    for name, content in files.items():
        (folder / name).write_text(content)
    with pytest.raises(DeploymentError, match=message):
        find_code(folder, location=location)


def test_the_own_python_is_no_other(folder: Path) -> None:
    entry = f"{{python_module: {{module_name: a, executable_path: {sys.executable}}}}}"
    (folder / "workspace.yaml").write_text(f"load_from: [{entry}]")
    assert find_code(folder).target == "a"


def test_a_workspace_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(DeploymentError, match=r"There is no file .*nowhere\.yaml"):
        find_code(folder, workspace=folder / "nowhere.yaml")


@pytest.mark.parametrize("kind", TargetKind)
def test_a_probed_location_hands_the_code_on(folder: Path, kind: TargetKind) -> None:
    code = CodeLocation("shop", "target", "defs", folder / "src", environment={"TOKEN": "secret"}, kind=kind)
    made = probed_location(code, "shop_warm", folder, WARM_SERVER)
    assert (made.name, made.server, made.working_directory) == ("shop_warm", WARM_SERVER, folder)
    assert made.arguments[-6:-2] == ["--module-name", "synthetic_locations.probe", "--attribute", "definitions"]
    options = read_options(made.environment)
    assert {name: value for name, value in options.items() if value} == {
        kind.removeprefix("--").replace("-", "_"): "target",
        "attribute": "defs",
        "working_directory": str(folder / "src"),
    }
    assert len(options) == 6
    assert made.environment["TOKEN"] == "secret"
    assert json.dumps(dict(made.environment))
    assert probed_location(code, "shop", folder, STOCK_SERVER).server == STOCK_SERVER
