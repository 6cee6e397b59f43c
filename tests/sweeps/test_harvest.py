"""From runs and journals to launches: every planned trial becomes exactly one, with an outcome by the rules."""

from collections.abc import Callable
from dataclasses import replace

import dagster as dg
import pytest
from examples import fewer
from hypothesis import given
from hypothesis import strategies as st
from recording import PROCESS, damage_log, end_run, make_plan, make_run, record_sweep, run_sweep, run_trial

from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Outcome, Trial, TrialNote
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.runs import Pod, RunLog, RunStatus
from bench_orchestrator.model.stages import INIT_STAGES, QUEUE_STAGES
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sources.instance import find_trial_runs, get_run
from bench_orchestrator.sweeps.deriving import SEVERAL_RUNS
from bench_orchestrator.sweeps.harvest import harvest_sweep
from bench_orchestrator.sweeps.launching import trial_tags

Status = RunStatus
MakeRun = Callable[[dg.DagsterInstance, SweepPlan], str | None]

ONE_TRIAL = replace(make_plan(locations=("a10",)), trials=make_plan(locations=("a10",)).trials[:1])


def no_run(_instance: dg.DagsterInstance, _plan: SweepPlan) -> None:
    """The trial was never launched, or its run has been deleted."""


def succeeded(instance: dg.DagsterInstance, plan: SweepPlan) -> str:
    return run_trial(instance, plan, 1)


def failed(instance: dg.DagsterInstance, plan: SweepPlan) -> str:
    return run_trial(instance, plan, 1, ok=False)


def in_state(status: Status) -> MakeRun:
    def make(instance: dg.DagsterInstance, plan: SweepPlan) -> str:
        return make_run(instance, trial_tags(plan, plan.trials[0], now_us()), status)

    return make


def canceled(instance: dg.DagsterInstance, plan: SweepPlan) -> str:
    return end_run(instance, in_state(Status.STARTED)(instance, plan) or "")


def failed_without_a_word(instance: dg.DagsterInstance, plan: SweepPlan) -> str:
    run_id = failed(instance, plan)
    instance.event_log_storage.delete_events(run_id)
    return run_id


def succeeded_without_events(instance: dg.DagsterInstance, plan: SweepPlan) -> str:
    run_id = succeeded(instance, plan)
    instance.event_log_storage.delete_events(run_id)
    return run_id


def note(outcome: Outcome, reason: str = "as noted", run_id: str | None = "4f2a") -> tuple[TrialNote, ...]:
    return (TrialNote(1, outcome, reason, run_id),)


def harvest(instance: dg.DagsterInstance, run_id: str) -> tuple[Trial, ...]:
    sweep = harvest_sweep(instance, run_id)
    assert sweep is not None
    return sweep.trials


class TestWork:
    @pytest.mark.parametrize(("asked", "outcome"), [(None, Outcome.OK), (1, Outcome.OK), (2, Outcome.FAILED)])
    def test_a_trial_that_did_not_do_its_work_is_not_ok(
        self, instance: dg.DagsterInstance, asked: int | None, outcome: Outcome
    ) -> None:
        plan = replace(ONE_TRIAL, trials=(replace(ONE_TRIAL.trials[0], work=asked),))
        run_trial(instance, plan, 1)
        (trial,) = harvest(instance, run_sweep(instance, plan))
        assert (trial.outcome, trial.launch.work) == (outcome, 1)
        assert trial.reason == ("" if outcome is Outcome.OK else "it succeeded, but did 1 of 2 units of work")

    def test_a_step_is_launched_started_and_ended(self, instance: dg.DagsterInstance) -> None:
        run_trial(instance, ONE_TRIAL, 1)
        (trial,) = harvest(instance, run_sweep(instance, ONE_TRIAL))
        (step,) = trial.launch.steps
        assert step.key == "measured"
        assert step.launched_us is None  # it ran in the run's own process
        assert step.started_us is not None
        assert step.ended_us is not None
        assert trial.launch.materialized_us is not None
        assert step.started_us <= trial.launch.materialized_us <= step.ended_us
        assert trial.launch.processes == 1


def test_a_run_that_vanished_from_the_sweeps_own_deployment_is_lost(instance: dg.DagsterInstance) -> None:
    plan = replace(
        ONE_TRIAL,
        locations=tuple(replace(location, deployment="own") for location in ONE_TRIAL.locations),
        trials=(replace(ONE_TRIAL.trials[0], deployment="own"),),
    )
    vanished = TrialNote(1, Outcome.LOST, "as noted", "4f2a", log=RunLog())
    (trial,) = harvest(instance, run_sweep(instance, plan, (vanished,)))
    assert (trial.outcome, trial.reason) == (Outcome.LOST, "as noted")


