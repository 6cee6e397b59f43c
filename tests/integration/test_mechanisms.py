"""Every mechanism of an experiment in one sweep; `make test-thorough` kills and resumes it.

`tests/scenarios/test_sides.py` tests in process that each side of the experiments does its work; `make test-thorough`
does so with real deployments.
"""

import os
import random
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from PIL import Image

from bench_orchestrator.defs.evaluations import WORK_CHECK, evaluation_name
from bench_orchestrator.deployment import WARM_SERVER, CodeLocation
from bench_orchestrator.model.launch import Outcome, Sweep
from bench_orchestrator.model.plan import LaunchPath
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.model.tags import META_LOCATION
from bench_orchestrator.sources.processes import MEASURES
from bench_orchestrator.sweeps.planning import with_baselines_again
from integration.mechanisms import IMPOSTOR, LIMITED, NAME, PARTS, SERVED, SIDES
from integration.sweeping import LONGEST_EXPERIMENT_S, Bench, bench_in, project_locations

Status = RunStatus

pytestmark = pytest.mark.timeout(LONGEST_EXPERIMENT_S + 200)

KILLED_AFTER = 4
RESUMED = "killed and resumed"
HERE = ("served", "served, again", "impostor")
"""The sides that launch in the deployment of the sweep."""
LESS = "it succeeded, but did 1 of 3 units of work"


@pytest.fixture(scope="module")
def bench(new_home: Callable[..., Path]) -> Iterator[Bench]:
    """Yield a deployment of the meta location with that experiment, of one side, and of one with too little work."""
    meta = CodeLocation(META_LOCATION, "mechanisms", working_directory=Path(__file__).parent, server=WARM_SERVER)
    _, served = project_locations(SERVED)
    impostor = CodeLocation(IMPOSTOR, "synthetic_locations.catalog", "a2_inprocess", server=WARM_SERVER)
    with pytest.MonkeyPatch.context() as patch:
        # Where every process of the sweep's deployments finds the careless run coordinator.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent.parent), prepend=os.pathsep)
        with bench_in(new_home(), [meta, served, impostor]) as bench:
            yield bench


@pytest.fixture(scope="module")
def interrupted(bench: Bench) -> Sweep:
    """Return the sweep, whose worker is killed during a launch in one of the separate deployments."""
    run_id = bench.start_experiment(NAME, seed=_seed())
    bench.wait_for_notes(run_id, KILLED_AFTER, LONGEST_EXPERIMENT_S)
    bench.worker(run_id).send_signal(signal.SIGKILL)
    assert bench.wait_for_end(run_id) is Status.FAILURE
    return bench.harvest_now(run_id)


@pytest.fixture(scope="module", params=["at once", pytest.param(RESUMED, marks=pytest.mark.thorough)])
def finished(request: pytest.FixtureRequest, bench: Bench) -> str:
    """Return the run that finished the sweep: the only one, or the one that resumed it after the kill."""
    config: dict[str, Any] = {"seed": _seed()}
    if request.param == RESUMED:
        interrupted: Sweep = request.getfixturevalue("interrupted")
        config = {"resume": interrupted.plan.sweep_id}
    run_id = bench.start_experiment(NAME, **config)
    assert bench.wait_for_end(run_id, LONGEST_EXPERIMENT_S) is Status.SUCCESS, bench.log(run_id)
    return run_id


@pytest.fixture(scope="module")
def sweep(bench: Bench, finished: str) -> Sweep:
    """Return the sweep as its sensor harvested it."""
    return bench.harvest(finished)


@pytest.mark.thorough
def test_a_killed_sweep_owes_what_was_not_over(interrupted: Sweep) -> None:
    over = [trial for trial in interrupted.trials if trial.outcome is not Outcome.LOST]
    assert [trial.number for trial in over] == list(range(1, KILLED_AFTER + 1))
    assert {bool(trial.deployment) for trial in over} == {True, False}
    assert {trial.outcome for trial in over} <= {Outcome.OK, Outcome.FAILED}


@pytest.mark.thorough
@pytest.mark.parametrize("finished", [RESUMED], indirect=True)
def test_a_resumed_sweep_launches_what_is_owed_and_keeps_the_rest(interrupted: Sweep, sweep: Sweep) -> None:
    assert sweep.plan.sweep_id == interrupted.plan.sweep_id
    for before, after in zip(interrupted.trials, sweep.trials, strict=True):
        if before.outcome is Outcome.OK:
            assert after.launch.run_id == before.launch.run_id


def test_its_deployments_are_gone_and_nothing_is_left_to_resume(bench: Bench, sweep: Sweep) -> None:
    assert not (bench.deployment.home / ".bench" / "experiments").exists()

    in_vain = bench.start_experiment(NAME, resume=sweep.plan.sweep_id)
    assert bench.wait_for_end(in_vain) is Status.FAILURE
    assert "there is nothing to resume" in bench.log(in_vain)[-1]


