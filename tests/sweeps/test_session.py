"""The story of a sweep in this process: real runs in small locations, and a stand-in for the webserver."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import dagster as dg
import pytest
from local_launches import FakeWebserverOfThisProcess
from recording import make_plan, make_run, other_release, run_sweep

from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.plan import PlannedTrial, SweepPlan
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.scenarios.registry import SCENARIOS
from bench_orchestrator.sources.instance import find_trial_runs, get_run
from bench_orchestrator.sweeps.config import SweepConfig, scenario_config
from bench_orchestrator.sweeps.harvest import harvest_sweep
from bench_orchestrator.sweeps.launching import trial_tags
from bench_orchestrator.sweeps.runner import SweepAbortedError
from bench_orchestrator.sweeps.session import Session, TrialEntry, carry_out
from bench_orchestrator.webserver import LocationEntry, WebserverUnreachableError

Status = RunStatus
QUICK = SCENARIOS["quick"]


def configured(**changes: Any) -> SweepConfig:
    config: SweepConfig = scenario_config(QUICK)(
        **{
            "locations": ["a2", "a1p3"],
            "repeats": 1,
            "warmups": 1,
            "seed": 7,
            "pause_s": 0,
            "jitter_s": 0,
            "settle_s": 0,
            **changes,
        }
    )
    return config


class Told:
    """Return a session of a run in the instance, and its messages."""

    def __init__(self, instance: dg.DagsterInstance, tags: Mapping[str, str] = MappingProxyType({})) -> None:
        tags = {Tag.KIND: "sweep", **tags}
        self.webserver = FakeWebserverOfThisProcess(instance)
        self.said: list[str] = []
        self.warned: list[str] = []
        self.session = Session(
            run_id=make_run(instance, tags, Status.STARTED),
            run_tags=tags,
            instance=instance,
            webserver=self.webserver,
            history=tuple,
            say=self.said.append,
            warn=self.warned.append,
        )

    def carry_out(self, **changes: Any) -> tuple[SweepPlan, list[TrialEntry]]:
        plan, *entries = carry_out(QUICK, configured(**changes), self.session)
        assert isinstance(plan, SweepPlan)
        trials = [entry for entry in entries if isinstance(entry, TrialEntry)]
        assert len(trials) == len(entries)
        return plan, trials


@pytest.fixture
def told(instance: dg.DagsterInstance) -> Told:
    return Told(instance)


class TestASweep:
    def test_yields_its_plan_before_anything_is_launched(self, instance: dg.DagsterInstance, told: Told) -> None:
        story = carry_out(QUICK, configured(), told.session)
        plan = next(story)
        assert isinstance(plan, SweepPlan)
        assert (plan.sweep_id, plan.seed, len(plan.trials)) == (f"quick-{told.session.run_id[:8]}", 7, 4)
        assert find_trial_runs(instance, plan.sweep_id) == []
        story.close()
        assert told.warned == []

    def test_yields_each_trial_with_its_line_and_says_it(self, told: Told) -> None:
        plan, trials = told.carry_out()
        assert [(entry.note.number, entry.note.outcome) for entry in trials] == [(n, Outcome.OK) for n in range(1, 5)]
        for entry, trial in zip(trials, plan.trials, strict=True):
            kind = "warm-up" if trial.warmup else f"block {trial.block}"
            assert entry.line.startswith(
                f"trial {trial.number}/4 {trial.location} ({kind}): ok, its run started after "
            )
        assert told.said == [
            f"Sweep {plan.sweep_id}: 4 trials in 2 locations, seed 7",
            *(entry.line for entry in trials),
            f"Sweep {plan.sweep_id} is over: 4 of 4 trials done (4 ok)",
        ]
        assert told.warned == []

    def test_without_a_seed_chooses_one(self, told: Told) -> None:
        plan, _ = told.carry_out(seed=None)
        assert plan.seed > 0

    def test_takes_any_seed(self, told: Told) -> None:
        plan, _ = told.carry_out(seed=0)
        assert plan.seed == 0

    def test_records_its_request(self, told: Told) -> None:
        plan, _ = told.carry_out(timeout_s=42)
        assert plan.settings == {
            "repeats": 1,
            "warmups": 1,
            "timeout_s": 42.0,
            "pause_s": 0.0,
            "jitter_s": 0.0,
            "settle_s": 0.0,
            "locations": ["a2", "a1p3"],
            "assets": [],
        }

    def test_that_is_closed_between_two_trials_says_so(self, told: Told) -> None:
        story = carry_out(QUICK, configured(), told.session)
        plan, first = next(story), next(story)
        assert isinstance(plan, SweepPlan)
        assert isinstance(first, TrialEntry)
        story.close()
        assert told.warned == [f"Sweep {plan.sweep_id} was canceled: 1 of 4 trials done (1 ok)"]

    def test_whose_webserver_stays_away_ends_early_and_says_how_far_it_came(self, told: Told) -> None:
        told.webserver.away = True
        with pytest.raises(SweepAbortedError, match=r"1 of 4 trials done \(1 rejected\)\. It ended early: The"):
            told.carry_out(timeout_s=0.1)


class TestWaiting:
    def test_a_code_server_and_a_webserver_that_are_restarted_are_waited_for(
        self, told: Told, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loaded = told.webserver.list_locations()
        seen = [
            {**loaded, "a2": LocationEntry("a2", "error", error="status = StatusCode.UNAVAILABLE\n>")},
            {**loaded, "a2": LocationEntry("a2", "loading")},
            None,
        ]

        def list_locations() -> dict[str, LocationEntry]:
            entries = seen.pop(0) if seen else loaded
            if entries is None:
                raise WebserverUnreachableError("it restarts")
            return entries

        monkeypatch.setattr(told.webserver, "list_locations", list_locations)
        monkeypatch.setattr("bench_orchestrator.waiting.time.sleep", lambda _s: None)
        told.carry_out()
        assert told.said[0] == "Waiting for a2, which may be restarting ..."
        assert seen == []

    def test_one_that_is_broken_is_not(self, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = LocationEntry("a2", "error", error="ImportError: no such luck")
        monkeypatch.setattr(told.webserver, "list_locations", lambda: {"a2": broken})
        with pytest.raises(PreflightError, match="ImportError: no such luck"):
            told.carry_out()
        assert told.said == []


class TestRefusing:
    def test_names_a_location_that_is_missing(self, instance: dg.DagsterInstance, told: Told) -> None:
        with pytest.raises(PreflightError, match=r"Nothing was launched\. There is no code location 'a99'"):
            told.carry_out(locations=["a2", "a99"])
        assert len(instance.get_run_ids()) == 1

    def test_an_earlier_sweep_that_is_running(self, instance: dg.DagsterInstance) -> None:
        earlier = make_run(instance, {Tag.KIND: "sweep"}, Status.STARTED)
        with pytest.raises(PreflightError, match=f"The sweep of run {earlier} is still running") as refused:
            Told(instance).carry_out()
        assert "dagster instance concurrency set bench_sweep 1" in str(refused.value)

    def test_a_later_sweep_does_not_block(self, instance: dg.DagsterInstance, told: Told) -> None:
        make_run(instance, {Tag.KIND: "sweep"}, Status.STARTED)
        told.carry_out()

    @pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILURE])
    def test_minds_no_sweep_that_is_over(self, instance: dg.DagsterInstance, status: Status) -> None:
        make_run(instance, {Tag.KIND: "sweep"}, status)
        Told(instance).carry_out()

    def test_a_second_run_of_the_same_start(self, instance: dg.DagsterInstance) -> None:
        tags: dict[str, str] = {Tag.KIND: "sweep", Tag.START: "4f2a"}
        first = make_run(instance, tags)
        again = Told(instance, tags)
        with pytest.raises(PreflightError, match=f"The same start has made the run {first}, which is the sweep"):
            again.carry_out()
        instance.delete_run(again.session.run_id)
        executed_again_by_a_person = Told(instance, {**tags, "dagster/parent_run_id": first})
        executed_again_by_a_person.carry_out()

    def test_to_resume_what_is_not_there(self, told: Told) -> None:
        with pytest.raises(PreflightError, match=r"Nothing was launched\. This deployment has no finished sweep"):
            told.carry_out(resume="quick-0")


class TestResuming:
    @pytest.fixture
    def interrupted(self, instance: dg.DagsterInstance, told: Told) -> SweepPlan:
        """Record a sweep of four trials whose run failed after two."""
        story = carry_out(QUICK, configured(), told.session)
        plan, *entries = (next(story) for _ in range(3))
        story.close()
        assert isinstance(plan, SweepPlan)
        run_sweep(instance, plan, [entry.note for entry in entries if isinstance(entry, TrialEntry)], RuntimeError)
        told.session.instance.delete_run(told.session.run_id)
        return plan

    def test_launches_what_is_owed_by_the_old_plan(self, instance: dg.DagsterInstance, interrupted: SweepPlan) -> None:
        told = Told(instance)
        plan, trials = told.carry_out(resume=interrupted.sweep_id, repeats=99)
        assert [entry.note.number for entry in trials] == [3, 4]
        assert (plan.sweep_id, plan.trials) == (interrupted.sweep_id, interrupted.trials)
        assert told.warned == []

    def test_ends_what_the_killed_process_left_and_launches_it_again(
        self, instance: dg.DagsterInstance, interrupted: SweepPlan
    ) -> None:
        left = make_run(instance, trial_tags(interrupted, interrupted.trials[2], now_us()), Status.STARTED)
        told = Told(instance)
        _, trials = told.carry_out(resume=interrupted.sweep_id)
        assert [(entry.note.number, entry.note.outcome) for entry in trials] == [(3, Outcome.OK), (4, Outcome.OK)]
        assert told.warned == [f"Run {left} of trial 3 was ended, because no trial waits for it."]
        run = get_run(instance, left)
        assert run is not None
        assert run.status is Status.CANCELED

    def test_says_what_has_changed_since(
        self, instance: dg.DagsterInstance, interrupted: SweepPlan, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "bench_orchestrator.sweeps.session.describe_environment",
            lambda _instance: {**interrupted.environment, "python": "9.9"},
        )
        told = Told(instance)
        told.carry_out(resume=interrupted.sweep_id)
        assert told.warned == [f"python was {interrupted.environment['python']} when this sweep began and is 9.9 now."]

    def test_names_the_sweeps_that_cannot_be_read_and_resumes_another(
        self, instance: dg.DagsterInstance, interrupted: SweepPlan
    ) -> None:
        foreign = run_sweep(instance, other_release(make_plan("quick-foreign")))
        told = Told(instance)
        _, trials = told.carry_out(resume=interrupted.sweep_id)
        assert [entry.note.number for entry in trials] == [3, 4]
        (warning,) = told.warned
        assert warning.startswith(f"The journal of sweep run {foreign} cannot be read")


def chosen(trial: PlannedTrial) -> tuple[str, tuple[str, ...]]:
    """Return what the seed chooses of a trial."""
    return trial.location, trial.asset_keys


class TestAddingBlocks:
    def test_a_complete_sweep_gets_its_warm_up_again_and_the_blocks_that_its_seed_gives_next(
        self, instance: dg.DagsterInstance, told: Told
    ) -> None:
        plan, entries = told.carry_out()
        run_sweep(instance, plan, [entry.note for entry in entries])
        instance.delete_run(told.session.run_id)
        told = Told(instance)
        longer, added = told.carry_out(resume=plan.sweep_id, more=2)
        instance.delete_run(told.session.run_id)
        run = run_sweep(instance, longer, [entry.note for entry in added])
        assert longer.trials[: len(plan.trials)] == plan.trials
        assert [entry.note.number for entry in added] == list(range(5, 11))
        assert [trial.block for trial in longer.trials] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
        assert {trial.block for trial in longer.trials if trial.warmup} == {1, 3}
        at_once, _ = Told(instance).carry_out(repeats=3)
        assert [chosen(trial) for trial in longer.trials[6:]] == [chosen(trial) for trial in at_once.trials[4:]]
        sweep = harvest_sweep(instance, run)
        assert sweep is not None
        assert (sweep.plan.settings["repeats"], len(sweep.trials)) == (3, 10)
        assert {trial.outcome for trial in sweep.trials} == {Outcome.OK}

    def test_an_interrupted_one_gets_what_it_owes_first(self, instance: dg.DagsterInstance, told: Told) -> None:
        plan, entries = told.carry_out()
        run_sweep(instance, plan, [entry.note for entry in entries[:3]], RuntimeError)
        instance.delete_run(told.session.run_id)
        instance.delete_run(find_trial_runs(instance, plan.sweep_id)[-1].run_id)
        _, added = Told(instance).carry_out(resume=plan.sweep_id, more=1)
        assert [entry.note.number for entry in added] == [4, 5, 6, 7, 8]

    def test_one_whose_locations_have_changed_is_refused(self, instance: dg.DagsterInstance, told: Told) -> None:
        plan, entries = told.carry_out()
        renamed = tuple(replace(trial, asset_keys=("renamed",)) for trial in plan.trials)
        run_sweep(instance, replace(plan, trials=renamed), [entry.note for entry in entries])
        instance.delete_run(told.session.run_id)
        with pytest.raises(PreflightError, match=r"do not have the assets that they had\. Start a new sweep"):
            Told(instance).carry_out(resume=plan.sweep_id, more=1)

    def test_blocks_of_no_sweep_are_refused(self, told: Told) -> None:
        with pytest.raises(PreflightError, match="`more` adds blocks to an earlier sweep"):
            told.carry_out(more=1)


class TestTakingTurns:
    def test_waits_for_the_harvest_of_an_earlier_sweep_before_it_starts_or_records_anything(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told = Told(instance)
        waited: list[list[str]] = []
        monkeypatch.setattr(
            "bench_orchestrator.sweeps.session.await_harvests",
            lambda _instance, run_id, _say: waited.append([run_id, *told.said]),
        )
        story = carry_out(QUICK, configured(), told.session)
        next(story)
        story.close()
        assert waited == [[told.session.run_id]] * 2
