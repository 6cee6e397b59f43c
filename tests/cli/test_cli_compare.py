"""`bench compare` for users and scripts."""

from dataclasses import replace
from pathlib import Path

import pytest
import samples
from test_cli_commands import bench, printed_json

from bench_orchestrator.results.store import Store

BEFORE = samples.SWEEP_ID


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with a sweep, and the same one again under another version of Dagster."""
    folder = tmp_path_factory.mktemp("saved")
    store = Store.in_directory(folder)
    sweep = samples.measured_sweep(("a250", "a2k"))
    store.save(sweep)
    plan = replace(sweep.plan, sweep_id="later", environment={**sweep.plan.environment, "dagster": "1.14.0"})
    store.save(replace(sweep, plan=plan, trials=tuple(replace(one, sweep_id="later") for one in sweep.trials)))
    other = samples.measured_sweep(("a10k",))
    plan = replace(other.plan, sweep_id="other")
    store.save(replace(other, plan=plan, trials=tuple(replace(one, sweep_id="other") for one in other.trials)))
    trials = (replace(one, sweep_id="grown", partition_count=int(one.location == "a2k")) for one in sweep.trials)
    store.save(replace(sweep, plan=replace(sweep.plan, sweep_id="grown"), trials=tuple(trials)))
    return folder


@pytest.fixture
def two_sweeps(home: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the commands read that folder."""
    assert home.is_dir()
    monkeypatch.setenv("BENCH_RESULTS_DIR", str(saved))


@pytest.mark.usefixtures("two_sweeps")
class TestCompare:
    def test_it_prints_every_location_with_its_stages_and_what_differs(self) -> None:
        result = bench("compare", BEFORE, "later")
        assert result.exit_code == 0
        for text in (f"{BEFORE} → later", "a250", "a2k", "launch lag", "worker load", "dagster: 1.13.27 → 1.14.0"):
            assert text in result.stdout

    def test_what_is_left_out_is_said(self) -> None:
        result = bench("compare", BEFORE, "grown")
        assert result.exit_code == 0
        assert "Left out: a2k changed in size: 2000 assets and 0 partitions, then 2000 and 1." in result.stdout
        assert len(printed_json(bench("compare", BEFORE, "grown", "--json"))["left_out"]) == 1

    def test_a_sweep_differs_in_nothing_from_itself(self) -> None:
        output = bench("compare", BEFORE, BEFORE).stdout
        assert "Their environments do not differ in anything that was recorded." in output
        assert "faster" not in output
        assert "slower" not in output

    def test_as_json(self) -> None:
        data = printed_json(bench("compare", BEFORE, "later", "--json"))
        assert data["environment"] == {"dagster": {"before": "1.13.27", "after": "1.14.0"}}
        first = data["changes"][0]
        assert (first["place"], first["quantity"]) == ("a250", "launch lag")
        assert first["difference_s"]["low"] <= first["difference_s"]["value"] <= first["difference_s"]["high"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [((BEFORE, "nowhere"), "There is no sweep 'nowhere'"), ((BEFORE, "other"), "nothing in common")],
    )
    def test_what_cannot_be_compared_is_bad_usage(self, arguments: tuple[str, ...], message: str) -> None:
        result = bench("compare", *arguments)
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())
