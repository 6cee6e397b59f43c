"""The simulation of change points counts right; its committed figures hold their limits."""

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench_orchestrator.statistics.changes import LIMITS
from benchmarks.change_points import LEAST_FOUND, MOST_FALSE, NOISES, main, quiet, shifts

COMMITTED = Path(__file__).parents[2] / "benchmarks" / "results" / "change_points.md"


def test_the_committed_figures_are_within_their_limits() -> None:
    claim = " ".join(COMMITTED.read_text(encoding="utf-8").split("**")[1].split())
    found, of_startup, of_all = map(
        float,
        re.search(r"in ([\d.]+) of 100 .* at most ([\d.]+) raise .* at most ([\d.]+) for", claim).groups(),  # type: ignore[union-attr]
    )
    assert found >= 100 * LEAST_FOUND
    assert of_startup < of_all <= MOST_FALSE


@pytest.mark.parametrize(("name", "reach"), [("normal", 0.0674), ("lognormal", 0.0674), ("heavy-tailed", 0.0442)])
def test_a_noise_has_a_standard_deviation_of_a_tenth_delays_apart(name: str, reach: float) -> None:
    """The quartiles tell, because delays hardly move them."""
    low, middle, high = np.quantile(NOISES[name](np.random.default_rng(1), 100_000), [0.25, 0.5, 0.75])
    assert middle == pytest.approx(1, abs=0.01)
    assert (high - low) / 2 == pytest.approx(reach, rel=0.07)


def test_few_histories_give_about_the_same() -> None:
    rng = np.random.default_rng(1)
    for shift in shifts(rng, 10):
        assert not shift.limited or shift.found >= 0.7
        assert not shift.found or shift.noticed_after <= 15
    assert all(one.per_1000 <= 4 for one in quiet(rng, 4) if one.limited)


def test_limits_grow_with_the_points_per_false_alarm() -> None:
    printed = CliRunner().invoke(main, ["--limits", "--sets", "10"])
    assert printed.exit_code == 0
    limits = [float(line.split(": ")[1]) for line in printed.output.splitlines()]
    assert limits == sorted(limits)
    assert len(limits) == len(LIMITS)
