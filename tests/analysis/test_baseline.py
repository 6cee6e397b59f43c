"""A baseline is read as it was written, and says what is different now."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import ENVIRONMENT, measured_sweep, troubled_sweep

from bench_orchestrator.analysis.baseline import (
    Baseline,
    BaselineError,
    Place,
    baseline_of,
    read_baseline,
    write_baseline,
)
from bench_orchestrator.scenarios.experiment import STARTUP

startups_s = st.floats(1e-6, 86_400).map(lambda s: round(s, 6))
places = st.builds(Place, st.integers(0, 100_000), st.lists(startups_s, min_size=1, max_size=5).map(tuple))
baselines = st.builds(
    Baseline,
    st.text(),
    st.dictionaries(st.text(), places, max_size=3),
    st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=3),
)


@given(baselines)
def test_it_is_read_as_it_was_written(baseline: Baseline) -> None:
    assert read_baseline(write_baseline(baseline), "base.json") == baseline


def test_it_holds_the_measured_launches_of_a_sweep() -> None:
    sweep = measured_sweep(("a250", "a2k"), 6)
    baseline = baseline_of(sweep)
    measured = [STARTUP.of(one) for one in sweep.trials if one.location == "a2k" and not one.warmup]
    assert baseline.places["a2k"] == Place(2_000, tuple(s for s in measured if s is not None))
    assert len(measured) == 6
    assert list(baseline.changes(sweep)) == []


def test_a_location_with_a_failure_is_left_out() -> None:
    places = baseline_of(troubled_sweep()).places
    assert {"a250", "a2k", "a10p10k"} == set(places)


def test_it_tells_what_is_different_now() -> None:
    sweep = measured_sweep(("a250",), 6)
    baseline = baseline_of(sweep)
    place = baseline.places["a250"]
    earlier = replace(
        baseline,
        places={"a250": replace(place, assets=200)},
        environment={**ENVIRONMENT, "cpu_count": 4, "dagster_yaml": {"telemetry": False}},
    )
    assert list(earlier.changes(sweep)) == [
        "a250 has 250 assets, 200 in the baseline",
        "cpu count is 2, 4 in the baseline",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"sweep": "a", "places": {"a": {"assets": 1, "startups_s": []}}}',
        '{"sweep": "a", "places": {"a": {"assets": 1, "startups_s": [-1]}}}',
        '{"sweep": "a", "places": {"a": {"assets": 1, "startups_s": [NaN]}}}',
        '{"sweep": "a", "places": {"a": {"assets": 1, "startups_s": [1e999]}}}',
        '{"sweep": "a", "places": {}, "version": 2}',
        "\ud800",
    ],
)
def test_another_file_is_one_line(text: str) -> None:
    with pytest.raises(BaselineError, match=r"^base.json is not a baseline: .+") as error:
        read_baseline(text, "base.json")
    assert "\n" not in str(error.value)
