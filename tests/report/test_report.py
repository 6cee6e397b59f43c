"""Reports are written and read back: complete, self-contained, deterministic."""

import base64
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import pytest
from experiment_samples import experiment_sweep, only_variants, troubled_experiment
from rich.console import Console
from samples import (
    failed_sweep,
    make_sweep,
    make_trial,
    measured_sweep,
    on_kubernetes,
    relaunched,
    troubled_sweep,
    unmeasured,
)

from bench_orchestrator.analysis import wording
from bench_orchestrator.analysis.advice import FirstStep
from bench_orchestrator.analysis.evaluation import evaluate
from bench_orchestrator.analysis.summary import location_rows
from bench_orchestrator.charts import CHARTS, charts_for
from bench_orchestrator.model.launch import Outcome, Sweep
from bench_orchestrator.model.stages import BootStage
from bench_orchestrator.model.text import legible
from bench_orchestrator.report.files import ReportFiles, write_report, write_sweep
from bench_orchestrator.report.html import render_page
from bench_orchestrator.report.markdown import render_markdown
from bench_orchestrator.report.summary import render_table, summarize
from bench_orchestrator.results.rows import launch_rows
from bench_orchestrator.results.store import Store


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    return write_report(troubled_sweep(), tmp_path_factory.mktemp("reports") / "troubled")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    return write_report(experiment_sweep(predicted=True), tmp_path_factory.mktemp("reports") / "split")


