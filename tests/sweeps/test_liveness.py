"""How long a harvest waits for the trials of a finished sweep, and a sweep's silence is borne with."""

from dataclasses import replace

import dagster as dg
import pytest
from recording import damage_log, make_plan, make_run, other_release, record_sweep, run_sweep

from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.sources.instance import find_trial_runs, get_run, last_sign_us
from bench_orchestrator.sweeps.launching import trial_tags
from bench_orchestrator.sweeps.liveness import given_up, overdue

Status = RunStatus
ONE_TRIAL = replace(make_plan(locations=("a10",)), trials=make_plan(locations=("a10",)).trials[:1])


class TestWaitingForTrials:
    def test_a_sweep_whose_trials_are_over_waits_for_nothing(self, instance: dg.DagsterInstance) -> None:
        run = get_run(instance, record_sweep(instance, make_plan()))
        assert run is not None
        assert overdue(instance, run, now_us())

    def test_one_that_still_runs_is_waited_for_as_long_as_a_trial_may_take(self, instance: dg.DagsterInstance) -> None:
        make_run(instance, trial_tags(ONE_TRIAL, ONE_TRIAL.trials[0], now_us()), Status.STARTED)
        sweep_run = get_run(instance, run_sweep(instance, ONE_TRIAL, ending=RuntimeError))
        assert sweep_run is not None
        (trial_run,) = find_trial_runs(instance, ONE_TRIAL.sweep_id)
        patience_us = ONE_TRIAL.settings["timeout_s"] * MICROSECONDS
        assert not overdue(instance, sweep_run, trial_run.created_us + patience_us)
        assert overdue(instance, sweep_run, trial_run.created_us + patience_us + 1)

    def test_a_sweep_without_a_plan_waits_for_nothing(self, instance: dg.DagsterInstance) -> None:
        run = get_run(instance, run_sweep(instance, None, ending=RuntimeError))
        assert run is not None
        assert overdue(instance, run, now_us())

    def test_a_sweep_that_cannot_be_read_waits_for_nothing(self, instance: dg.DagsterInstance) -> None:
        run = get_run(instance, run_sweep(instance, other_release(make_plan())))
        assert run is not None
        assert overdue(instance, run, now_us())


class TestSilence:
    @pytest.mark.parametrize(
        ("plan", "patience_s"),
        [
            (None, 600),
            # Replacing the code server takes up to the time-out, and the launch as long again.
            (make_plan(), 600 + 2 * 300 + 1 + 5),
            (other_release(make_plan()), 600 + 3_600),
        ],
        ids=["without a plan", "with one", "with one that cannot be read"],
    )
    def test_a_sweep_is_given_up_after_ten_minutes_and_the_time_of_a_trial(
        self, instance: dg.DagsterInstance, plan: SweepPlan | None, patience_s: int
    ) -> None:
        run = get_run(instance, run_sweep(instance, plan))
        assert run is not None
        last_us = last_sign_us(instance, run)
        assert given_up(instance, run, last_us + patience_s * MICROSECONDS) == ""
        reason = given_up(instance, run, last_us + (patience_s + 1) * MICROSECONDS)
        assert reason.startswith(f"This run has written nothing to its log for {patience_s + 1} s")

    def test_one_whose_log_is_damaged_counts_from_its_creation(self, instance: dg.DagsterInstance) -> None:
        run = get_run(instance, run_sweep(instance, make_plan()))
        assert run is not None
        damage_log(instance, run.run_id)
        assert last_sign_us(instance, run) == run.created_us
        assert given_up(instance, run, now_us()) == ""
        assert given_up(instance, run, now_us() + 6_000 * MICROSECONDS)
