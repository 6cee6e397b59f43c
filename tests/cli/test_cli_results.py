"""Tests of the results database that a command keeps its sweep in."""

from dataclasses import replace
from pathlib import Path

import pytest
import samples

from bench_orchestrator.cli.results import keep, open_results
from bench_orchestrator.results.database import StoreError

SWEEP = samples.measured_sweep(("a250",), repeats=6)


def test_a_sweep_is_kept_once_and_renewed(home: Path) -> None:
    assert keep(SWEEP).path == open_results().path
    assert home in open_results().path.parents
    keep(SWEEP)
    canceled = replace(SWEEP, status="CANCELED")
    keep(canceled)
    assert open_results().load(SWEEP.plan.sweep_id) == canceled


@pytest.mark.usefixtures("home")
def test_another_deployments_sweep_of_the_same_id_replaces_none() -> None:
    keep(SWEEP)
    with pytest.raises(StoreError, match=f"has another sweep {SWEEP.plan.sweep_id}, which is kept"):
        keep(replace(SWEEP, plan=replace(SWEEP.plan, created_us=SWEEP.plan.created_us + 1)))
    assert open_results().load(SWEEP.plan.sweep_id) == SWEEP