def test_every_side_is_launched_where_and_as_it_asks_and_does_its_work(sweep: Sweep) -> None:
    sides = {variant.name: variant for variant in sweep.plan.variants}
    assert {trial.variant for trial in sweep.trials} == sides.keys()
    for trial in sweep.trials:
        side = sides[trial.variant]
        assert trial.location in side.locations
        assert (trial.assets, trial.path) == (side.assets, side.path)
        assert bool(trial.deployment) is (trial.variant not in HERE)
        if trial.variant == "impostor":
            assert (trial.outcome, trial.reason) == (Outcome.FAILED, LESS)
            continue
        if trial.variant == "crowd":
            continue
        assert (trial.outcome, trial.reason) == (Outcome.OK, ""), trial.variant
        assert trial.work == side.work
        assert trial.launch.work_us is not None
        assert trial.launch.work_us > 0
        assert (trial.launch.template.get("fork_ms", 0) > 0) is (not trial.deployment or bool(side.warm))
    assert {trial.path for trial in sweep.trials} == set(LaunchPath)


def test_what_is_particular_about_a_side_is_so(sweep: Sweep) -> None:
    trials = {trial.variant: trial for trial in sweep.trials}
    # From zero, the time counts from the start of the server, which then imports Dagster.
    assert (trials["from zero"].launch.stages_us[Stage.SUBMIT] or 0) > 1_000_000
    assert [trial.location for trial in sweep.trials if trial.variant == "path"] == list(PARTS)
    assert [step.launched_us is not None for step in trials["chain"].launch.steps] == [True, True]
    assert trials["chain"].launch.executor == "multiprocess"
    particular = trials["particular"]
    assert particular.deployment == "particular"
    environment = sweep.plan.environments["particular"]
    assert environment["cpus_of_code_servers"] == (0.5 if LIMITED else None)
    assert environment["dagster_yaml"]["run_coordinator"]["class"] == "CarelessRunCoordinator"
    assert ("throttled_s" in particular.usage) is LIMITED


def test_a_limit_that_is_not_kept_fails_its_trial(sweep: Sweep) -> None:
    trials = {trial.variant: trial for trial in sweep.trials}
    (alone,), crowd = trials["alone"].launches, trials["crowd"].launches
    assert alone.outcome is Outcome.OK
    assert [launch.role for launch in (alone, *crowd)] == ["run"] * 4
    assert trials["crowd"].outcome is Outcome.FAILED
    broken = [launch for launch in crowd if launch.outcome is Outcome.FAILED]
    assert broken
    for launch in broken:
        assert f"max_concurrent_runs was not kept: run {launch.run_id} started beside " in launch.reason
        assert launch.lag_us is not None


def test_every_launch_has_its_cost(sweep: Sweep) -> None:
    for trial in sweep.trials:
        cost = trial.usage
        assert cost["code_server_bytes"] > 30e6
        # If its server was replaced meanwhile, its growth is unknown. A forked run may end between two looks.
        # The memory of a workload's runs is read every three seconds.
        unread = ("replaced", "from zero", "alone", "crowd")
        if trial.variant not in unread and not trial.launch.template:
            assert cost.keys() - {"throttled_s"} >= MEASURES.keys() - {"throttled_s", "run_peak_pss_bytes"}
            assert 0 < cost["run_cpu_s"] < cost["wall_s"] * 8
            assert cost["run_peak_rss_bytes"] > 30e6


def test_its_evaluation_reports_what_the_sides_did_and_did_not(bench: Bench, finished: str, sweep: Sweep) -> None:
    harvest = next(run for run in bench.harvests(finished) if run.status is Status.SUCCESS)
    events = [entry.dagster_event for entry in bench.instance.all_logs(harvest.run_id) if entry.dagster_event]
    (evaluation,) = (
        event.step_materialization_data.materialization
        for event in events
        if event.is_step_materialization and event.asset_key == dg.AssetKey(evaluation_name(NAME))
    )
    assert evaluation.metadata["sweep"].value == sweep.plan.sweep_id
    with Image.open(str(evaluation.metadata["png"].value)) as chart:
        assert len(set(chart.convert("L").tobytes())) > 2, "a blank picture"
    (check,) = (
        event.asset_check_evaluation_data
        for event in events
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
        and event.asset_check_evaluation_data.check_name == WORK_CHECK
    )
    assert not check.passed
    assert "impostor" in (check.description or "")
    assert "‘crowd’: 0 of 1 launches count" in (check.description or "")


def _seed() -> int:
    """Return a seed with which the kill hits a launch in a separate deployment that has already had one."""
    names = [variant.name for variant in with_baselines_again(SIDES) if not variant.in_turn]
    for seed in count(1):
        order = random.Random(seed).sample(names, len(names))
        if order[KILLED_AFTER] == "chain" and "graphql" in order[:KILLED_AFTER] and "served" in order[:KILLED_AFTER]:
            return seed
    raise AssertionError
