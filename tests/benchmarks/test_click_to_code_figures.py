"""The figures of click to code follow from the launches, and the limits are in force in the launched location."""

from pathlib import Path

import dagster as dg
import pytest
import yaml

from benchmarks.click_to_code import location
from benchmarks.click_to_code.arms import ARMS, DEFAULT, LIMITED, PROMPT
from benchmarks.click_to_code.clicks import Click, Execution
from benchmarks.rows import TABLE

PROJECT = Path(__file__).parents[2]
COMMITTED = PROJECT / "benchmarks" / "results" / "click_to_code"

MACHINE = {"dagster": "1.13.27", "python": "3.11.7", "cpu_count": 2, "cpu_model": "AMD EPYC"}


def execution(prompt_s: float, blocks: int = 12) -> Execution:
    """Return an execution whose launches drift from block to block, by the same factor in all arms."""
    seconds = {name: prompt_s if name == PROMPT else 10.0 for name in ARMS}
    return Execution(
        MACHINE,
        tuple(
            Click(name, block, 10_000, {"queue_wait": 0.05, "worker_load": value * (1 + block / 100) - 0.05})
            for block in range(1, blocks + 1)
            for name, value in seconds.items()
        ),
    )


def test_ratios_are_taken_within_blocks() -> None:
    table = execution(0.2).table()
    assert table.startswith("| from the click to your code | 10,000 assets |")
    assert f"| {ARMS[DEFAULT].label} | 10.65 s [10.30, 11.00] | 0.05 s [0.05, 0.05] |  |" in table
    assert f"| {ARMS[PROMPT].label} | 0.21 s [0.21, 0.22] | 0.05 s [0.05, 0.05] | 0.02 × [0.02, 0.02] |" in table


def test_the_caption_says_how_many_launches_there_were() -> None:
    assert "cover 96 %, n = 12 launches each" in execution(0.2).caption()


@pytest.mark.parametrize(("prompt_s", "missed"), [(0.1, 0), (0.23, 0), (0.25, 1)])
def test_a_claim_is_missed_if_the_whole_interval_of_its_median_is_beyond_the_limit(
    prompt_s: float, missed: int
) -> None:
    assert len(execution(prompt_s).missed) == missed


def test_an_execution_is_read_as_it_was_written(tmp_path: Path) -> None:
    some = execution(0.2)
    some.write(tmp_path / "new")
    assert Execution.read(tmp_path / "new") == some
    assert (tmp_path / "new" / TABLE).read_text(encoding="utf-8") == f"{some}\n"


def test_the_launched_asset_is_in_a_pool_that_dagster_limits(tmp_path: Path) -> None:
    definitions = location.a10()
    assert len(definitions.resolve_asset_graph().get_all_asset_keys()) == 11
    assert location.a10() is definitions
    assert location.clicked.op.pool == location.CLICKED
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({**LIMITED, "telemetry": {"enabled": False}}))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        limits = instance.get_concurrency_config()
        assert limits.pool_config.default_pool_limit == LIMITED["concurrency"]["pools"]["default_limit"]
        queue = limits.run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == LIMITED["concurrency"]["runs"]["max_concurrent_runs"]
        assert len(queue.tag_concurrency_limits) == 2


def test_the_readme_shows_the_rows_of_the_committed_execution() -> None:
    committed = (COMMITTED / TABLE).read_text(encoding="utf-8") if COMMITTED.exists() else ""
    assert _rows((PROJECT / "README.md").read_text(encoding="utf-8")) == _rows(committed)


@pytest.mark.skipif(not COMMITTED.exists(), reason="is measured on an idle machine")
def test_the_committed_execution_keeps_its_limits_and_has_the_table_of_its_rows() -> None:
    committed = Execution.read(COMMITTED)
    assert committed.missed == []
    assert (COMMITTED / TABLE).read_text(encoding="utf-8") == f"{committed}\n"


def _rows(text: str) -> list[str]:
    """Return the rows of the table of click to code."""
    return [line for line in text.splitlines() if line.startswith(tuple(f"| {arm.label} |" for arm in ARMS.values()))]
