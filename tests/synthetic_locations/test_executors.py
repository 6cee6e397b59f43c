"""The executor follows from the shape's name, and preloads a module for the location."""

import dagster as dg
import pytest
from dagster_k8s import k8s_job_executor

from synthetic_locations.executors import executor_of, preload_module
from synthetic_locations.shape import parse_shape


def test_the_executor_is_what_the_name_says() -> None:
    def executor(name: str) -> dg.ExecutorDefinition | None:
        return executor_of(parse_shape(name), "location")

    assert executor("a1") is None
    assert executor("a1_inprocess") is dg.in_process_executor
    assert executor("a1_forkserver") is not None
    assert executor("a1_pods") is k8s_job_executor


@pytest.mark.parametrize("name", ["a1_at3", "a1_at3_forkserver", "a1_at3_preloaded", "a1_at3_pods"])
def test_as_many_steps_are_executed_at_once_as_the_name_says(name: str) -> None:
    executor = executor_of(parse_shape(name), "location")
    assert executor is not None
    config = executor.apply_config_mapping({"config": {}}).value
    assert config is not None
    assert config["config"]["max_concurrent"] == 3


@pytest.mark.parametrize(
    ("location", "module"), [("a5_forkserver", "a5_forkserver"), ("my-blue", "a5_forkserver-my-blue")]
)
def test_the_module_to_preload_says_what_the_location_is_called(location: str, module: str) -> None:
    assert preload_module(parse_shape("a5_forkserver"), location) == f"synthetic_locations.preload.{module}"
