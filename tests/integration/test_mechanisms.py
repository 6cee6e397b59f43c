"""Every mechanism of an experiment in one sweep, which is killed on the way and resumed.

That each side of the experiments does its work is tested in process (`tests/scenarios/test_sides.py`), and with real
deployments by `make test-thorough`.
"""

import random
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import dagster as dg
import pytest

from bench_orchestrator.defs.evaluations import WORK_CHECK, evaluation_name
from bench_orchestrator.deployment import META_LOCATION, WARM_SERVER, CodeLocation
from bench_orchestrator.model.launch import Outcome, Sweep
from bench_orchestrator.model.plan import LaunchPath
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.sources.processes import MEASURES
from bench_orchestrator.sweeps.planning import with_baselines_again
from integration.mechanisms import IMPOSTOR, LIMITED, NAME, PARTS, SERVED, SIDES
from integration.sweeping import LONGEST_EXPERIMENT_S, Bench, bench_in, project_locations

Status = dg.DagsterRunStatus

pytestmark = pytest.mark.timeout(LONGEST_EXPERIMENT_S + 200)

KILLED_AFTER = 4
HERE = ("served", "served, again", "impostor")
"""The sides that are launched in the deployment around the sweep."""
LESS = "it succeeded, but did 1 of 3 units of work"


@pytest.fixture(scope="module")
def bench(new_home: Callable[..., Path]) -> Iterator[Bench]:
    """A deployment of the meta location with that experiment, of one side, and of one that is not what it says."""
    meta = CodeLocation(META_LOCATION, "mechanisms", working_directory=Path(__file__).parent, server=WARM_SERVER)
    _, served = project_locations(SERVED)
    impostor = CodeLocation(IMPOSTOR, "synthetic_locations.catalog", "a2_inprocess", server=WARM_SERVER)
    with bench_in(new_home(), [meta, served, impostor]) as bench:
        yield bench


@pytest.fixture(scope="module")
def interrupted(bench: Bench) -> Sweep:
    """The sweep, its worker killed while a launch in one of its own deployments is under way."""
    run_id = bench.start_experiment(NAME, seed=_seed())
    bench.wait_for_notes(run_id, KILLED_AFTER)
    bench.worker(run_id).send_signal(signal.SIGKILL)
    assert bench.wait_for_end(run_id) is Status.FAILURE
    return bench.harvest_now(run_id)


@pytest.fixture(scope="module")
def resumed(bench: Bench, interrupted: Sweep) -> str:
    """The run that resumes it, when it is over."""
    run_id = bench.start_experiment(NAME, resume=interrupted.plan.sweep_id)
    assert bench.wait_for_end(run_id, LONGEST_EXPERIMENT_S) is Status.SUCCESS, bench.log(run_id)
    return run_id


@pytest.fixture(scope="module")
def sweep(bench: Bench, resumed: str) -> Sweep:
    """What its sensor had harvested."""
    return bench.harvest(resumed)


def test_a_killed_sweep_owes_what_was_not_over(interrupted: Sweep) -> None:
    over = [launch for launch in interrupted.launches if launch.outcome is not Outcome.LOST]
    assert [launch.trial for launch in over] == list(range(1, KILLED_AFTER + 1))
    assert {bool(launch.deployment) for launch in over} == {True, False}
    assert {launch.outcome for launch in over} <= {Outcome.OK, Outcome.FAILED}


def test_a_resumed_sweep_launches_what_is_owed_and_keeps_the_rest(
    bench: Bench, interrupted: Sweep, sweep: Sweep
) -> None:
    assert sweep.plan.sweep_id == interrupted.plan.sweep_id
    for before, after in zip(interrupted.launches, sweep.launches, strict=True):
        if before.outcome is Outcome.OK:
            assert after.run_id == before.run_id
    assert not (bench.deployment.home / ".bench" / "experiments").exists()

    in_vain = bench.start_experiment(NAME, resume=sweep.plan.sweep_id)
    assert bench.wait_for_end(in_vain) is Status.FAILURE
    assert "there is nothing to resume" in bench.log(in_vain)[-1]