class TestOutcomes:
    @pytest.mark.parametrize(
        ("run", "notes", "ending", "outcome", "reason"),
        [
            (succeeded, note(Outcome.OK), None, Outcome.OK, ""),
            (succeeded, (), RuntimeError, Outcome.OK, ""),
            (succeeded, note(Outcome.TIMED_OUT), None, Outcome.TIMED_OUT, "as noted"),
            (succeeded_without_events, note(Outcome.OK), None, Outcome.LOST, "its log lacks events"),
            (failed, note(Outcome.FAILED), None, Outcome.FAILED, "ConnectionError: no route to the warehouse"),
            (failed, (), RuntimeError, Outcome.FAILED, "ConnectionError: no route to the warehouse"),
            (failed_without_a_word, (), None, Outcome.FAILED, "its log does not say why"),
            (canceled, note(Outcome.CANCELED, ""), None, Outcome.CANCELED, "the run was canceled"),
            (canceled, (), KeyboardInterrupt, Outcome.CANCELED, "the run was canceled"),
            (canceled, note(Outcome.TIMED_OUT), None, Outcome.TIMED_OUT, "as noted"),
            (failed, note(Outcome.TIMED_OUT), None, Outcome.TIMED_OUT, "as noted"),
            (in_state(Status.STARTED), (), RuntimeError, Outcome.TIMED_OUT, "still STARTED after the sweep"),
            (in_state(Status.STARTING), (), RuntimeError, Outcome.TIMED_OUT, "still STARTING after the sweep"),
            (in_state(Status.CANCELING), (), KeyboardInterrupt, Outcome.TIMED_OUT, "still CANCELING after"),
            (no_run, note(Outcome.OK), None, Outcome.LOST, "its run 4f2a is no longer in the instance"),
            (no_run, note(Outcome.REJECTED), None, Outcome.REJECTED, "as noted"),
            (no_run, note(Outcome.REJECTED), RuntimeError, Outcome.REJECTED, "as noted"),
            (no_run, note(Outcome.FAILED), None, Outcome.FAILED, "as noted"),
            (no_run, note(Outcome.TIMED_OUT), None, Outcome.TIMED_OUT, "as noted"),
            (no_run, (), KeyboardInterrupt, Outcome.CANCELED, "the sweep was canceled before this trial was launched"),
            (no_run, (), RuntimeError, Outcome.LOST, "the sweep ended before this trial was launched"),
            (no_run, (), None, Outcome.LOST, "the sweep ended before this trial was launched"),
        ],
    )
    def test_the_runs_log_decides_and_the_note_where_it_cannot(
        self,
        instance: dg.DagsterInstance,
        run: MakeRun,
        notes: tuple[TrialNote, ...],
        ending: type[BaseException] | None,
        outcome: Outcome,
        reason: str,
    ) -> None:
        run_id = run(instance, ONE_TRIAL)
        notes = tuple(replace(noted, run_id=run_id or noted.run_id) for noted in notes)
        (trial,) = harvest(instance, run_sweep(instance, ONE_TRIAL, notes, ending))
        assert trial.outcome is outcome
        assert reason in trial.reason
        assert bool(trial.reason) is (outcome is not Outcome.OK)
        assert trial.launch.run_id == run_id
        assert trial.measured is False  # the first trial is the warm-up

    @pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.TIMED_OUT])
    def test_a_run_that_appeared_after_its_trial_was_given_up_is_not_measured(
        self, instance: dg.DagsterInstance, outcome: Outcome
    ) -> None:
        succeeded(instance, ONE_TRIAL)
        (trial,) = harvest(instance, run_sweep(instance, ONE_TRIAL, note(outcome, run_id=None)))
        assert (trial.outcome, trial.reason, trial.launch.run_id) == (outcome, "as noted", None)

    def test_a_noted_failure_whose_run_is_gone_has_a_reason(self, instance: dg.DagsterInstance) -> None:
        (trial,) = harvest(instance, run_sweep(instance, ONE_TRIAL, note(Outcome.FAILED, "")))
        assert (trial.outcome, trial.reason) == (Outcome.FAILED, "its run 4f2a is no longer in the instance")

    @pytest.mark.parametrize(
        ("ending", "status"), [(None, "complete"), (KeyboardInterrupt, "canceled"), (RuntimeError, "failed")]
    )
    def test_the_sweeps_status_is_its_runs(
        self, instance: dg.DagsterInstance, ending: type[BaseException] | None, status: str
    ) -> None:
        sweep = harvest_sweep(instance, run_sweep(instance, ONE_TRIAL, ending=ending))
        assert sweep is not None
        assert (sweep.plan, sweep.status) == (ONE_TRIAL, status)


