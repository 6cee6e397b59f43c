"""The module's attributes are code locations, for Dagster and for Python's own tools."""

import keyword
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from synthetic_locations import catalog
from synthetic_locations.shape import GRAMMAR, parse_shape

WORKSPACE = Path(__file__).parents[2] / "workspace.yaml"


def run_python(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("name", catalog.LOCATIONS)
def test_named_locations_are_shapes(name: str) -> None:
    assert parse_shape(name).name == name
    assert not keyword.iskeyword(name)


def test_any_shape_is_a_location() -> None:
    specs = catalog.a3_chain().resolve_all_asset_specs()
    assert {spec.key.path[0] for spec in specs} == {"a3_chain"}


def test_a_location_is_built_once_per_process() -> None:
    assert catalog.a4 is catalog.a4
    assert catalog.a4() is catalog.a4()


def test_a_name_that_is_no_shape_is_answered_with_the_grammar() -> None:
    with pytest.raises(ValueError, match="'foo' is not the name of a shape") as raised:
        catalog.foo  # noqa: B018
    assert GRAMMAR in str(raised.value)


@pytest.mark.parametrize("name", ["__wrapped__", "_repr_html_"])
def test_what_tools_probe_for_is_not_there(name: str) -> None:
    assert not hasattr(catalog, name)


def test_the_workspace_has_the_meta_location_and_the_catalog() -> None:
    targets = [entry["python_module"] for entry in yaml.safe_load(WORKSPACE.read_text())["load_from"]]
    meta, *synthetic = targets
    assert meta == {"module_name": "bench_orchestrator.definitions", "location_name": "bench_orchestrator"}
    assert tuple(target["attribute"] for target in synthetic) == catalog.LOCATIONS
    assert all(target["location_name"] == target["attribute"] for target in synthetic)
    assert {target["module_name"] for target in synthetic} == {catalog.__name__}


def test_loading_imports_nothing_heavy_besides_dagster() -> None:
    code = """
import sys, dagster
before = set(sys.modules)
from synthetic_locations import catalog
catalog.a10p5_daily_checks2().get_repository_def()
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
"""
    assert set(run_python(code).split()) <= {"dagster", "dagster_shared", "synthetic_locations"}


def test_shapes_and_names_of_pools_do_not_need_dagster() -> None:
    code = "import sys, synthetic_locations.pools, synthetic_locations.shape; print('dagster' in sys.modules)"
    assert run_python(code) == "False"
