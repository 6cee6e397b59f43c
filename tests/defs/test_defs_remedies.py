"""The assets of conclusions: what they leave in the catalog and on disk; they never fail for lack of data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from advice_samples import sample_experiment, sized_sweep
from PIL import Image
from samples import failed_sweep

from bench_orchestrator.defs.remedies import ConclusionsConfig, conclusions
from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.results.store import Store


def materialize(
    directory: Path,
    config: ConclusionsConfig | None = None,
    *,
    selection: Sequence[str] | None = None,
    harvested: str | None = None,
) -> dict[str, Mapping[str, Any]]:
    """Return the metadata of the materializations, by asset."""
    result = dg.materialize(
        [conclusions],
        resources={"results": ResultsResource(database=str(directory / "bench.duckdb"))},
        run_config=dg.RunConfig(ops={"conclusions": config} if config else {}),
        selection=selection,
        tags={Tag.SCENARIO: harvested} if harvested else None,
    )
    assert result.success
    events = [event.materialization for event in result.get_asset_materialization_events()]
    return {
        one.asset_key.to_user_string(): {name: value.value for name, value in one.metadata.items()} for one in events
    }


def test_without_measurements_they_stay_as_they_are(tmp_path: Path) -> None:
    assert materialize(tmp_path) == {}
    Store.in_directory(tmp_path).save(failed_sweep())
    assert materialize(tmp_path) == {}
    assert not (tmp_path / "reports").exists()


def test_sweeps_of_locations_alone_decide_claims_and_no_remedy(tmp_path: Path) -> None:
    Store.in_directory(tmp_path).save(sized_sweep(noise=0.02))
    assert list(materialize(tmp_path)) == ["study_claims"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    store = Store.in_directory(folder)
    for sweep in (sized_sweep(noise=0.02), sample_experiment("split-definitions"), sample_experiment("imports")):
        store.save(sweep)
    return folder


def test_remedies_are_ranked_for_the_requested_size(measured: Path) -> None:
    metadata = materialize(measured, ConclusionsConfig(assets=4_000, steps=2))["remedies"]
    assert len(metadata["summary"]) < 1_000
    assert "4,000 assets and 2 steps" in metadata["summary"]
    assert metadata["chart"].startswith("![remedies](data:image/png;base64,")
    assert "Split the code location into nine" in {record.data["remedy"] for record in metadata["table"].records}
    key = "saved_s/split-definitions/nine locations"
    assert metadata[f"{key}/low"] < metadata[key] < metadata[f"{key}/high"]
    assert (metadata["assets"], metadata["steps"]) == (4_000, 2)
    assert metadata["lag_s"] > 8
    with Image.open(metadata["png"]) as image:
        assert image.format == "PNG"
    report = Path(metadata["report"])
    assert report == measured / "reports" / "remedies.md"
    assert (report.parent / "../charts/remedies.svg").resolve() == Path(metadata["svg"]).resolve()
    assert "(../charts/remedies.svg)" in report.read_text()


@pytest.mark.usefixtures("undrawn")
def test_claims_are_counted_and_written_down(measured: Path) -> None:
    metadata = materialize(measured)["study_claims"]
    assert len(metadata["summary"]) < 1_000
    assert metadata["confirmed"] + metadata["refuted"] + metadata["undecided"] == 9
    assert metadata["claim_5"] == "confirmed"
    assert [record.data["number"] for record in metadata["table"].records] == [str(number) for number in range(1, 10)]
    assert metadata["table"].records[4].data["here"] == "confirmed"
    assert "split-definitions-4f2a91c3" in Path(metadata["report"]).read_text()


@pytest.mark.usefixtures("undrawn")
def test_again_the_same_is_written(measured: Path) -> None:
    materialize(measured)
    before = {path: path.read_bytes() for path in (measured / "reports").iterdir()}
    materialize(measured)
    assert {path: path.read_bytes() for path in (measured / "reports").iterdir()} == before


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", ["remedies", "study_claims"])
def test_each_can_be_made_alone(measured: Path, name: str) -> None:
    assert list(materialize(measured, selection=[name])) == [name]


@pytest.mark.usefixtures("undrawn")
def test_a_harvest_that_brings_no_evidence_leaves_them_as_they_are(measured: Path) -> None:
    assert materialize(measured, harvested="monitor") == {}
    assert set(materialize(measured, harvested="quick")) == {"remedies", "study_claims"}
