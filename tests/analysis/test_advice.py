"""Advice comes with its size and intervals, and a limit counts as kept only if the whole interval keeps it."""

from dataclasses import replace
from pathlib import Path

import pytest
from advice_samples import sample_evidence, sample_experiment, sized_sweep
from samples import measured_sweep

from bench_orchestrator.analysis.advice import (
    Advice,
    FirstStep,
    advise,
    explain_errors,
    first_steps,
    first_steps_after,
    headline,
    stays_within,
)
from bench_orchestrator.analysis.evaluation import evaluate
from bench_orchestrator.analysis.evidence import Evidence
from bench_orchestrator.analysis.lag_model import predict_startups
from bench_orchestrator.model.plan import Prediction
from bench_orchestrator.results.queries import gather
from bench_orchestrator.results.store import Store


@pytest.fixture(scope="module")
def advice() -> Advice:
    return advise(sample_evidence("split-definitions", "graph-asset", "dequeue-interval"), 10_000)


def test_the_headline_is_the_remedy_that_leaves_least_of_the_lag(advice: Advice) -> None:
    assert headline(advice).startswith("Split the code location into nine: saves 1")
    assert headline(advice).endswith("] per launch at 10,000 assets")


def test_the_first_steps_say_what_they_save_and_cost(advice: Advice) -> None:
    steps = list(first_steps(advice))
    assert len(steps) == 3
    assert steps[0].remedy == "Split the code location into nine"
    assert steps[0].text.startswith("saves ")
    assert ", against ‘one location’. One code server per part" in steps[0].text
    assert steps[1].remedy == "Dequeue runs every second"


def test_without_measurements_it_says_so() -> None:
    nothing = advise(Evidence(), 500, 3)
    assert headline(nothing) == "No remedy has been measured here yet"
    assert list(first_steps(nothing)) == []
    assert nothing.lag_s is None
    assert nothing.size == "500 assets and 3 steps"


def test_where_nothing_helps_it_says_so() -> None:
    useless = advise(sample_evidence("cpu-limit"), 500)
    assert headline(useless) == "No remedy is shown to save anything at 500 assets"


def test_what_cannot_be_carried_over_names_its_own_size() -> None:
    quick = Evidence((sized_sweep(),), (evaluate(sample_experiment("executors", quick=True)),))
    assert headline(advise(quick, 10_000)).endswith(" per launch at 6 assets")
    first = next(first_steps(advise(quick, 10_000)))
    assert " per launch at 6 assets, against ‘spawn, 1 step’. " in first.text
    assert headline(advise(sample_evidence("executors", sized=False), 10_000)).endswith(" per launch at 2,004 assets")


class TestAfterASweep:
    def test_they_are_those_of_all_that_was_measured_for_its_largest_location(self, tmp_path: Path) -> None:
        store = Store.in_directory(tmp_path)
        for sweep in (measured_sweep(), sample_experiment("split-definitions"), sample_experiment("dequeue-interval")):
            store.save(sweep)
        steps = first_steps_after(measured_sweep(), gather(store))
        assert steps[0].remedy == "Split the code location into nine"
        assert all("per launch at 10,000 assets" in step.text for step in steps)
        assert any(step.remedy == "Dequeue runs every second" for step in steps)

    def test_after_an_experiment_they_are_its_own(self, tmp_path: Path) -> None:
        store = Store.in_directory(tmp_path)
        for sweep in (measured_sweep(), sample_experiment("split-definitions"), sample_experiment("dequeue-interval")):
            store.save(sweep)
        steps = first_steps_after(sample_experiment("dequeue-interval"), gather(store))
        assert steps
        assert all("Dequeue" in step.remedy or "queue" in step.remedy for step in steps)
        assert first_steps_after(sample_experiment("checks"), gather(store)) == []

    def test_where_no_remedy_was_measured_they_say_how(self, tmp_path: Path) -> None:
        store = Store.in_directory(tmp_path)
        (step,) = first_steps_after(measured_sweep(), gather(store))
        assert step == FirstStep("No remedy has been measured here yet", command="bench run executors --quick")


def test_the_lag_is_that_of_the_queue_as_it_is(advice: Advice) -> None:
    assert advice.model is not None
    assert advice.lag_s == advice.model.predict(10_000, dequeue_interval_s=5)


@pytest.mark.parametrize(
    ("low", "high", "answer"), [(3, 5, True), (3, 5.1, None), (5.1, 9, False), (None, None, None), (3, None, None)]
)
def test_a_limit_is_kept_where_the_whole_interval_keeps_it(
    low: float | None, high: float | None, answer: bool | None
) -> None:
    assert stays_within(Prediction(4.0, low, high, "a fit"), 5.0) is answer


class TestPredictionsThatWereOff:
    def evidence(self, factor: float, basis: str | None = None) -> Evidence:
        sweep = sample_experiment("split-definitions")
        predicted = predict_startups([sized_sweep()], {"one location": 9_000, "nine locations": 1_000})
        measured = {side.name: side.measures["startup_s"] for side in evaluate(sweep).sides}
        off = {
            name: replace(one, value=factor * measured_s.value, basis=basis or one.basis)
            for name, one in predicted.items()
            if (measured_s := measured[name]) is not None
        }
        planned = replace(sweep, plan=replace(sweep.plan, predicted_startups_s=off))
        return Evidence((sized_sweep(),), (evaluate(planned),))

    def test_are_explained_by_their_stages(self) -> None:
        sentences = list(explain_errors(self.evidence(0.5)))
        assert len(sentences) == 2
        assert "one location" in sentences[0]
        assert " % off its prediction; the largest errors: " in sentences[0]
        assert "instead of" in sentences[0]

    def test_that_came_true_are_not(self) -> None:
        assert list(explain_errors(self.evidence(1.0))) == []

    def test_by_another_model_are_not(self) -> None:
        assert list(explain_errors(self.evidence(0.5, "a fit of another day"))) == []
        assert list(explain_errors(Evidence())) == []
