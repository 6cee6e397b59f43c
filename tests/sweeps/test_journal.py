"""A sweep's journal: read back as it was recorded, or refused with the name of its run; never half read."""

from contextlib import suppress
from dataclasses import replace
from math import inf, nan
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recording import damage_log, make_plan, other_release, run_sweep

from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.runs import RunEvent
from bench_orchestrator.sweeps.entries import (
    NOTE,
    NOTES,
    PLAN,
    PLANS,
    Journal,
    JournalError,
    as_json,
    fold_journal,
)
from bench_orchestrator.sweeps.journal import find_plan, has_plan, plan_event, read_journal

PLANNED: dict[str, Any] = as_json(PLANS, make_plan())
NOTED: dict[str, Any] = as_json(NOTES, TrialNote(1, Outcome.OK, run_id="4f2a"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def recorded(plan: object, note: object) -> tuple[RunEvent, RunEvent]:
    return (
        RunEvent("ASSET_MATERIALIZATION", 1, metadata={PLAN: plan}),
        RunEvent("ASSET_OBSERVATION", 2, metadata={NOTE: note}),
    )


class TestRecording:
    def test_what_is_recorded_is_read_back(self) -> None:
        assert fold_journal("4f2a", recorded(PLANNED, NOTED)) == Journal(
            make_plan(), (TrialNote(1, Outcome.OK, run_id="4f2a"),)
        )

    @pytest.mark.parametrize("number", [inf, -inf, nan])
    def test_a_number_that_is_not_finite_is_never_recorded(self, number: float) -> None:
        plan = make_plan()
        with pytest.raises(ValueError, match="not JSON compliant"):
            plan_event(replace(plan, settings={**plan.settings, "timeout_s": number}))


class TestReading:
    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"settings": {"pause_s": 1, "jitter_s": 5}}, "timeout_s: Field required"),
            ({"settings": {**PLANNED["settings"], "timeout_s": None}}, "timeout_s: Input should be a valid number"),
            ({"settings": {**PLANNED["settings"], "pause_s": inf}}, "pause_s: Input should be a finite number"),
            ({"settings": None}, "settings: Input should be"),
            ({"trials": None}, "trials: Input should be a valid tuple"),
            ({"locations": []}, "trial 1 is in 'a10', which the plan does not have"),
        ],
    )
    def test_a_plan_of_another_release_is_refused_with_its_run_and_the_reason(
        self, change: dict[str, Any], why: str
    ) -> None:
        with pytest.raises(JournalError) as raised:
            fold_journal("4f2a", recorded({**PLANNED, **change}, NOTED))
        assert str(raised.value).startswith(f"The journal of sweep run 4f2a cannot be read: {why}")
        assert "\n" not in str(raised.value)

    @given(field=st.sampled_from(sorted(PLANNED)), of_plan=JSON, of_note=JSON)
    def test_whatever_it_holds_it_is_a_journal_or_refused(self, field: str, of_plan: object, of_note: object) -> None:
        for events in (recorded({**PLANNED, field: of_plan}, NOTED), recorded(PLANNED, of_note)):
            with suppress(JournalError):
                journal = fold_journal("4f2a", events)
                assert journal is not None
                assert journal.plan.settings["timeout_s"] >= 0


class TestInAnInstance:
    @pytest.mark.parametrize(
        ("plan", "there", "found"), [(None, False, None), (make_plan(), True, make_plan())], ids=["none", "one"]
    )
    def test_the_plan_is_found_without_the_notes(
        self, instance: dg.DagsterInstance, plan: SweepPlan | None, there: bool, found: SweepPlan | None
    ) -> None:
        run_id = run_sweep(instance, plan, [TrialNote(1, Outcome.OK)] if plan else [])
        assert has_plan(instance, run_id) is there
        assert find_plan(instance, run_id) == found

    @pytest.mark.parametrize("damaged", [True, False])
    def test_one_that_cannot_be_read_is_refused_and_there(self, instance: dg.DagsterInstance, damaged: bool) -> None:
        run_id = run_sweep(instance, make_plan() if damaged else other_release(make_plan()))
        if damaged:
            damage_log(instance, run_id)
        assert has_plan(instance, run_id)
        for read in (find_plan, read_journal):
            with pytest.raises(JournalError, match=f"The journal of sweep run {run_id} cannot be read"):
                read(instance, run_id)

    def test_one_that_continues_an_unreadable_one_is_refused_with_the_earlier_run(
        self, instance: dg.DagsterInstance
    ) -> None:
        first = run_sweep(instance, other_release(make_plan()))
        second = run_sweep(instance, replace(make_plan(), resumes=first))
        with pytest.raises(JournalError, match=f"sweep run {first}"):
            read_journal(instance, second)
