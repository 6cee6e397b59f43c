"""Launches extrapolated to another size grow where they load definitions, and nowhere else."""

import random

import pytest
from advice_samples import fitted, sized_sweep, with_stages
from experiment_samples import make_side_launch
from samples import relaunched

from bench_orchestrator.analysis.extrapolation import SMALLEST, Scale
from bench_orchestrator.analysis.lag_model import LagModel, stages_s
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Trial
from bench_orchestrator.model.plan import Variant
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios import queueing
from bench_orchestrator.scenarios.registry import EXPERIMENTS


@pytest.fixture(scope="module")
def model() -> LagModel:
    return fitted(sized_sweep())


def side_launch(location: str, work: int = 1) -> Trial:
    variant = Variant("side", (location,), assets=work, work=work)
    return make_side_launch(variant, location, 1, 1, random.Random(1), scenario="executors")


def test_as_measured_nothing_changes(model: LagModel) -> None:
    trial = side_launch("a2k_chains10", work=10)
    assert trial.launch.lag_us is not None
    assert trial.launch.work_us is not None
    for scale in (Scale(None, 1.0), Scale(model, 1.0), Scale.to(10_000, 2_000, EXPERIMENTS["executors"], None)):
        assert scale.lag_s(trial, queued=True) == pytest.approx(trial.launch.lag_us / MICROSECONDS)
        assert scale.work_s(trial, queued=True) == pytest.approx(trial.launch.work_us / MICROSECONDS)


def test_loading_grows_as_the_fit_says_and_all_else_stays(model: LagModel) -> None:
    trial = side_launch("a2k")
    scale = Scale.to(10_000, 2_000, EXPERIMENTS["executors"], model)
    more_s = sum(
        stages_s(trial, [stage]) * (model.growth([stage], 2_000, 10_000) - 1)
        for stage in (Stage.WORKER_LOAD, Stage.STEP_LOAD)
    )
    measured_s = Scale(None, 1.0).lag_s(trial, queued=False)
    assert scale.lag_s(trial, queued=False) == pytest.approx(measured_s + more_s)
    assert scale.lag_s(trial, queued=True) == pytest.approx(measured_s + more_s + stages_s(trial, [Stage.QUEUE_WAIT]))


def test_a_remedy_takes_the_same_part_off_the_loading_at_any_size(model: LagModel) -> None:
    plain = with_stages(side_launch("a2k"), dict.fromkeys(Stage, 0.0) | {Stage.WORKER_LOAD: 1.0})
    shorter = with_stages(plain, {Stage.WORKER_LOAD: 0.7})
    for assets in (250, 2_000, 40_000):
        scale = Scale.to(assets, 2_000, EXPERIMENTS["loading"], model)
        assert scale.lag_s(shorter, queued=False) == pytest.approx(0.7 * scale.lag_s(plain, queued=False), rel=1e-4)


def test_what_a_forkserver_loads_before_the_first_step_grows_as_well(model: LagModel) -> None:
    boots = {Stage.STEP_BOOT: 4.0}
    forked, spawned = (with_stages(side_launch(f"a2k_chains6{suffix}"), boots) for suffix in ("_preloaded", ""))
    scale = Scale.to(10_000, 2_000, EXPERIMENTS["executors"], model)
    assert scale.start_s(forked) > scale.start_s(spawned) + 1
    as_measured = Scale(model, 1.0)
    assert as_measured.start_s(forked) == pytest.approx(as_measured.start_s(spawned))


def test_each_process_of_a_chain_loads_more(model: LagModel) -> None:
    chain = side_launch("a2k_chains10", work=10)
    more_s = Scale.to(10_000, 2_000, EXPERIMENTS["graph-asset"], model)
    growth = model.growth([Stage.STEP_LOAD], 2_000, 10_000) - 1
    alone = relaunched(chain, steps=chain.launch.steps[:1])
    grown = [more_s.work_s(trial, queued=False) or 0.0 for trial in (chain, alone)]
    assert grown[0] - grown[1] == pytest.approx(9 * growth * stages_s(chain, [Stage.STEP_LOAD]))


def test_what_is_not_known_of_the_work_stays_unknown(model: LagModel) -> None:
    trial = relaunched(side_launch("a2k"), work_us=None)
    scale = Scale.to(10_000, 2_000, EXPERIMENTS["executors"], model)
    assert scale.work_s(trial, queued=True) is None
    assert scale.later_s(trial) is None


@pytest.mark.parametrize(
    ("baseline", "experiment"), [(SMALLEST - 1, "executors"), (10, "dequeue-interval"), (250, "imports")]
)
def test_small_locations_and_what_does_not_grow_are_not_carried_over(
    model: LagModel, baseline: int, experiment: str
) -> None:
    assert Scale.to(10_000, baseline, EXPERIMENTS[experiment], model).times == 1
    assert {one.name for one in EXPERIMENTS.values() if one.flat} == {
        "imports",
        "dequeue-interval",
        *(experiment.name for experiment in queueing.EXPERIMENTS),
    }