def test_every_side_is_launched_where_and_as_it_asks_and_does_its_work(sweep: Sweep) -> None:
    sides = {variant.name: variant for variant in sweep.plan.variants}
    assert {launch.variant for launch in sweep.launches} == sides.keys()
    for launch in sweep.launches:
        side = sides[launch.variant]
        assert launch.location in side.locations
        assert (launch.assets, launch.path) == (side.assets, side.path)
        assert bool(launch.deployment) is (launch.variant not in HERE)
        if launch.variant == "impostor":
            assert (launch.outcome, launch.reason) == (Outcome.FAILED, LESS)
            continue
        assert (launch.outcome, launch.reason) == (Outcome.OK, ""), launch.variant
        assert launch.work == side.work
        assert launch.work_us is not None
        assert launch.work_us > 0
        assert (launch.template.get("fork_ms", 0) > 0) is (not launch.deployment or bool(side.warm))
    assert {launch.path for launch in sweep.launches} == set(LaunchPath)


def test_what_is_particular_about_a_side_is_so(sweep: Sweep) -> None:
    launches = {launch.variant: launch for launch in sweep.launches}
    # From zero, the time counts from when the server is asked to come up, and that imports Dagster.
    assert (launches["from zero"].stages_us[Stage.SUBMIT] or 0) > 1_000_000
    assert [launch.location for launch in sweep.launches if launch.variant == "path"] == list(PARTS)
    assert [step.launched_us is not None for step in launches["chain"].steps] == [True, True]
    assert launches["chain"].executor == "multiprocess"
    particular = launches["particular"]
    assert particular.deployment == "particular"
    assert particular.stages_us[Stage.QUEUE_WAIT] == 0
    environment = sweep.plan.environments["particular"]
    assert environment["cpus_of_code_servers"] == (0.5 if LIMITED else None)
    assert environment["dagster_yaml"]["run_coordinator"]["class"] == "DefaultRunCoordinator"
    assert ("throttled_s" in particular.usage) is LIMITED


def test_every_launch_has_its_cost(sweep: Sweep) -> None:
    for launch in sweep.launches:
        cost = launch.usage
        assert cost["code_server_bytes"] > 30e6
        # One whose server was ended meanwhile has no growth.
        if launch.variant not in ("replaced", "from zero"):
            assert cost.keys() - {"throttled_s"} >= MEASURES.keys() - {"throttled_s", "run_peak_pss_bytes"}
            assert 0 < cost["run_cpu_s"] < cost["wall_s"] * 8
            assert cost["run_peak_rss_bytes"] > 30e6


def test_its_evaluation_tells_what_the_sides_did_and_did_not(bench: Bench, resumed: str, sweep: Sweep) -> None:
    harvest = next(run for run in bench.harvests(resumed) if run.status is Status.SUCCESS)
    events = [entry.dagster_event for entry in bench.instance.all_logs(harvest.run_id) if entry.dagster_event]
    (evaluation,) = (
        event.step_materialization_data.materialization
        for event in events
        if event.is_step_materialization and event.asset_key == dg.AssetKey(evaluation_name(NAME))
    )
    assert evaluation.metadata["sweep"].value == sweep.plan.sweep_id
    (check,) = (
        event.asset_check_evaluation_data
        for event in events
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
        and event.asset_check_evaluation_data.check_name == WORK_CHECK
    )
    assert not check.passed
    assert "impostor" in (check.description or "")


def _seed() -> int:
    """One with which the launch that the kill meets is in the sweep's own deployment, and one before it was."""
    names = [variant.name for variant in with_baselines_again(SIDES) if not variant.in_turn]
    for seed in count(1):
        order = random.Random(seed).sample(names, len(names))
        if order[KILLED_AFTER] == "chain" and "graphql" in order[:KILLED_AFTER] and "served" in order[:KILLED_AFTER]:
            return seed
    raise AssertionError
