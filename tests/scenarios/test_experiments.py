"""Every experiment can be planned: its sides are shapes, comparable, and include its remedies."""

import pytest

from bench_orchestrator.model.plan import Variant, again
from bench_orchestrator.scenarios.experiment import COMMON_MEASURES, Experiment
from bench_orchestrator.scenarios.registry import EXPERIMENTS, SCENARIOS
from synthetic_locations.shape import parse_shape


def sides(experiment: Experiment) -> list[tuple[Variant, ...]]:
    return [experiment.scenario.variants, experiment.scenario.quick_variants]


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=list(EXPERIMENTS))
class TestAnExperiment:
    def test_its_sides_are_shapes(self, experiment: Experiment) -> None:
        for side in (side for size in sides(experiment) for side in size):
            for location in side.locations:
                shape = parse_shape(location)
                assert shape.assets >= (side.assets - 1) * side.stride + 1
                assert side.partitions == 1 or side.partitions <= shape.partitions

    def test_its_sides_are_counted_compared_and_named_apart(self, experiment: Experiment) -> None:
        for size in sides(experiment):
            names = [side.name for side in size]
            assert len(set(names)) == len(names) > 1
            assert not {again(name) for name in names} & set(names)
            assert all(side.work is not None for side in size)
            assert {side.against for side in size} <= {"", *names}
            assert not size[0].in_turn
            assert size[0].against in ("", size[0].name)

    def test_compared_sides_ask_for_the_same_work_unless_the_amount_is_the_question(
        self, experiment: Experiment
    ) -> None:
        if experiment.name == "selection-size":
            return
        for size in sides(experiment):
            by_name = {side.name: side for side in size}
            for side in size:
                if not side.in_turn:
                    assert side.work == by_name[side.against or size[0].name].work, side.name

    def test_its_remedies_are_sides_at_full_size(self, experiment: Experiment) -> None:
        names = {side.name for side in experiment.scenario.variants}
        assert {remedy.variant for remedy in experiment.remedies} <= names

    def test_its_measures_have_unique_names(self, experiment: Experiment) -> None:
        names = [measure.name for measure in (*COMMON_MEASURES, *experiment.measures)]
        assert len(set(names)) == len(names)

    def test_its_headline_is_measured_also_with_the_queue_wait(self, experiment: Experiment) -> None:
        measures = (*COMMON_MEASURES, *experiment.measures)
        assert experiment.headline in measures
        assert experiment.headline.with_wait in (None, *measures)
        assert experiment.ahead is None or experiment.ahead.measure in measures

    def test_it_says_what_it_asks_and_holds_equal(self, experiment: Experiment) -> None:
        assert experiment.scenario.question.endswith("?")
        assert experiment.scenario.holds_equal.endswith(".")
        # A trial with many runs has many samples of its own.
        assert experiment.scenario.repeats >= (3 if experiment.scenario.variants[0].workload else 5)
        assert SCENARIOS[experiment.name] is experiment.scenario
