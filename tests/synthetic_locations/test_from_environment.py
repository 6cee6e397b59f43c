"""A code location described by environment variables."""

import os
import subprocess
import sys

import pytest

from synthetic_locations.from_environment import definitions_from
from synthetic_locations.shape import GRAMMAR


@pytest.mark.parametrize(
    ("environment", "location"),
    [
        ({"BENCH_SHAPE": "a3"}, "a3"),
        ({"BENCH_SHAPE": "a3", "BENCH_LOCATION_NAME": ""}, "a3"),
        ({"BENCH_SHAPE": "a3", "BENCH_LOCATION_NAME": "blue"}, "blue"),
    ],
)
def test_the_environment_says_what_the_location_is(environment: dict[str, str], location: str) -> None:
    keys = [spec.key for spec in definitions_from(environment).resolve_all_asset_specs()]
    assert {key.path[0] for key in keys} == {location}
    assert len(keys) == 3


@pytest.mark.parametrize("environment", [{}, {"BENCH_SHAPE": ""}])
def test_without_a_shape_the_message_says_what_to_set(environment: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="Set BENCH_SHAPE") as raised:
        definitions_from(environment)
    assert GRAMMAR in str(raised.value)


def test_a_bad_shape_is_answered_with_the_grammar() -> None:
    with pytest.raises(ValueError, match="there is no option 'weekly'"):
        definitions_from({"BENCH_SHAPE": "a3_weekly"})


def test_dagster_finds_one_location_in_the_module_and_builds_it_once() -> None:
    code = """
from dagster._core.workspace.autodiscovery import loadable_targets_from_python_module
(target,) = loadable_targets_from_python_module("synthetic_locations.from_environment", None)
assert target.target_definition() is target.target_definition()
print(target.attribute, len(list(target.target_definition().resolve_all_asset_specs())))
"""
    command = [sys.executable, "-W", "error", "-c", code]
    environment = {**os.environ, "BENCH_SHAPE": "a7"}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    assert output == "definitions 7\n"
