"""Which trials the Gantt chart of an experiment's sides shows, and what its rows are."""

from dataclasses import replace

import pytest
from experiment_samples import experiment_sweep
from samples import ENVIRONMENT, measured_sweep, unmeasured

from bench_orchestrator.model.launch import Outcome, Sweep, Trial
from bench_orchestrator.waterfall.gantt import Gantt, Unit
from bench_orchestrator.waterfall.sides import gantt_of_sides

S = 1_000_000
SIDES = ["static", "dynamic", "dynamic with priorities"]


def chart(sweep: Sweep) -> Gantt:
    shown = gantt_of_sides(sweep)
    assert shown is not None
    return shown


def lengthened(trial: Trial, seconds: int) -> Trial:
    """Return the trial with a last step that takes so much longer."""
    *steps, last = trial.launch.steps
    longer = replace(last, ended_us=(last.ended_us or 0) + seconds * S)
    return replace(trial, launches=(replace(trial.launch, steps=(*steps, longer)),))


def test_a_trial_of_one_run_is_shown_by_its_steps() -> None:
    shown = chart(experiment_sweep("priority-ops", repeats=2))
    assert shown.unit is Unit.STEPS
    assert [panel.title for panel in shown.panels] == SIDES
    assert shown.groups == ("split", "extract", "transform_1", "load")
    assert shown.environment == ENVIRONMENT
    in_flight = {panel.title: panel.in_flight.peak if panel.in_flight else None for panel in shown.panels}
    assert in_flight == dict(zip(SIDES, (6, 6, 2), strict=True))


def test_trials_of_several_runs_are_shown_by_their_runs() -> None:
    shown = chart(experiment_sweep("max-concurrent-runs", repeats=2))
    assert shown.unit is Unit.RUNS
    assert [panel.title for panel in shown.panels] == ["limit 2", "limit 1", "limit 2, at once"]
    assert {len(panel.rows) for panel in shown.panels} == {6}


@pytest.mark.parametrize(("repeats", "shown"), [(1, 0), (2, 0), (3, 10), (4, 10)])
def test_of_the_measured_trials_it_is_the_one_with_the_median_makespan(repeats: int, shown: int) -> None:
    sweep = experiment_sweep("priority-ops", repeats=repeats)
    trials = tuple(
        unmeasured(trial, Outcome.FAILED, "a limit was not kept")
        if trial.block == 5
        else lengthened(trial, 10 * (trial.block - 2) if not trial.warmup else 99)
        for trial in sweep.trials
    )
    assert chart(replace(sweep, trials=trials)).panels[0].makespan_us == (10 + shown) * S


def test_a_side_without_a_measured_trial_has_no_panel() -> None:
    sweep = experiment_sweep("priority-ops", repeats=1)
    trials = tuple(
        unmeasured(trial, Outcome.TIMED_OUT, "") if trial.variant == "dynamic" else trial for trial in sweep.trials
    )
    assert [panel.title for panel in chart(replace(sweep, trials=trials)).panels] == [SIDES[0], SIDES[2]]


@pytest.mark.parametrize(
    "sweep",
    [measured_sweep(), experiment_sweep(repeats=1), replace(experiment_sweep("priority-ops", repeats=1), trials=())],
)
def test_without_measured_workloads_there_is_no_chart(sweep: Sweep) -> None:
    assert gantt_of_sides(sweep) is None
