"""Every named scenario can be launched in this project's locations, and Dagster accepts its names."""

import re
from pathlib import Path

import pytest
import yaml

from bench_orchestrator.model.plan import Scenario
from bench_orchestrator.scenarios.registry import MONITOR, SCENARIOS, STUDY_LOCATIONS, sweep_job_name, sweep_op_name

WORKSPACE = Path(__file__).parents[2] / "workspace.yaml"


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
class TestAScenario:
    def test_its_locations_are_in_the_workspace(self, scenario: Scenario) -> None:
        entries = yaml.safe_load(WORKSPACE.read_text())["load_from"]
        served = {entry["python_module"]["location_name"] for entry in entries}
        assert set(scenario.locations) <= served
        assert len(set(scenario.locations)) == len(scenario.locations)
        assert (len(scenario.locations) > 1) is not bool(scenario.variants)

    def test_it_asks_a_question_and_measures(self, scenario: Scenario) -> None:
        assert re.search(r"[?.]$", scenario.question)
        assert scenario.repeats >= 1
        assert scenario.warmups >= 0

    def test_its_job_and_op_have_unique_names(self, scenario: Scenario) -> None:
        job, op = sweep_job_name(scenario.name), sweep_op_name(scenario.name)
        assert re.fullmatch(r"sweep_[a-z0-9_]+", job)
        assert re.fullmatch(r"launch_[a-z0-9_]+", op)


def test_names_are_keys_and_stay_apart_as_jobs() -> None:
    assert all(name == scenario.name for name, scenario in SCENARIOS.items())
    assert len({sweep_job_name(name) for name in SCENARIOS}) == len(SCENARIOS)
    assert MONITOR in SCENARIOS


def test_the_study_is_measured_whole() -> None:
    assert SCENARIOS["all-locations"].locations == STUDY_LOCATIONS
    assert len(STUDY_LOCATIONS) == 7