class TestALaunch:
    def test_it_carries_the_plan_the_measurement_and_what_the_asset_reported(
        self, instance: dg.DagsterInstance
    ) -> None:
        plan = make_plan(locations=("a1p2k",))
        plan = replace(plan, trials=tuple(replace(trial, partition_key=None) for trial in plan.trials))
        _, trial = harvest(instance, record_sweep(instance, plan))
        planned = plan.trials[1]
        assert (trial.sweep_id, trial.scenario, trial.number) == (plan.sweep_id, plan.scenario, planned.number)
        assert (trial.location, trial.asset_count, trial.partition_count) == ("a1p2k", 1, 2_000)
        assert (trial.block, trial.warmup, trial.asset_key) == (planned.block, False, planned.asset_keys[0])
        assert trial.measured
        assert trial.launch.executor == "in_process"
        assert trial.launch.step_process == PROCESS
        assert trial.launch.lag_us is not None
        assert trial.launch.lag_us == sum(trial.launch.stages_us[stage] or 0 for stage in (*QUEUE_STAGES, *INIT_STAGES))
        assert trial.launch.time_to_code_us == sum(trial.launch.stages_us.values())  # type: ignore[arg-type]
        assert trial.launch.ended_us is not None

    def test_a_failed_one_shows_how_far_it_got(self, instance: dg.DagsterInstance) -> None:
        failed(instance, ONE_TRIAL)
        (trial,) = harvest(instance, run_sweep(instance, ONE_TRIAL))
        assert trial.launch.init_us is not None
        assert trial.launch.ended_us is not None

    def test_one_whose_pod_had_trouble_has_that_for_a_reason(self, instance: dg.DagsterInstance) -> None:
        run_id = make_run(instance, trial_tags(ONE_TRIAL, ONE_TRIAL.trials[0], now_us()), Status.STARTING)
        run = instance.get_run_by_id(run_id)
        assert run is not None
        instance.report_run_failed(run, "Run timed out.\nDebug information for pod x:\n\nPod status: Pending")
        noted = TrialNote(1, Outcome.FAILED, run_id=run_id, pod=Pod(trouble="its pod cannot be scheduled: no node"))
        (trial,) = harvest(instance, run_sweep(instance, ONE_TRIAL, (noted,)))
        assert trial.reason == "its pod cannot be scheduled: no node (Run timed out.)"

    def test_one_that_never_was_a_run_has_no_times_and_no_warnings(self, instance: dg.DagsterInstance) -> None:
        (trial,) = harvest(instance, run_sweep(instance, ONE_TRIAL, note(Outcome.REJECTED)))
        assert {*trial.launch.at_us.values(), *trial.launch.stages_us.values()} == {None}
        assert (trial.launch.run_id, trial.launch.lag_us, trial.launch.warnings) == (None, None, ())

    @pytest.mark.parametrize("notes", [lambda first: note(Outcome.OK, run_id=first), lambda _: ()])
    def test_of_two_runs_with_its_tags_the_first_is_measured_and_there_is_a_warning(
        self, instance: dg.DagsterInstance, notes: Callable[[str], tuple[TrialNote, ...]]
    ) -> None:
        first = succeeded(instance, ONE_TRIAL)
        canceled(instance, ONE_TRIAL)
        (trial,) = harvest(instance, run_sweep(instance, ONE_TRIAL, notes(first)))
        assert (trial.launch.run_id, trial.outcome) == (first, Outcome.OK)
        assert trial.launch.warnings.count(SEVERAL_RUNS) == 1

    def test_its_warnings_are_the_notes_too(self, instance: dg.DagsterInstance) -> None:
        noted = TrialNote(1, Outcome.OK, run_id=succeeded(instance, ONE_TRIAL), warnings=("run x was beside it",))
        (trial,) = harvest(instance, run_sweep(instance, ONE_TRIAL, [noted]))
        assert "run x was beside it" in trial.launch.warnings

    def test_the_runs_of_another_sweep_are_not_its_own(self, instance: dg.DagsterInstance) -> None:
        succeeded(instance, replace(ONE_TRIAL, sweep_id="other"))
        (trial,) = harvest(instance, run_sweep(instance, ONE_TRIAL))
        assert trial.launch.run_id is None


