"""Which runs are observed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.observed import OTHERS, Selection
from bench_orchestrator.model.runs import Run, RunStatus
from bench_orchestrator.model.tags import OBSERVATION, Tag


def run_of(location: str, run_id: str = "4f2a", **tags: str) -> Run:
    return Run(run_id, RunStatus.SUCCESS, "nightly", tags, created_us=1, updated_us=2, location=location)


KIND: dict[str, str] = {str(Tag.KIND): "trial"}


@pytest.mark.parametrize(
    ("entries", "shares"),
    [
        ([], {OTHERS: 1}),
        (["", " "], {OTHERS: 1}),
        (["sales", "finance=0.25"], {"sales": 1, "finance": 0.25}),
        ([" sales = 0 ", OTHERS], {"sales": 0, OTHERS: 1}),
        (["a=b=0.5"], {"a=b": 0.5}),
    ],
)
def test_locations_are_named_with_or_without_a_share(entries: list[str], shares: dict[str, float]) -> None:
    assert Selection.parse(entries).shares == shares


@pytest.mark.parametrize("entry", ["sales=2", "sales=-0.1", "sales=nan", "sales=", "sales=ten", "*=inf"])
def test_what_is_no_share_is_refused(entry: str) -> None:
    with pytest.raises(UnusableError, match=r"is no location with a share from 0 to 1"):
        Selection.parse([entry])


@pytest.mark.parametrize(
    ("entries", "taken"),
    [
        ([], {"sales", "finance", ""}),
        (["sales"], {"sales"}),
        ([OTHERS, "sales=0"], {"finance", ""}),
        ([f"{OTHERS}=0"], set()),
    ],
)
def test_locations_that_are_not_named_are_left_out_unless_all_others_are_meant(
    entries: list[str], taken: set[str]
) -> None:
    selection = Selection.parse(entries)
    assert {name for name in ("sales", "finance", "") if selection.takes(run_of(name))} == taken


def test_the_benchs_own_runs_are_left_out_unless_they_are_asked_for() -> None:
    trial, repeated = run_of("a10", **KIND), run_of("a10", **KIND, **{"dagster/parent_run_id": "5f3b"})
    assert not Selection().takes(trial)
    assert Selection(of_bench=True).takes(trial)
    assert Selection().takes(repeated)


def test_an_observation_is_never_observed_because_each_would_ask_for_another() -> None:
    assert not Selection(of_bench=True).takes(run_of("bench_orchestrator", **{str(Tag.KIND): OBSERVATION}))


@given(st.sets(st.text(min_size=1), min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_the_sample_of_a_smaller_share_is_a_part_of_that_of_a_larger_one(
    run_ids: set[str], one: float, other: float
) -> None:
    smaller, larger = (Selection({OTHERS: share}) for share in sorted((one, other)))
    for run_id in run_ids:
        assert larger.takes(run_of("sales", run_id)) or not smaller.takes(run_of("sales", run_id))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_about_the_share_of_many_runs_is_taken(share: float) -> None:
    taken = sum(Selection({"sales": share}).takes(run_of("sales", f"run {number}")) for number in range(2_000))
    assert abs(taken / 2_000 - share) < 0.05
