"""The answer of `bench try` in the terminal, as JSON and as a page says the same."""

import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from try_samples import CHECKED, CODE, COLD, try_sweep

from bench_orchestrator.analysis.trying import conclude
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.report.trying import render_answer, summarize_answer, write_page
from bench_orchestrator.scenarios.trying import NOTHING_EXECUTED, STOCK, WARM
from dagster_warm.loading import Outcome as Checked


def printed(sweep: Sweep, checked: Checked = CHECKED, code: str = CODE) -> str:
    console = Console(width=200, record=True)
    console.print(render_answer(conclude(sweep), sweep, code, checked))
    return console.export_text()


def page_of(folder: Path, sweep: Sweep, checked: Checked = CHECKED, code: str = CODE) -> str:
    write_page(conclude(sweep), sweep, code, checked, folder / "new" / "try.html")
    return (folder / "new" / "try.html").read_text()


def test_the_terminal_ends_with_the_answer() -> None:
    text = printed(try_sweep())
    assert text.strip().splitlines()[-1] == f"{conclude(try_sweep()).sentence}."
    parts = ("Behind Dagster's code server", "Behind the warm code server", "What to do first", "launched warm?")
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    assert text.count("worker load") >= 2
    assert "1. Fork runs from a server" in text
    assert "shop/definitions.py:7" in text
    assert NOTHING_EXECUTED in text


def test_what_failed_is_in_all_forms(tmp_path: Path, undrawn: None) -> None:
    sweep = try_sweep(failing=[WARM])
    reason = "warm: 8 failed: RuntimeError: no token"
    assert reason in printed(sweep)
    assert reason in summarize_answer(conclude(sweep), sweep, CODE, CHECKED)["failures"]
    assert reason in page_of(tmp_path, sweep)
    assert undrawn is None


def test_the_json_has_the_figures() -> None:
    sweep = try_sweep()
    told = json.loads(json.dumps(summarize_answer(conclude(sweep), sweep, CODE, COLD)))
    assert told["code"] == CODE
    assert told["answer"] == f"{conclude(sweep).sentence}."
    assert told["sides"][STOCK]["launches"] == told["sides"][WARM]["launches"] == 8
    assert told["sides"][STOCK]["startup_s"]["value"] == pytest.approx(9.246)
    assert told["waterfalls"].keys() == {STOCK, WARM}
    assert told["warm"]["is_cold"] is True
    assert [finding["kind"] for finding in told["warm"]["findings"]] == ["thread", "environment"]
    assert [one["saved_s"] for one in told["first_steps"]] == sorted(
        (one["saved_s"] for one in told["first_steps"]), reverse=True
    )


@pytest.mark.usefixtures("undrawn")
def test_the_page_holds_everything_and_fetches_nothing(tmp_path: Path) -> None:
    page = page_of(tmp_path, try_sweep())
    assert len(re.findall(r'src="data:image/svg\+xml;base64,', page)) == 2
    assert not re.findall(r'(?:src|href)="http', page)
    assert "9.25 s [8.92, 9.57]" in page
    assert "environment TOKEN" in page
    assert "command: [python, -m, dagster_warm" in page


@pytest.mark.usefixtures("undrawn")
def test_a_hostile_name_is_only_text(tmp_path: Path) -> None:
    page = page_of(tmp_path, try_sweep(), code="<script>alert(1)</script>![x](http://far/x.png)")
    assert "<script" not in page
    assert "http://far/x.png" not in re.findall(r'src="([^"]*)"', page)


@pytest.mark.usefixtures("undrawn")
def test_without_a_measurement_there_is_a_page_all_the_same(tmp_path: Path) -> None:
    sweep = try_sweep(failing=[STOCK, WARM])
    assert "No measured launches" in page_of(tmp_path, sweep)
    assert "No measured launches" in printed(sweep)
