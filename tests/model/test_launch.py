"""A trial is a plan's entry with one or several launches."""

from dataclasses import replace

import pytest
from samples import make_trial, relaunched

from bench_orchestrator.model.launch import Launch, Outcome, Trial

OK = make_trial().launch
FAILED = Launch("run-2", Outcome.FAILED, "it broke")
REJECTED = Launch(None, Outcome.REJECTED, "no such job")
UNDER_WAY = Launch("run-3", None)


def trial(*launches: Launch) -> Trial:
    return replace(make_trial(), launches=launches)


@pytest.mark.parametrize("launch", [OK, FAILED, REJECTED])
def test_of_one_launch_it_ended_as_that_did(launch: Launch) -> None:
    assert trial(launch).launch == launch
    assert (trial(launch).outcome, trial(launch).reason) == (launch.outcome, launch.reason)


def test_of_several_the_first_that_did_not_succeed_decides() -> None:
    assert trial(OK, OK).outcome is Outcome.OK
    assert (trial(OK, FAILED, REJECTED).outcome, trial(OK, FAILED, REJECTED).reason) == (Outcome.FAILED, "it broke")


def test_one_that_is_not_over_took_too_long() -> None:
    assert trial(OK, UNDER_WAY).outcome is Outcome.TIMED_OUT


def test_it_counts_if_every_launch_went_well_and_it_is_no_warm_up() -> None:
    assert trial(OK, OK).measured
    assert not trial(OK, FAILED).measured
    assert not replace(trial(OK), warmup=True).measured


def test_a_launch_without_a_run_has_no_instants() -> None:
    assert not any(us is not None for us in (*REJECTED.at_us.values(), *REJECTED.stages_us.values()))
    assert relaunched(make_trial(), steps=()).launch.processes == 1
