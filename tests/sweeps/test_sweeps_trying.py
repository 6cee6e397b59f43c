"""A user's code is tried like any sweep: planned, carried out and derived, with the probe as its only asset."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Self
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from try_samples import stages_us

from bench_orchestrator.deployment import CodeLocation, DeploymentError, DeploymentStatus
from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.runs import RunEvent, RunLog
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.trying import BASE, FEWEST, LAUNCHES, STOCK, WARM
from bench_orchestrator.sweeps import trying
from bench_orchestrator.sweeps.deployments import Site
from bench_orchestrator.sweeps.runner import SweepAbortedError
from bench_orchestrator.sweeps.trying import Attempt, Checkout, affordable_launches, carry_out
from bench_orchestrator.webserver import LocationEntry, Webserver
from synthetic_locations.probed import PROBE, read_options

CODE = CodeLocation("shop", "shop.definitions")
ASSETS = {"orders": False, "customers": True, PROBE: False}
BEGAN_US = 1_784_021_400_000_000


class FakeWebserver(Webserver):
    """Serves both locations, with these assets."""

    def __init__(self, assets: Mapping[str, bool]) -> None:
        self.assets, self.url = assets, "http://fake"

    def list_locations(self) -> dict[str, LocationEntry]:
        return {name: LocationEntry(name, "loaded", ("__repository__",)) for name in ("shop", "shop_warm", "shop_base")}

    def list_assets(self, location: str, repository: str) -> dict[str, bool]:
        assert location.startswith("shop")
        assert repository == "__repository__"
        return dict(self.assets)


class Recorded:
    """A view that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None: ...

    def say(self, line: str) -> None:
        self.lines.append(line)

    def update(self, status: DeploymentStatus) -> None: ...


def log_of(variant: str) -> RunLog:
    """Return the log of a launch with the stages of that side."""
    stages = stages_us(variant)
    types = {
        Stage.PLAN_EVENTS: "PIPELINE_ENQUEUED",
        Stage.QUEUE_WAIT: "PIPELINE_STARTING",
        Stage.WORKER_LOAD: "PIPELINE_START",
        Stage.STEP_INIT: "STEP_START",
    }
    events, at_us = [], BEGAN_US
    for stage in Stage:
        at_us += stages[stage]
        if stage in types:
            events.append(RunEvent(types[stage], at_us, PROBE if stage is Stage.STEP_INIT else None))
    return RunLog(tuple(events), work=1, materializations=1)


Noting = Callable[[SweepPlan], Iterator[TrialNote]]


def all_well(plan: SweepPlan) -> Iterator[TrialNote]:
    for trial in plan.trials:
        yield TrialNote(
            trial.number,
            Outcome.OK,
            run_id=f"run-{trial.number}",
            requested_us=BEGAN_US,
            created_us=BEGAN_US + 100_000,
            log=log_of(trial.variant),
        )


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., mock.Mock]:
    """Replace the deployment, and the launches in it."""

    def deploy(noting: Noting = all_well, *, assets: Mapping[str, bool] = ASSETS, load_s: float = 3.0) -> mock.Mock:
        deployment = mock.MagicMock()
        site = Site(
            "try", FakeWebserver(assets), mock.Mock(), mock.Mock(), {"dagster": "1.13"}, load_s={"shop": load_s}
        )
        monkeypatch.setattr(trying, "Deployment", deployment)
        monkeypatch.setattr(trying, "await_loaded", mock.Mock())
        monkeypatch.setattr(trying, "DagsterInstance", mock.Mock(from_config=lambda _: nullcontext()))
        monkeypatch.setattr(trying, "own_site", lambda *_: site)
        monkeypatch.setattr(trying, "settle", mock.Mock())
        monkeypatch.setattr(trying, "trial_line", lambda _site, _plan, note: f"trial {note.number}: {note.outcome}")
        monkeypatch.setattr(trying, "run_trials", lambda plan, *_, **__: noting(plan))
        return deployment

    return deploy


def attempt(tmp_path: Path, **changes: Any) -> Attempt:
    options: dict[str, Any] = {"warm": True, "launches": 2, "timeout_s": 60.0} | changes
    return Attempt(Checkout(CODE, tmp_path), tmp_path, **options)


