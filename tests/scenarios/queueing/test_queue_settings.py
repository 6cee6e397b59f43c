"""Dagster takes the settings of each side, its queue and its limits; a plan keeps its workload."""

from pathlib import Path

import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.run_coordinator import QueuedRunCoordinator
from pydantic import TypeAdapter

from bench_orchestrator.model.plan import Variant
from bench_orchestrator.scenarios.queueing import EXPERIMENTS
from dagster_warm.queue import PromptRunCoordinator

SIDES = {f"{experiment.name}, {side.name}": side for experiment in EXPERIMENTS for side in experiment.scenario.variants}


@pytest.mark.parametrize("side", [pytest.param(side, id=name) for name, side in SIDES.items() if side.instance])
def test_dagster_takes_them(tmp_path: Path, side: Variant) -> None:
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(dict(side.instance)))
    reference = InstanceRef.from_dir(str(tmp_path))  # without its databases, which take seconds
    assert reference.run_coordinator_data is not None
    coordinator = reference.run_coordinator_data.rehydrate(as_type=QueuedRunCoordinator)
    assert isinstance(coordinator, PromptRunCoordinator) == ("at once" in side.name)
    assert reference.settings["concurrency"] == side.instance["concurrency"]


@pytest.mark.parametrize("side", SIDES.values(), ids=list(SIDES))
def test_a_plan_keeps_its_workload(side: Variant) -> None:
    kept = TypeAdapter(Variant)
    assert kept.validate_json(kept.dump_json(side)) == side
