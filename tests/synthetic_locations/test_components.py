"""The components of `dg` projects: scaffolded as a user does it, loaded by Dagster's own loader, launched."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest
from dagster.components.core.component_tree import ComponentTreeException
from dagster.components.core.package_entry import discover_entry_point_package_objects
from dagster.components.testing import create_defs_folder_sandbox

from synthetic_locations.components import LaunchProbe, SyntheticLocation
from synthetic_locations.probe import with_probe
from synthetic_locations.probed import PROBE

# Dagster itself uses them to load components.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated"),
    pytest.mark.filterwarnings("ignore:Class `\\w+` is currently in beta"),
]


@contextmanager
def scaffolded(component: type[dg.Component], attributes: Mapping[str, Any] | None = None) -> Iterator[dg.Definitions]:
    """Scaffold a component in a project and load it, with what `dg scaffold defs` writes or with these attributes."""
    contents = {"type": f"{component.__module__}.{component.__name__}", "attributes": dict(attributes or {})}
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(component, defs_yaml_contents=contents if attributes else None)
        with sandbox.load_component_and_build_defs(path) as (_, definitions):
            yield definitions


def keys_of(definitions: dg.Definitions) -> set[str]:
    return {key.to_user_string() for key in definitions.get_repository_def().asset_graph.executable_asset_keys}


def test_dagster_finds_them_in_its_registry() -> None:
    found = {key.to_typename(): kind for key, kind in discover_entry_point_package_objects().items()}
    assert found["synthetic_locations.components.LaunchProbe"] is LaunchProbe
    assert found["synthetic_locations.components.SyntheticLocation"] is SyntheticLocation


def test_a_scaffolded_probe_is_an_asset_that_needs_nothing() -> None:
    with scaffolded(LaunchProbe) as definitions:
        assert keys_of(definitions) == {PROBE}
        assert definitions.resolve_implicit_global_asset_job_def().execute_in_process().success
        assert with_probe(definitions) is not None


def test_its_key_and_group_can_be_chosen() -> None:
    with scaffolded(LaunchProbe, {"key": "platform/probe", "group": "platform"}) as definitions:
        graph = definitions.get_repository_def().asset_graph
        assert keys_of(definitions) == {"platform/probe"}
        assert graph.get(dg.AssetKey(["platform", "probe"])).group_name == "platform"


def test_a_synthetic_location_has_the_assets_of_its_shape() -> None:
    with scaffolded(SyntheticLocation, {"shape": "a3"}) as definitions:
        assert len(keys_of(definitions)) == 3


def test_a_shape_that_is_none_is_refused_with_the_grammar() -> None:
    with pytest.raises(ComponentTreeException) as refused, scaffolded(SyntheticLocation, {"shape": "nonsense"}):
        pass
    assert isinstance(refused.value.__cause__, ValueError)
    assert "'nonsense'" in str(refused.value.__cause__)
