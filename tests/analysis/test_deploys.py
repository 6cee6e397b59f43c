"""A deploy is called slower where launches are, and not where they are as before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.analysis.deploys import compare_deploy
from bench_orchestrator.statistics import Verdict

BEFORE_S = [3.5, 3.6, 3.7, 3.55, 3.65, 3.62, 3.58]


@given(factor=st.floats(1.5, 10.0))
def test_launches_that_take_half_as_long_again_are_slower(factor: float) -> None:
    deploy = compare_deploy("a250", 0, BEFORE_S, [factor * value for value in BEFORE_S])
    assert deploy.slower
    assert deploy.after_s.value == pytest.approx(factor * deploy.before_s.value)
    assert str(deploy).endswith("since the deploy before 1970-01-01 00:00 UTC (slower)")


@pytest.mark.parametrize("after_s", [BEFORE_S, BEFORE_S[::-1], [value / 2 for value in BEFORE_S], [9.9]])
def test_the_same_faster_or_too_few_are_not(after_s: list[float]) -> None:
    assert not compare_deploy("a250", 0, BEFORE_S, after_s).slower


def test_one_launch_decides_nothing() -> None:
    assert compare_deploy("a250", 0, BEFORE_S, [9.9]).comparison.verdict is Verdict.UNDECIDED
