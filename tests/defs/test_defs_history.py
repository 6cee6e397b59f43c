"""The asset of the history and its checks: what they leave in the catalog, and when they warn."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from experiment_samples import experiment_sweep
from history_samples import DEPLOYED, GROWN, as_sweeps, make_history
from PIL import Image

from bench_orchestrator import settings
from bench_orchestrator.analysis.history import CODE_SERVER, LocationHistory
from bench_orchestrator.defs.history import DEPLOY_CHECK, LIMIT_CHECK, NAME, SLOWER_CHECK, HistoryConfig, lag_history
from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.results.store import Store

Told = tuple[Mapping[str, Any], Mapping[str, dg.AssetCheckEvaluation]]


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (settings.MAX_LAG_S, settings.HISTORY_SINCE):
        monkeypatch.delenv(name, raising=False)


def stored(folder: Path, *histories: LocationHistory) -> Path:
    store = Store.in_directory(folder)
    for history in histories:
        for sweep in as_sweeps(history):
            store.save(sweep)
    return folder


def materialize(folder: Path, *, max_lag_s: float | None = None, harvested: str = "monitor") -> Told | None:
    """Return the metadata and the checks; None if it was left as it is."""
    result = dg.materialize(
        [lag_history],
        resources={"results": ResultsResource(database=str(folder / "bench.duckdb"))},
        run_config=dg.RunConfig(ops={NAME: HistoryConfig(max_lag_s=max_lag_s)}),
        tags={Tag.SCENARIO: harvested},
    )
    assert result.success
    events = result.get_asset_materialization_events()
    if not events:
        assert not result.get_asset_check_evaluations()
        return None
    (event,) = events
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    return {name: value.value for name, value in event.materialization.metadata.items()}, checks


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return results in which a250 grew to 2,000 assets after 22 sweeps."""
    return stored(tmp_path_factory.mktemp("grown"), make_history(parts=((22, {}, {}), (12, *GROWN[1:]))))


def described(check: dg.AssetCheckEvaluation) -> str:
    assert check.description
    return check.description


@pytest.mark.parametrize("harvested", ["executors", "priority-ops"])
def test_the_harvest_of_an_experiment_leaves_it_as_it_is(grown: Path, harvested: str) -> None:
    assert materialize(grown, harvested=harvested) is None


def test_without_a_history_it_is_left_as_it_is(tmp_path: Path) -> None:
    assert materialize(tmp_path) is None
    Store.in_directory(tmp_path).save(experiment_sweep(repeats=1))
    assert materialize(tmp_path) is None


def test_it_shows_when_it_became_slower_where_and_what_came_with_it(grown: Path) -> None:
    told = materialize(grown)
    assert told is not None
    metadata, _ = told
    assert metadata["chart"].startswith("![lag_over_time](data:image/png;base64,")
    with Image.open(metadata["png"]) as image:
        assert image.format == "PNG"
    assert len(metadata["summary"]) < 1_000
    assert "Slower than before: a250 +3." in metadata["summary"]
    (line,) = (record.data for record in metadata["changes"].records)
    assert (line["location"], line["quantity"], line["stage"]) == ("a250", "startup time", "worker load")
    assert line["with it"] == "assets 250 \N{RIGHTWARDS ARROW} 2,000"
    assert line["first sweep"] == "monitor-22"
    assert line["p"] < 1e-3
    assert metadata["changes/a250"] == 1
    assert metadata["startup_s/a250/low"] < metadata["startup_s/a250"] < metadata["startup_s/a250/high"]


