"""Experiments in locations that the deployment serves, at their quick size: each side does its work.

`test_mechanisms` tests what they have in common, and `tests/scenarios/test_sides.py` tests their sides in process.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench_orchestrator.deployment import STOCK_SERVER
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from integration.sweeping import LONGEST_EXPERIMENT_S, SERVED_EXPERIMENTS, Bench, bench_in, carry_out, project_locations

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(LONGEST_EXPERIMENT_S + 200)]


@pytest.fixture(scope="module")
def bench(new_home: Callable[..., Path]) -> Iterator[Bench]:
    """Yield a deployment that serves the locations of these experiments."""
    sides = (side for name in SERVED_EXPERIMENTS for side in EXPERIMENTS[name].scenario.quick_variants)
    locations = project_locations(*(name for side in sides for name in side.locations), server=STOCK_SERVER)
    with bench_in(new_home(), locations) as bench:
        yield bench


@pytest.mark.parametrize("name", SERVED_EXPERIMENTS)
def test_every_side_does_its_work(bench: Bench, name: str) -> None:
    carry_out(bench, name)