class Page(HTMLParser):
    """The URLs that a browser would fetch or follow, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_everything_is_written_and_nothing_else(troubled: ReportFiles) -> None:
    written = {troubled.markdown, troubled.html, troubled.csv, troubled.parquet}
    for files in troubled.charts.values():
        written |= {files.png, files.svg}
    assert set(troubled.html.parent.iterdir()) == written
    assert list(troubled.charts) == [chart.stem for chart in CHARTS]


@pytest.mark.usefixtures("undrawn")  # `tests/charts` tests the bytes of pictures
def test_the_same_sweep_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    (second / "report.md").write_text("an older report")
    for folder in (first, second):
        write_report(troubled_sweep(), folder)
    assert {path.name: path.read_bytes() for path in second.iterdir()} == {
        path.name: path.read_bytes() for path in first.iterdir()
    }


def test_the_page_needs_no_other_file(troubled: ReportFiles) -> None:
    html = troubled.html.read_text(encoding="utf-8")
    page = Page(html)
    assert len(page.references) == page.tags.count("img") == len(CHARTS)
    for reference in page.references:
        kind, _, content = reference.partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert ElementTree.fromstring(base64.b64decode(content)).tag.endswith("svg")
    assert not re.search(r"https?://|url\(|@import|<script|<link", html)


def test_pictures_of_the_markdown_are_beside_it(troubled: ReportFiles) -> None:
    names = re.findall(r"^!\[.+\]\(([^()]+)\)$", troubled.markdown.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(names) == len(CHARTS)
    assert all((troubled.markdown.parent / name).is_file() for name in names)


def test_the_answer_comes_first(troubled: ReportFiles) -> None:
    first_screen = troubled.markdown.read_text(encoding="utf-8").partition("| location |")[0]
    dominant = r"# .*\n\n\*\*Worker load takes \d+ % \[\d+, \d+\] of the launch lag at a5k: [\d.]+ s \[.*\]\.\*\*\n"
    assert re.match(dominant, first_screen)
    assert re.search(r"Startup time grows by [\d.]+ ms per asset \[[\d.]+, [\d.]+\]", first_screen)
    assert "9 of 35 trials gave no measurement" in first_screen


def test_a_location_that_never_succeeded_is_in_every_account(troubled: ReportFiles) -> None:
    sweep = troubled_sweep()
    expected = r"\| a10k \| 10,000 assets \| 0 \| not measured .* 5 timed out \|"
    assert re.search(expected, troubled.markdown.read_text(encoding="utf-8"))
    assert "a10k10,000 assets0not measured" in Page(troubled.html.read_text(encoding="utf-8")).text.replace("\n", "")
    assert re.search(r"a10k +0/5 .*5 timed out", _printed(sweep))
    assert [row["n"] for row in summarize(sweep)["locations"] if row["location"] == "a10k"] == [0]


@pytest.mark.usefixtures("undrawn")
def test_on_kubernetes_the_pieces_of_worker_boot_are_reported(tmp_path: Path) -> None:
    sweep = measured_sweep(["a250"])
    sweep = replace(sweep, trials=tuple(map(on_kubernetes, sweep.trials)))
    text = write_report(sweep, tmp_path).markdown.read_text(encoding="utf-8")
    names = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| \N{MIDDLE DOT} ")]
    assert names == [f"\N{MIDDLE DOT} {stage.label}" for stage in BootStage]
    told = wording.kubernetes(location_rows(sweep.trials))
    assert told
    assert told in text
    assert told in " ".join(_printed(sweep).split())
    (location,) = summarize(sweep)["locations"]
    assert list(location["worker_boot_s"]) == [stage.value for stage in BootStage]


def test_every_failure_has_its_reason_and_every_warning_is_reported(troubled: ReportFiles) -> None:
    page = Page(troubled.html.read_text(encoding="utf-8"))
    for trial in troubled_sweep().trials:
        assert " ".join(trial.reason.split()) in page.text
        for warning in trial.launch.warnings:
            assert warning in page.text
    assert "b" not in page.tags
    printed = _printed(troubled_sweep())
    assert "a10k: 5 timed out: no STEP_START within 300 s" in printed
    assert "<b>boom</b> | see *log*" in printed


@pytest.mark.usefixtures("undrawn")
def test_a_reason_cannot_become_a_link_or_markup(tmp_path: Path) -> None:
    reason = "see [this](https://example.com)\n<img src=x> <https://example.com> [bold]x[/bold] `a|b`"
    sweep = make_sweep([make_trial(outcome=Outcome.FAILED, reason=reason)])
    page = Page(write_report(sweep, tmp_path).html.read_text(encoding="utf-8"))
    assert all(reference.startswith("data:") for reference in page.references)
    assert " ".join(reason.split()) in page.text
    assert "[bold]x[/bold]" in _printed(sweep)


HOSTILE_NAMES = (
    "a![x](SECRET)",
    "![x](SECRET)",
    "[1, 2]: SECRET",
    "a\n\n![x](SECRET)",
    "a|b |\n| c",
    "```\n![x](SECRET)\n```",
    "`![x](SECRET)",
    "<img src=SECRET>",
    "</title><script>",
    "# not a heading",
    "$a$ and $b",
    "caf\udce9\0\x1b[31m\u202e",
    "../../escaped",
    "a" * 2_000,
    " ",
)


@pytest.mark.parametrize("kind", ["locations", "experiment"])
@pytest.mark.usefixtures("undrawn")
def test_names_are_only_ever_text(kind: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the contents of another file")
    names = [name.replace("SECRET", str(secret)) for name in HOSTILE_NAMES]
    sweep = renamed(kind, names)
    files = write_sweep(sweep, Store.in_directory(tmp_path / "results"))
    assert files.html.parent.parent == tmp_path / "results" / "reports"
    html = files.html.read_text(encoding="utf-8")
    page = Page(html)
    assert [reference.partition(",")[0] for reference in page.references] == ["data:image/svg+xml;base64"] * len(
        files.charts
    )
    assert base64.b64encode(secret.read_bytes()).decode() not in html
    text = " ".join(page.text.split())
    assert all(legible(" ".join(name.split())) in text for name in names)
    harmless = renamed(kind, [f"harmless{number:02}" for number in range(len(names))])
    plain = Page(write_sweep(harmless, Store.in_directory(tmp_path / "plain")).html.read_text(encoding="utf-8"))
    assert Counter(page.tags) == Counter(plain.tags)
    assert _printed(sweep)


def renamed(kind: str, names: Sequence[str]) -> Sweep:
    """Return a sweep whose texts from outside are these names."""
    first, *_ = names
    if kind == "locations":
        trials = [
            replace(make_trial(number, "a250"), location=name, asset_key=name, asset_count=10 * number)
            for number, name in enumerate(names, start=1)
        ]
        trials += [
            unmeasured(replace(trial, number=len(names) + trial.number), Outcome.FAILED, trial.location)
            for trial in trials
        ]
        trials[0] = relaunched(trials[0], warnings=tuple(names))
        sweep = make_sweep(trials, scenario=first, status=first)
    else:
        sweep = experiment_sweep("definitions-cache", repeats=2)
        new = dict(zip([variant.name for variant in sweep.plan.variants[2:]], names, strict=False))
        variants = [replace(one, name=new.get(one.name, one.name)) for one in sweep.plan.variants]
        trials = [replace(trial, variant=new.get(trial.variant, trial.variant)) for trial in sweep.trials]
        sweep = replace(sweep, status=first, trials=tuple(trials), plan=replace(sweep.plan, variants=tuple(variants)))
    plan = replace(
        sweep.plan,
        sweep_id=first,
        environment={**sweep.plan.environment, "cpu_model": " ".join(names)},
        settings={**sweep.plan.settings, **dict(zip(names, names, strict=True)), "repeats": first},
    )
    return replace(sweep, plan=plan)


@pytest.mark.usefixtures("undrawn")
def test_only_pictures_of_the_report_are_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "chart.svg").write_text("<svg/>")
    markdown = "# Title\n\n![own](chart.svg) ![x](secret) ![y](https://example.com/x.png) [z](https://example.com)"
    page = Page(render_page(markdown, {"chart.svg": tmp_path / "chart.svg"}))
    (own,) = page.references
    assert base64.b64decode(own.partition(",")[2]) == b"<svg/>"
    assert "x y [z](https://example.com)" in page.text


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_raw_rows_read_back_as_the_launches(troubled: ReportFiles, kind: str) -> None:
    query = {
        "csv": f"FROM read_csv('{troubled.csv}', allow_quoted_nulls = false)",
        "parquet": f"FROM '{troubled.parquet}'",
    }[kind]
    with duckdb.connect() as connection:
        result = connection.sql(query)
        rows = [dict(zip(result.columns, row, strict=True)) for row in result.fetchall()]
    expected = [next(launch_rows(trial)) for trial in troubled_sweep().trials]
    for row in rows:
        for column in ("warnings", "step_process"):
            row[column] = row[column] if isinstance(row[column], str) else json.dumps(row[column])
    assert rows == expected


@pytest.mark.parametrize(
    "sweep",
    [
        pytest.param(failed_sweep(), id="all failed"),
        pytest.param(make_sweep([make_trial()]), id="one launch"),
        pytest.param(make_sweep([], status="canceled"), id="none"),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_a_poor_sweep_still_has_a_report(sweep: Sweep, tmp_path: Path) -> None:
    files = write_report(sweep, tmp_path)
    markdown = files.markdown.read_text(encoding="utf-8")
    assert "## How it was measured" in markdown
    assert ("did not finish" in markdown) == (sweep.status != "complete")
    assert _printed(sweep)
    json.dumps(summarize(sweep))
    with duckdb.connect() as connection:
        assert connection.sql(f"SELECT count(*) FROM '{files.parquet}'").fetchall() == [(len(sweep.trials),)]


def test_intervals_come_with_what_they_really_cover(troubled: ReportFiles) -> None:
    markdown = troubled.markdown.read_text(encoding="utf-8")
    assert re.search(r"\| a2k \|.*\| 94 % \| none \|", markdown)
    assert re.search(r"\| a5k \|.*\| 75 % \| 1 canceled, 1 lost \|", markdown)
    assert re.search(r"Medians with confidence intervals, which cover 75–94 %\.", _printed(troubled_sweep()))
    locations = {row["location"]: row for row in summarize(troubled_sweep())["locations"]}
    assert locations["a2k"]["lag_s"]["coverage"] == pytest.approx(0.9375)


def test_the_command_repeats_the_sweep() -> None:
    def command(sweep: Sweep) -> str:
        return render_markdown(sweep, []).partition("```\n")[2].partition("\n```")[0]

    sweep = measured_sweep()
    assert command(sweep) == "bench run all-locations --repeats 5 --seed 7"
    fewer = measured_sweep(["a250", "a2k"])
    changed = replace(fewer, plan=replace(fewer.plan, settings={"repeats": 2, "warmups": 0}))
    assert command(changed) == "bench run all-locations --locations a250,a2k --repeats 2 --warmups 0 --seed 7"
    assert command(experiment_sweep(quick=True)) == "bench run split-definitions --quick --repeats 8 --seed 7"
    few = only_variants(experiment_sweep("executors"), ["spawn, 1 step"])
    assert command(few) == "bench run executors --only 'spawn, 1 step' --repeats 8 --seed 7"


def test_what_to_do_first_follows_the_answer_where_it_is_known() -> None:
    steps = [
        FirstStep("saves 5.9 s [5.2, 6.8]. One more server.", "Split the location"),
        FirstStep("No remedy helps", command="bench run quick"),
    ]
    advised = render_markdown(measured_sweep(), [], steps)
    assert re.match(
        r"# .*\n\n\*\*.*\*\*\n\nWhat to do first:\n\n- \*\*Split the location\*\*: saves 5.9 s \[5.2", advised
    )
    assert "\n- No remedy helps. `bench run quick` measures the first ones.\n\n" in advised
    assert "What to do first" not in render_markdown(measured_sweep(), [])


def test_an_experiments_report_begins_with_its_answer_in_words_and_numbers(split: ReportFiles) -> None:
    markdown = split.markdown.read_text(encoding="utf-8")
    evaluation = evaluate(experiment_sweep(predicted=True))
    heading, answer, sentences, table, *_ = markdown.split("\n\n")
    assert heading == "# What does splitting a code location into three or nine gain, and what does it cost?"
    assert answer == f"**{evaluation.answer}.**"
    assert sentences == "\n".join(f"- {sentence}." for sentence in evaluation.sentences)
    assert re.search(
        r"\| nine locations \| 8/8 \| 7\.11 \\\[.*\| 6\.64 \\\[.*\| −11\.4 \\\[.*\| 0\.36 × .* "
        r"\| faster \| one location \| none \|",
        table,
    )
    assert re.search(r"\| one location, again \| .* \| the noise \| one location \| none \|", table)
    assert list(split.charts) == ["comparison", "costs", "stage_breakdown", "trial_outcomes"]


def test_an_experiments_report_holds_all_the_evidence(split: ReportFiles) -> None:
    markdown = split.markdown.read_text(encoding="utf-8")
    evaluation = evaluate(experiment_sweep(predicted=True))
    for section in ("What it costs", "The path through the parts", "Predicted and measured", "What is compared"):
        assert f"\n## {section}\n" in markdown
    for cost in evaluation.costs:
        assert re.search(rf"\| {cost.label}.* \|.*\|.*\|", markdown)
    assert "| path through nine | 9 of 9 | 66.0 |" in markdown
    assert re.search(r"\| nine locations \| 4\.60 \[4\.20, 5\.10\] \| 6\.64 .* \| \+31 % \|", markdown)
    assert "Held equal: 9,000 assets in all" in markdown
    assert "Every measured launch materialized 1 unit of work." in markdown
    assert "each block launches every side once" in markdown
    page = Page(split.html.read_text(encoding="utf-8"))
    assert all(reference.startswith("data:") for reference in page.references)


@pytest.mark.usefixtures("undrawn")
def test_a_side_that_never_succeeded_is_in_every_account(tmp_path: Path) -> None:
    sweep = troubled_experiment()
    markdown = write_report(sweep, tmp_path).markdown.read_text(encoding="utf-8")
    assert re.search(r"\| three locations \| 0/8 \| not measured \|.*\| not compared \|.*\| 8 rejected \|", markdown)
    assert re.search(r"\| three locations: a3k\\_spine1k\\_part.of3 \| rejected \|", markdown)
    assert "| path through nine | 0 of 9 | not finished |" in markdown
    printed = _printed(sweep)
    assert re.search(r"three locations +0/8 +not measured +not measured +not compared +8 rejected", printed)
    assert "three locations: 8 rejected: the webserver refused" in printed
    sides = {side["side"]: side for side in summarize(sweep)["sides"]}
    assert sides["three locations"]["n"] == 0
    assert sides["three locations"]["outcomes"]["rejected"] == 8


@pytest.mark.parametrize("width", [70, 80, 100, 120])
def test_the_table_of_an_experiment_shows_every_side_and_the_answer_at_any_width(width: int) -> None:
    sweep = experiment_sweep("executors")
    printed = "".join(_printed(sweep, width).split())
    for side in evaluate(sweep).sides:
        assert f"{side.n}/{side.trials}" in printed
    assert "".join(evaluate(sweep).answer.split()) in printed
    assert "baseline" in printed
    assert "thenoise" in printed


def test_an_experiment_as_json_has_every_comparison() -> None:
    sweep = experiment_sweep(predicted=True)
    evaluation = evaluate(sweep)
    summary = json.loads(json.dumps(summarize(sweep)))
    assert summary["finding"] == evaluation.answer
    assert (summary["trials"], summary["measured"]) == (45, 45)
    nine = summary["sides"][-1]
    assert (nine["side"], nine["against"], nine["n"]) == ("nine locations", "one location", 8)
    assert nine["against_baseline"]["lag_s"]["verdict"] == "faster"
    assert nine["measures"].keys() == summary["units"].keys()
    # It has nine code servers; the comparison of one with the baseline's only server is left out.
    assert nine["against_baseline"].keys() == nine["measures"].keys() - {"code_server_bytes"}
    assert nine["prediction"]["value"] == 4.6
    assert summary["sides"][1]["noise"] is True
    assert summary["paths"]["path through nine"]["of"] == 9


@pytest.mark.parametrize(
    "sweep",
    [
        pytest.param(experiment_sweep("selection-size", repeats=1, quick=True), id="one launch each"),
        pytest.param(replace(experiment_sweep(), trials=(), status="canceled"), id="none"),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_a_poor_experiment_still_has_a_report(sweep: Sweep, tmp_path: Path) -> None:
    files = write_report(sweep, tmp_path)
    assert list(files.charts) == [chart.stem for chart in charts_for(sweep)]
    markdown = files.markdown.read_text(encoding="utf-8")
    assert ("at the reduced size of --quick" in markdown) == bool(sweep.plan.settings["quick"])
    assert ("did not finish (canceled)" in markdown) == (sweep.status != "complete")
    assert _printed(sweep)
    json.dumps(summarize(sweep))


def _printed(sweep: Sweep, width: int = 140) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(render_table(sweep))
    return capture.get()