@pytest.mark.usefixtures("undrawn")
class TestTheCheckForSlowdowns:
    def test_warns_with_numbers(self, grown: Path) -> None:
        told = materialize(grown)
        assert told is not None
        check = told[1][SLOWER_CHECK]
        assert not check.passed
        assert check.severity is dg.AssetCheckSeverity.WARN
        assert "a250 +3." in described(check)
        assert "(worker load); with it: assets 250 \N{RIGHTWARDS ARROW} 2,000." in described(check)
        numbers = {name: value.value for name, value in check.metadata.items()}
        assert numbers["slower"] == ["a250"]
        assert numbers["present_s/a250"] > 1.8 * numbers["baseline_s/a250"]  # type: ignore[operator]
        assert numbers["difference_s/a250/low"] > 3  # type: ignore[operator]

    def test_passes_while_nothing_is_slower(self, tmp_path: Path) -> None:
        told = materialize(stored(tmp_path, make_history(parts=((8, {}, {}),))))
        assert told is not None
        check = told[1][SLOWER_CHECK]
        assert check.passed
        assert described(check) == "No slower than before: 1 location, 8 sweeps."

    def test_forgets_what_was_before_an_instant(self, grown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(settings.HISTORY_SINCE, "2026-07-14T15:00")
        told = materialize(grown)
        assert told is not None
        assert told[1][SLOWER_CHECK].passed
        assert told[0]["changes/a250"] == 0


@pytest.mark.usefixtures("undrawn")
class TestTheCheckOfTheLimit:
    @pytest.mark.parametrize(
        ("limit_s", "passed", "severity"),
        [
            (60.0, True, dg.AssetCheckSeverity.WARN),
            (9.0, False, dg.AssetCheckSeverity.WARN),
            (0.5, False, dg.AssetCheckSeverity.ERROR),
        ],
    )
    def test_warns_over_it_and_errs_surely_over_it(
        self, grown: Path, limit_s: float, passed: bool, severity: dg.AssetCheckSeverity
    ) -> None:
        told = materialize(grown, max_lag_s=limit_s)
        assert told is not None
        check = told[1][LIMIT_CHECK]
        assert (check.passed, check.severity) == (passed, severity)
        assert described(check).startswith(f"{'All under' if passed else 'Over'} the limit of {limit_s:g} s: a250: ")
        assert check.metadata["limit_s"].value == limit_s

    def test_is_that_of_the_environment_unless_configured(self, grown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(settings.MAX_LAG_S, "0.5")
        for limit_s, passed in ((None, False), (60.0, True)):
            told = materialize(grown, max_lag_s=limit_s)
            assert told is not None
            assert told[1][LIMIT_CHECK].passed is passed

    def test_a_wrong_setting_fails_its_own_check_and_holds_up_nothing(
        self, grown: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for variable, check, other in (
            (settings.MAX_LAG_S, LIMIT_CHECK, SLOWER_CHECK),
            (settings.HISTORY_SINCE, SLOWER_CHECK, LIMIT_CHECK),
        ):
            with monkeypatch.context() as patch:
                patch.setenv(variable, "ten")
                told = materialize(grown)
            assert told is not None
            assert not told[1][check].passed
            assert described(told[1][check]).startswith(f"{variable} is 'ten'; it has to be a")
            usual = materialize(grown)
            assert usual is not None
            assert described(told[1][other]) == described(usual[1][other])

    def test_passes_and_says_so_without_one(self, grown: Path) -> None:
        told = materialize(grown)
        assert told is not None
        check = told[1][LIMIT_CHECK]
        assert check.passed
        assert described(check).startswith("There is no limit; BENCH_MAX_LAG_S sets one. a250: ")


class TestDeploys:
    def test_a_slower_one_is_a_warning_with_both_medians(self, tmp_path: Path) -> None:
        folder = stored(tmp_path, make_history(parts=((8, {}, {CODE_SERVER: "1a2b3c4d"}), DEPLOYED)))
        told = materialize(folder)
        assert told is not None
        check = told[1][DEPLOY_CHECK]
        assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert described(check).startswith("a250 +3.")
        assert described(check).endswith("(slower).")
        assert check.metadata["before_s/a250"].value == pytest.approx(3.6, rel=0.1)
        assert check.metadata["after_s/a250"].value == pytest.approx(7.2, rel=0.1)
        (row,) = (record.data for record in told[0]["deploys"].records)
        assert (row["location"], row["verdict"]) == ("a250", "slower")

    def test_passes_and_says_so_without_one(self, grown: Path) -> None:
        told = materialize(grown)
        assert told is not None
        assert told[1][DEPLOY_CHECK].passed
        assert described(told[1][DEPLOY_CHECK]) == "No location was measured both before a deploy and after it."
