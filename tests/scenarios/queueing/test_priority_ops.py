"""What the scenario measures of a trial, with exact values; what its gate and the order of its sides name."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from batch_samples import etl_run, run_of, step
from experiment_samples import experiment_sweep
from samples import make_trial

from bench_orchestrator.analysis.evaluation import evaluate
from bench_orchestrator.model.launch import Launch, Sweep, Trial
from bench_orchestrator.model.plan import Variant
from bench_orchestrator.model.workload import Submit, Unit, Workload
from bench_orchestrator.scenarios.queueing.priority_ops import EXPERIMENT, FIRST_LOAD, PRIORITISED
from synthetic_locations.shape import parse_shape

MEASURES = {measure.name: measure for measure in EXPERIMENT.measures}


def trial(launch: Launch) -> Trial:
    return replace(make_trial(), launches=(launch,))


def measured(launch: Launch) -> dict[str, float | None]:
    return {name: measure.of(trial(launch)) for name, measure in MEASURES.items()}


def test_each_measure_of_batches_that_advance_together() -> None:
    # Requested at 0, started at 1 s, split until 2 s; then four steps of each stage, one after the other, and 1 s more.
    assert measured(etl_run(4)) == {
        "first_load_s": 2 + 4 + 4 + 1 - 1,
        "first_load_from_request_s": 2 + 4 + 4 + 1,
        "makespan_s": 2 + 12 + 1,
        "batches_in_flight": 4,
        "mean_in_flight": 4 * 9 / 12,
        "inversions": 6,
    }


def test_each_measure_of_one_batch_after_the_other() -> None:
    assert measured(etl_run(4, prioritised=True)) == {
        "first_load_s": 2 + 3 - 1,
        "first_load_from_request_s": 2 + 3,
        "makespan_s": 2 + 12 + 1,
        "batches_in_flight": 1,
        "mean_in_flight": 1,
        "inversions": 0,
    }


def test_a_run_without_batches_has_a_makespan_alone() -> None:
    values = measured(run_of([step("asset_0", 1, 2)]))
    assert {name for name, value in values.items() if value is not None} == {"makespan_s"}


def breaches(launch: Launch) -> list[tuple[str, str]]:
    assert EXPERIMENT.gate is not None
    return [(breach.run_id, breach.what) for breach in EXPERIMENT.gate.breaches(Workload(()), [launch])]


class TestTheGate:
    @pytest.mark.parametrize("static", [False, True])
    def test_passes_a_run_that_loaded_each_batch_once(self, static: bool) -> None:
        assert breaches(etl_run(3, slots=2, static=static)) == []

    def test_names_a_batch_that_was_not_loaded(self) -> None:
        good = etl_run(3)
        bad = replace(good, steps=good.steps[:-1], work=2)
        assert breaches(bad) == [
            ("run1", "run run1 did not load batch_02"),
            ("run1", "run run1 loaded 2 times, 3 batches"),
        ]

    def test_names_a_batch_whose_load_did_not_end(self) -> None:
        good = etl_run(3)
        bad = replace(good, steps=(*good.steps[:-1], replace(good.steps[-1], ended_us=None)))
        assert breaches(bad) == [("run1", "run run1 did not load batch_02")]

    def test_names_a_run_that_loaded_a_batch_twice(self) -> None:
        assert breaches(replace(etl_run(3), work=4)) == [("run1", "run run1 loaded 4 times, 3 batches")]

    def test_is_about_batches_that_the_work_counts(self) -> None:
        assert breaches(replace(etl_run(3), work=0, steps=())) == []  # the trial's work is judged elsewhere


def late(sweep: Sweep, block: int) -> Sweep:
    """Return the sweep with a side whose priorities had no effect in one block."""
    trials = tuple(
        replace(one, launches=(replace(etl_run(6, slots=2), at_us=one.launch.at_us, steps=of.launch.steps),))
        if (one.variant, one.block) == (PRIORITISED, block)
        else one
        for one in sweep.trials
        for of in sweep.trials
        if (of.variant, of.block) == ("dynamic", one.block)
    )
    return replace(sweep, trials=trials)


class TestTheOrderOfTheSides:
    def test_is_said_to_be_kept(self) -> None:
        evaluation = evaluate(experiment_sweep("priority-ops", repeats=3))
        assert evaluation.shortfalls == ()
        kept = f"‘{PRIORITISED}’ was ahead of every other side in each of 3 blocks: {FIRST_LOAD.label}"
        assert kept in evaluation.sentences

    def test_is_broken_by_a_first_load_that_is_not_before_the_others(self) -> None:
        evaluation = evaluate(late(experiment_sweep("priority-ops", repeats=3), block=3))
        assert [text.partition(":")[0] for text in evaluation.shortfalls] == [
            f"‘{name}’ was not behind ‘{PRIORITISED}’ in block 3" for name in ("static", "static, again", "dynamic")
        ]
        assert set(evaluation.shortfalls) <= set(evaluation.sentences)
        assert not any("was ahead" in sentence for sentence in evaluation.sentences)


@pytest.mark.parametrize("sides", [EXPERIMENT.scenario.variants, EXPERIMENT.scenario.quick_variants])
def test_every_side_is_one_run_of_another_job_in_the_same_location(sides: Sequence[Variant]) -> None:
    assert len({side.locations for side in sides}) == 1
    (location,) = sides[0].locations
    shape = parse_shape(location)
    assert shape.etl is not None
    jobs = []
    for side in sides:
        assert side.workload is not None
        (action,), (limit,) = side.workload.actions, side.workload.limits
        assert isinstance(action, Submit)
        jobs.append(action.job)
        assert (action.count, side.work) == (1, shape.etl.batches)
        assert (limit.unit, limit.slots) == (Unit.STEPS, shape.at)
        assert shape.etl.batches > shape.at  # otherwise no batch waits, and priorities change nothing
    assert jobs == ["etl_static", "etl_dynamic", "etl_prioritised"]