def test_the_probe_is_launched_on_both_sides_in_every_block(deployed: Callable[..., mock.Mock], tmp_path: Path) -> None:
    deployment, view = deployed(), Recorded()
    sweep = carry_out(attempt(tmp_path), view)
    served = deployment.call_args.args[1]
    assert [(one.name, one.server[0]) for one in served] == [("shop", "dagster"), ("shop_warm", "dagster_warm")]
    assert {trial.asset_key for trial in sweep.trials} == {PROBE}
    assert {(trial.variant, trial.location) for trial in sweep.trials} == {(STOCK, "shop"), (WARM, "shop_warm")}
    blocks = [{trial.variant for trial in sweep.trials if trial.block == block} for block in (1, 2, 3)]
    assert blocks == [{STOCK, WARM}] * 3
    assert [trial.warmup for trial in sweep.trials] == [True] * 2 + [False] * 4
    assert {trial.asset_count for trial in sweep.trials} == {2}
    assert all(trial.outcome is Outcome.OK for trial in sweep.trials)
    assert {trial.launch.lag_us for trial in sweep.trials if trial.variant == STOCK} == {9_700_000}
    assert view.lines[1:-1] == [f"trial {number}: ok" for number in range(1, 7)]
    assert deployment.return_value.__exit__.called


def test_cold_code_is_launched_on_one_side(deployed: Callable[..., mock.Mock], tmp_path: Path) -> None:
    deployment = deployed()
    sweep = carry_out(attempt(tmp_path, warm=False), Recorded())
    assert [one.name for one in deployment.call_args.args[1]] == ["shop"]
    assert {trial.variant for trial in sweep.trials} == {STOCK}


def test_another_checkout_is_launched_in_the_same_blocks(deployed: Callable[..., mock.Mock], tmp_path: Path) -> None:
    deployment = deployed()
    base = Checkout(replace(CODE, target="old.definitions"), tmp_path / "base")
    sweep = carry_out(attempt(tmp_path, warm=False, base=base), Recorded())
    served = {one.name: one for one in deployment.call_args.args[1]}
    assert served.keys() == {"shop", "shop_base"}
    for name, module, folder in (("shop", "shop.definitions", tmp_path), ("shop_base", "old.definitions", base.folder)):
        assert served[name].working_directory == folder
        assert read_options(served[name].environment)["module_name"] == module
    assert {(trial.variant, trial.location) for trial in sweep.trials} == {(STOCK, "shop"), (BASE, "shop_base")}
    assert [{trial.variant for trial in sweep.trials if trial.block == block} for block in (1, 2, 3)] == [
        {STOCK, BASE}
    ] * 3


def test_a_warm_up_that_fails_is_the_last_launch(deployed: Callable[..., mock.Mock], tmp_path: Path) -> None:
    def failing(plan: SweepPlan) -> Iterator[TrialNote]:
        yield TrialNote(plan.trials[0].number, Outcome.REJECTED, "no such job")
        raise AssertionError("a second trial was launched")

    deployment = deployed(failing)
    sweep = carry_out(attempt(tmp_path), Recorded())
    assert [trial.outcome for trial in sweep.trials] == [Outcome.REJECTED] + [Outcome.LOST] * 5
    assert deployment.return_value.__exit__.called


def test_slow_code_is_launched_less_often_which_is_said(deployed: Callable[..., mock.Mock], tmp_path: Path) -> None:
    deployed(load_s=90.0)
    view = Recorded()
    sweep = carry_out(attempt(tmp_path, launches=None), view)
    assert len(sweep.trials) == 2 * (FEWEST + 1)
    assert any("took 90 s to start: 3 launches on each side instead of 8" in line for line in view.lines)


def test_a_location_without_the_probe_is_refused(deployed: Callable[..., mock.Mock], tmp_path: Path) -> None:
    deployed(assets={"orders": False})
    with pytest.raises(PreflightError, match="Dagster loads shop, shop_warm without the probe"):
        carry_out(attempt(tmp_path), Recorded())


def test_a_webserver_that_goes_away_is_one_line(deployed: Callable[..., mock.Mock], tmp_path: Path) -> None:
    def gone(plan: SweepPlan) -> Iterator[TrialNote]:
        yield from list(all_well(plan))[:1]
        raise SweepAbortedError("the webserver is gone")

    deployed(gone)
    with pytest.raises(DeploymentError, match="the webserver is gone"):
        carry_out(attempt(tmp_path), Recorded())


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_slower_the_code_the_fewer_launches(one_s: float, other_s: float) -> None:
    fast, slow = sorted((one_s, other_s))
    assert FEWEST <= affordable_launches(slow) <= affordable_launches(fast) <= LAUNCHES
    assert affordable_launches(0) == LAUNCHES
