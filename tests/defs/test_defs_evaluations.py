"""Which evaluations a harvest updates, and what each leaves in the catalog and on disk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from experiment_samples import experiment_sweep, troubled_experiment
from PIL import Image
from samples import measured_sweep

from bench_orchestrator.analysis.evaluation import evaluate
from bench_orchestrator.defs.evaluations import INLINE_LETTERS, evaluation_name, evaluations, summarize_inline
from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.results.store import Store
from bench_orchestrator.scenarios.registry import EXPERIMENTS

SPLIT = evaluation_name("split-definitions")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.in_directory(tmp_path)


def write(
    store: Store, *, scenario: str = "", sweep: str | None = None, selection: Sequence[str] | None = None
) -> dg.ExecuteInProcessResult:
    """Materialize evaluations, in a harvest run of that scenario or manually."""
    return dg.materialize(
        [evaluations],
        selection=list(selection) if selection else None,
        resources={"results": ResultsResource(database=str(store.path))},
        run_config={"ops": {"evaluations": {"config": {"sweep": sweep}}}},
        tags={Tag.SCENARIO: scenario} if scenario else {},
        raise_on_error=False,
    )


def written(result: dg.ExecuteInProcessResult) -> dict[str, Mapping[str, Any]]:
    assert result.success
    return {
        event.asset_key.to_user_string(): {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


def checks(result: dg.ExecuteInProcessResult) -> Iterator[tuple[str, bool, str]]:
    for found in result.get_asset_check_evaluations():
        yield found.asset_key.to_user_string(), found.passed, found.description or ""


def save(store: Store, *sweeps: Sweep) -> None:
    for number, sweep in enumerate(sweeps):
        sweep_id = f"{sweep.plan.scenario}-{number}"
        trials = tuple(replace(trial, sweep_id=sweep_id) for trial in sweep.trials)
        plan = replace(sweep.plan, sweep_id=sweep_id, created_us=sweep.plan.created_us + number)
        store.save(replace(sweep, plan=plan, trials=trials))


def test_every_experiment_has_an_evaluation_that_explains_it() -> None:
    specs = {spec.key.to_user_string(): spec for spec in evaluations.specs}
    assert specs.keys() == {evaluation_name(name) for name in EXPERIMENTS}
    for name, experiment in EXPERIMENTS.items():
        description = specs[evaluation_name(name)].description or ""
        assert experiment.scenario.question in description
        assert experiment.scenario.holds_equal in description
        assert all(measure.label in description for measure in (experiment.headline, *experiment.measures))


@pytest.mark.usefixtures("undrawn")
def test_a_harvest_writes_the_evaluation_of_what_was_harvested_and_no_other(store: Store) -> None:
    save(store, experiment_sweep(repeats=2), experiment_sweep("checks", repeats=2), measured_sweep())
    assert list(written(write(store, scenario="split-definitions"))) == [SPLIT]
    assert written(write(store, scenario="all-locations")) == {}
    assert list(written(write(store))) == [SPLIT, "checks_evaluation"]
    assert list(written(write(store, selection=["checks_evaluation"]))) == ["checks_evaluation"]


@pytest.mark.parametrize("scenario", ["", "split-definitions", "quick"])
def test_with_nothing_to_evaluate_it_succeeds_and_leaves_nothing(store: Store, scenario: str) -> None:
    assert written(write(store, scenario=scenario)) == {}
    assert not store.path.exists()
    save(store, measured_sweep())
    assert written(write(store, scenario=scenario)) == {}


def test_the_catalog_has_the_verdict_inline_its_chart_and_its_numbers(store: Store) -> None:
    save(store, experiment_sweep())
    metadata = written(write(store))[SPLIT]
    evaluation = evaluate(store.load("split-definitions-0"))
    assert metadata["verdict"] == evaluation.answer
    assert len(metadata["summary"]) < INLINE_LETTERS
    assert metadata["summary"].startswith(f"**{evaluation.lead(evaluation.experiment.headline)}.**")
    assert metadata["chart"].startswith(f"![{SPLIT}](data:image/png;base64,")
    sides = {record.data["side"]: record.data for record in metadata["sides"].records}
    assert (sides["nine locations"]["n"], sides["nine locations"]["against"]) == ("8/8", "one location")
    assert "memory of its code servers, MiB" in {record.data["cost"] for record in metadata["costs"].records}
    assert metadata["sweep"] == "split-definitions-0"
    found = evaluation.comparisons["nine locations", "startup_s"].difference
    assert metadata["difference_s/nine locations"] == pytest.approx(found.value, abs=1e-3)
    assert metadata["difference_low_s/nine locations"] == pytest.approx(found.low, abs=1e-3)
    assert metadata["difference_high_s/nine locations"] == pytest.approx(found.high, abs=1e-3)
    assert 0.3 < metadata["ratio/nine locations"] < 0.5
    assert metadata["n/nine locations"] == 8
    with Image.open(metadata["png"]) as image:
        image.load()
    assert Path(metadata["svg"]).is_file()
    assert Path(metadata["report"]).read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_summary_of_any_experiment_stands_inline(name: str) -> None:
    for sweep in (experiment_sweep(name), replace(experiment_sweep(name, repeats=1, quick=True), status="canceled")):
        evaluation = evaluate(sweep)
        summary = summarize_inline(evaluation)
        assert len(summary) < INLINE_LETTERS
        assert summary.count("\n| ") > sum(not side.is_again for side in evaluation.sides)


@pytest.mark.usefixtures("undrawn")
def test_a_requested_sweep_is_evaluated_even_if_another_says_more(store: Store) -> None:
    save(store, experiment_sweep(repeats=3), experiment_sweep(repeats=1, quick=True), measured_sweep())
    assert written(write(store))[SPLIT]["sweep"] == "split-definitions-0"
    metadata = written(write(store, sweep="split-definitions-1"))[SPLIT]
    assert metadata["sweep"] == "split-definitions-1"
    assert "at the reduced size of --quick" in metadata["summary"]
    assert not write(store, sweep="all-locations-2").success
    assert not write(store, sweep="split-definitions-9").success


@pytest.mark.usefixtures("undrawn")
def test_the_check_fails_where_a_side_did_not_do_its_work(store: Store) -> None:
    save(store, troubled_experiment(), experiment_sweep("checks", repeats=2))
    (split, good) = checks(write(store))
    assert split[:2] == (SPLIT, False)
    assert "‘three locations’: 0 of 8 launches count" in split[2]
    assert good == ("checks_evaluation", True, "Every measured launch materialized 1 unit of work.")
