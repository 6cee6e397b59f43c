"""The warm server's figures follow from their samples."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.rows import TABLE
from benchmarks.warm_server.samples import LIMITS, Execution, Quantity, Sample

PROJECT = Path(__file__).parents[2]
COMMITTED = PROJECT / "benchmarks" / "results" / "warm_server"

MACHINE = {"dagster": "1.13.27", "python": "3.11.7", "cpu_count": 2, "cpu_model": "AMD EPYC"}


def execution(stock: float, warm: float, blocks: int = 6) -> Execution:
    """Return an execution whose samples drift from block to block, by the same factor on both sides."""
    return Execution(
        MACHINE,
        tuple(
            Sample(quantity, 10_000, server, block, value * (1 + block / 10))
            for quantity in Quantity
            for server, value in (("stock", stock), ("warm", warm))
            for block in range(1, blocks + 1)
        ),
    )


def test_ratios_are_taken_within_blocks() -> None:
    drifting = execution(12, 0.25)
    ratio = drifting.ratio(LIMITS[0])
    assert ratio is not None
    assert (ratio.low, ratio.high) == pytest.approx((48, 48))
    assert r"| 10,000 assets, from RUN\_STARTING to the first STEP\_START | 16.2 s [13.2, 19.2] |" in drifting.table()
    assert "| 48.0 [48.0, 48.0] |" in drifting.table()
    assert "cover 97 %, n = 6 blocks" in drifting.caption()


def test_a_claim_is_missed_if_its_whole_interval_is_beyond_the_limit() -> None:
    assert "RUN_STARTING to STEP_START, stock ÷ warm" in execution(2, 1).missed
    assert "runs at once, stock ÷ warm" not in execution(12, 1).missed


def test_what_was_not_measured_has_no_row() -> None:
    whole = execution(12, 1)
    part = replace(whole, samples=tuple(one for one in whole.samples if one.quantity is Quantity.MEMORY))
    assert part.table().count("\n") == 2
    assert part.limits().count("\n") == 2
    assert part.missed == []


def test_an_execution_is_read_as_it_was_written(tmp_path: Path) -> None:
    some = execution(12, 0.25)
    some.write(tmp_path / "new")
    assert Execution.read(tmp_path / "new") == some
    assert some.table() in (tmp_path / "new" / TABLE).read_text(encoding="utf-8")


def test_the_committed_execution_keeps_its_limits_and_has_the_rows_of_the_page() -> None:
    committed = Execution.read(COMMITTED)
    assert committed.missed == []
    text = (COMMITTED / TABLE).read_text(encoding="utf-8")
    assert text == f"{committed}\n"
    page = (PROJECT / "packages" / "dagster-warm" / "README.md").read_text(encoding="utf-8")
    told = [line for line in page.splitlines() if line.startswith("| ") and "assets, " in line]
    assert len(told) == len(Quantity)
    assert set(told) <= set(text.replace("\\", "").splitlines())