class TestHarvesting:
    def test_twice_gives_the_same(self, home_instance: dg.DagsterInstance) -> None:
        run_id = record_sweep(home_instance, make_plan())
        first = harvest_sweep(home_instance, run_id)
        assert first == harvest_sweep(home_instance, run_id)
        assert first is not None
        assert {trial.outcome for trial in first.trials} == {Outcome.OK}

    def test_a_sweep_without_a_plan_is_none(self, instance: dg.DagsterInstance) -> None:
        assert harvest_sweep(instance, run_sweep(instance, None, ending=RuntimeError)) is None

    @pytest.mark.parametrize("kind", ["instance", "home_instance"])
    def test_a_damaged_log_loses_its_trial_alone(self, kind: str, request: pytest.FixtureRequest) -> None:
        instance: dg.DagsterInstance = request.getfixturevalue(kind)
        run_id = record_sweep(instance, make_plan())
        (damaged, *_) = find_trial_runs(instance, "quick-1")
        damage_log(instance, damaged.run_id)
        first, *others = harvest(instance, run_id)
        assert (first.outcome, first.reason) == (Outcome.LOST, "it succeeded, but its log lacks events")
        assert {trial.outcome for trial in others} == {Outcome.OK}

    def test_runs_with_its_tags_but_no_trials_number_are_passed_over(self, instance: dg.DagsterInstance) -> None:
        numbers: list[dict[str, str]] = [{}, {Tag.TRIAL: "first"}]
        for tags in numbers:
            make_run(instance, {Tag.KIND: "trial", Tag.SWEEP: ONE_TRIAL.sweep_id, **tags})
        (trial,) = harvest(instance, run_sweep(instance, ONE_TRIAL))
        assert trial.launch.run_id is None

    def test_an_unknown_run_is_refused_by_its_id(self, instance: dg.DagsterInstance) -> None:
        with pytest.raises(UnusableError, match="no run 4f2a"):
            harvest_sweep(instance, "4f2a")

    @fewer(4)
    @given(
        runs=st.lists(st.sampled_from([*Status, None]), min_size=4, max_size=4),
        noted=st.lists(st.sampled_from([*Outcome, None]), min_size=4, max_size=4),
        ending=st.sampled_from([None, RuntimeError, KeyboardInterrupt]),
    )
    def test_each_planned_trial_is_one_launch_whatever_became_of_it(
        self, runs: list[Status | None], noted: list[Outcome | None], ending: type[BaseException] | None
    ) -> None:
        plan = make_plan()
        with dg.DagsterInstance.ephemeral() as instance:
            for trial, status in zip(plan.trials, runs, strict=True):
                # A queued run names the code location that it waits for; these runs have none.
                if status is not None and status is not Status.QUEUED:
                    make_run(instance, trial_tags(plan, trial, now_us()), status)
            notes = [
                TrialNote(trial.number, outcome, "" if outcome is Outcome.OK else "as noted")
                for trial, outcome in zip(plan.trials, noted, strict=True)
                if outcome is not None
            ]
            trials = harvest(instance, run_sweep(instance, plan, notes, ending))
        assert [trial.number for trial in trials] == [trial.number for trial in plan.trials]
        assert [trial.asset_key for trial in trials] == [trial.asset_keys[0] for trial in plan.trials]
        # None of these runs has events: none of the trials may count as measured, and each needs a reason.
        assert all(trial.outcome is not Outcome.OK and trial.reason for trial in trials)


def test_a_run_that_was_executed_again_by_hand_does_not_replace_the_trial(instance: dg.DagsterInstance) -> None:
    """Dagster copies a run's tags when a person re-executes it from the UI."""
    first = failed(instance, ONE_TRIAL)
    original = get_run(instance, first)
    assert original is not None
    make_run(instance, {**original.tags, "dagster/parent_run_id": first})
    (trial,) = harvest(instance, run_sweep(instance, ONE_TRIAL, note(Outcome.FAILED, run_id=first)))
    assert (trial.launch.run_id, trial.outcome) == (first, Outcome.FAILED)
    assert SEVERAL_RUNS not in trial.launch.warnings
    assert original.tags[Tag.TRIAL] == "1"
