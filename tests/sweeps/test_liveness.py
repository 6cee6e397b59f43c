"""How long a harvest waits for the trials of a finished sweep."""

from dataclasses import replace

import dagster as dg
from recording import make_plan, make_run, record_sweep, run_sweep

from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.sources.instance import find_trial_runs, get_run
from bench_orchestrator.sweeps.launching import trial_tags
from bench_orchestrator.sweeps.liveness import overdue

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
