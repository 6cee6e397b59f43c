"""The answer of `bench try` states what was measured, and orders what to do by seconds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import relaunched
from try_samples import CODE, in_process, try_sweep

from bench_orchestrator.analysis.trying import DEFAULT_DEQUEUE_INTERVAL_S, conclude
from bench_orchestrator.model.launch import Outcome, Sweep
from bench_orchestrator.scenarios.trying import STOCK, WARM

FORK = "Fork runs from a server that holds the definitions"
IN_PROCESS = "Run the steps in the run worker's own process"
AT_ONCE = "Have the queue answer at once"


def relaunch(sweep: Sweep, side: str, **changes: object) -> Sweep:
    return replace(
        sweep, trials=tuple(relaunched(one, **changes) if one.variant == side else one for one in sweep.trials)
    )


def test_the_sentence_has_both_sides_and_what_loading_takes() -> None:
    answer = conclude(try_sweep())
    # Eight launches, 0.97 to 1.04 times 9.2 s: the median is 1.005 times that; 99 % lie between the ends.
    assert answer.sentence == (
        "Your launches take 9.25 s [8.92, 9.57] from the queue to the first line of code; "
        "7.04 s [6.79, 7.28] of them load 3,000 assets, twice. Behind the warm server: 0.26 s [0.25, 0.27]"
    )
    assert answer.assets == 3_000
    assert answer.saved_s is not None
    assert answer.saved_s.value == pytest.approx(1.005 * (9.2 - 0.26))
    assert answer.saved_s.low is not None
    assert answer.saved_s.low > 0


def test_what_to_do_is_in_order_of_seconds() -> None:
    answer = conclude(try_sweep())
    assert [step.remedy.name for step in answer.steps] == [FORK, IN_PROCESS, AT_ONCE]
    wait_s = DEFAULT_DEQUEUE_INTERVAL_S / 2
    assert [step.saved_s for step in answer.steps] == pytest.approx([8.985, 4.02, wait_s], abs=0.01)
    assert all(step.words.startswith("saves ") and step.remedy.costs in step.words for step in answer.steps)
    assert "not measured here" in answer.steps[-1].words


def test_in_one_process_the_code_is_loaded_once() -> None:
    sweep = try_sweep()
    trials = tuple(
        replace(one, launches=(in_process(one.launch),)) if one.variant == STOCK else one for one in sweep.trials
    )
    answer = conclude(replace(sweep, trials=trials))
    assert "4.02 s [3.88, 4.16] of them load 3,000 assets, once." in answer.sentence
    assert IN_PROCESS not in [step.remedy.name for step in answer.steps]


def test_code_without_assets_is_loaded_too() -> None:
    assert "of them load your code, twice" in conclude(try_sweep(assets=0)).sentence
    assert "of them load your code, twice" in conclude(try_sweep(assets=1)).sentence


def test_cold_code_has_no_warm_side() -> None:
    answer = conclude(try_sweep([STOCK]), ["thread 'poller'"])
    assert answer.sentence.endswith("Behind the warm server it would be the same, because of 1 fault")
    assert answer.saved_s is None
    assert FORK not in [step.remedy.name for step in answer.steps]


def test_a_warm_side_that_is_no_faster_is_no_advice() -> None:
    sweep = try_sweep()
    stock = {one.block: one.launch for one in sweep.trials if one.variant == STOCK}
    trials = tuple(
        relaunched(one, lag_us=stock[one.block].lag_us, stages_us=stock[one.block].stages_us)
        if one.variant == WARM
        else one
        for one in sweep.trials
    )
    answer = conclude(replace(sweep, trials=trials))
    assert answer.saved_s is not None
    assert answer.saved_s.value == 0
    assert FORK not in [step.remedy.name for step in answer.steps]


def test_what_went_otherwise_is_said() -> None:
    sweep = relaunch(try_sweep(), WARM, template={})
    sweep = relaunch(sweep, STOCK, step_process={"replaced_executor": "k8s_job_executor"})
    remarks = conclude(sweep).remarks
    assert "8 of 8 launches behind the warm server were not forked" in remarks
    assert any("‘k8s_job_executor’ starts steps elsewhere" in remark for remark in remarks)
    assert remarks[-1] == "All 16 trials went well"
    assert not any("forked" in remark or "elsewhere" in remark for remark in conclude(try_sweep()).remarks)


@pytest.mark.parametrize("failing", [[STOCK], [STOCK, WARM]])
def test_without_a_stock_launch_there_is_no_figure(failing: list[str]) -> None:
    answer = conclude(try_sweep(failing=failing))
    assert answer.sentence == "No measured launches: 9 failed"
    assert answer.steps == ()
    assert answer.loads_s is None


def test_a_warm_side_that_failed_is_said_to_have() -> None:
    answer = conclude(try_sweep(failing=[WARM]))
    assert answer.sentence.endswith("Behind the warm server: 9 failed")


@given(st.lists(st.sampled_from(list(Outcome)), min_size=18, max_size=18), st.integers(0, 10**6))
def test_any_outcomes_have_an_answer(outcomes: list[Outcome], assets: int) -> None:
    sweep = try_sweep(assets=assets)
    trials = tuple(relaunched(trial, outcome=outcome) for trial, outcome in zip(sweep.trials, outcomes, strict=True))
    answer = conclude(replace(sweep, trials=trials))
    assert answer.sentence
    assert CODE not in answer.sentence
    saved = [step.saved_s for step in answer.steps]
    assert saved == sorted(saved, reverse=True)
    assert all(one > 0 for one in saved)
