"""Experiments whose sides need separate deployments, at their quick size: each side does its work.

Kept apart from the others, whose many code servers would take CPU from these.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench_orchestrator.deployment.cpu_limits import why_no_cpu_limits
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from integration.sweeping import LONGEST_EXPERIMENT_S, SERVED_EXPERIMENTS, Bench, bench_in, carry_out, project_locations

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(LONGEST_EXPERIMENT_S + 200)]


@pytest.fixture(scope="module")
def bench(new_home: Callable[..., Path]) -> Iterator[Bench]:
    """Yield a deployment of the meta location only."""
    with bench_in(new_home(), project_locations()) as bench:
        yield bench


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in (*SERVED_EXPERIMENTS, "cpu-limit")])
def test_every_side_does_its_work(bench: Bench, name: str) -> None:
    carry_out(bench, name)


@pytest.mark.skipif(bool(why_no_cpu_limits()), reason=why_no_cpu_limits())
def test_every_side_does_its_work_within_its_cpus(bench: Bench) -> None:
    carry_out(bench, "cpu-limit")
