"""Charts are drawn, then read back as a viewer would: not blank, with their texts, deterministic."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from experiment_samples import experiment_sweep, troubled_experiment
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from samples import failed_sweep, make_sweep, make_trial, measured_sweep, troubled_sweep

from bench_orchestrator.analysis.evaluation import evaluate
from bench_orchestrator.analysis.summary import location_rows
from bench_orchestrator.charts import (
    CHARTS,
    Chart,
    all_locations,
    assets_vs_partitions,
    canvas,
    charts_for,
    comparison,
    costs,
    inline_png,
    lag_vs_assets,
    save,
    stage_breakdown,
    trial_outcomes,
)
from bench_orchestrator.charts.comparing import NOISE, VERDICT_COLOURS
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from bench_orchestrator.statistics import Verdict

DRAWN = ("definitions-cache", "selection-size")
"""The experiments that `make test` draws beside the first: the one with the most sides, and the one with the longest
axis."""

WRITTEN = ("lag_vs_assets", "stage_breakdown")
"""The charts whose files `make test` writes twice: of dots and lines, and of bars."""

each_chart = pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.stem)
each_sweep = pytest.mark.parametrize(
    "sweep",
    [
        pytest.param(measured_sweep(), id="measured"),
        pytest.param(troubled_sweep(), id="troubled"),
        pytest.param(failed_sweep(), id="all failed"),
        pytest.param(make_sweep([make_trial()]), id="one launch"),
        pytest.param(make_sweep([make_trial(1, "a10k"), make_trial(2, "a1p2k")]), id="one launch each"),
        pytest.param(make_sweep([make_trial(warmup=True)]), id="one warm-up"),
        pytest.param(make_sweep([]), id="none"),
    ],
)
each_experiment = pytest.mark.parametrize(
    "make",
    [
        *(
            pytest.param(partial(experiment_sweep, name), id=name, marks=() if name in DRAWN else pytest.mark.thorough)
            for name in EXPERIMENTS
        ),
        pytest.param(partial(experiment_sweep, quick=True), id="quick"),
        pytest.param(troubled_experiment, id="troubled"),
        pytest.param(partial(experiment_sweep, "executors", repeats=1), id="one launch each"),
        pytest.param(lambda: replace(experiment_sweep(), trials=()), id="none"),
    ],
)


def words(figure: Figure) -> str:
    """Return all text on a figure."""
    texts = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
    return " ".join("\n".join(texts).split())


def title(figure: Figure) -> str:
    return " ".join(figure.get_suptitle().split())


@each_chart
@each_sweep
def test_every_chart_draws_every_sweep(chart: Chart, sweep: Sweep) -> None:
    figure = chart.draw(sweep)
    content = inline_png(figure)
    assert len(content) < 60_000
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        assert image.width == 470
        assert len(np.unique(np.asarray(image.convert("L")))) > 10
    assert "2026-07-14 09:30 UTC" in words(figure)
    assert title(figure)
    check_text_stays_on(figure, chart.stem)


@pytest.mark.parametrize("chart", charts_for(experiment_sweep()), ids=lambda chart: chart.stem)
@each_experiment
def test_every_chart_of_an_experiment_draws_every_sweep_within_its_edges(
    chart: Chart, make: Callable[[], Sweep]
) -> None:
    figure = chart.draw(make())
    content = inline_png(figure)
    assert len(content) < 60_000
    with Image.open(io.BytesIO(content)) as image:
        assert image.width == 470
        assert image.height < 1_100
    assert title(figure)
    check_text_stays_on(figure, chart.stem)


@each_chart
def test_without_a_measurement_a_chart_says_so(chart: Chart) -> None:
    figure = chart.draw(make_sweep([]))
    assert re.search("no measured launches|no trials", words(figure), re.IGNORECASE)


@pytest.mark.parametrize(
    "chart",
    [
        pytest.param(chart, id=chart.stem, marks=() if chart.stem in WRITTEN else pytest.mark.thorough)
        for chart in CHARTS
    ],
)
def test_files_decode_and_are_the_same_each_time(chart: Chart, tmp_path: Path) -> None:
    sweep = troubled_sweep()
    figure = chart.draw(sweep)
    first = save(figure, tmp_path / "a" / "new", chart.stem)
    second = save(chart.draw(sweep), tmp_path / "b", chart.stem)
    assert first.png.read_bytes() == second.png.read_bytes()
    assert first.svg.read_bytes() == second.svg.read_bytes()
    assert sorted(path.name for path in second.png.parent.iterdir()) == [f"{chart.stem}.png", f"{chart.stem}.svg"]
    with Image.open(first.png) as image:
        image.load()
        assert image.width == 1100
    root = ElementTree.fromstring(first.svg.read_bytes())
    described = root.findtext(".//{http://purl.org/dc/elements/1.1/}title") or ""
    assert " ".join(described.split()) == title(figure)
    assert b"<dc:date>" not in first.svg.read_bytes()


STRANGE_NAMES = ("$a$ and $\\frac{$", "_x", "\N{CJK UNIFIED IDEOGRAPH-4E2D}", "%s {0} \\", "a" * 3_000, "a\nb\nc")


@pytest.mark.parametrize("chart", [CHARTS[0], CHARTS[1]], ids=lambda chart: chart.stem)
def test_names_are_drawn_as_they_are(chart: Chart, tmp_path: Path) -> None:
    trials = [
        replace(make_trial(number, "a250"), location=name, variant=variant, asset_count=250 * number)
        for number, (name, variant) in enumerate(pairwise(STRANGE_NAMES), start=1)
    ]
    files = save(chart.draw(make_sweep(trials)), tmp_path, chart.stem)
    assert ElementTree.fromstring(files.svg.read_bytes()).tag.endswith("svg")
    assert b"$a$" in files.svg.read_bytes()


@each_chart
def test_launches_that_took_no_time_are_drawn(chart: Chart) -> None:
    stages_us = dict.fromkeys(Stage, 0)
    trials = [
        make_trial(number, "a250", stages_us=stages_us, size=size)
        for number, size in enumerate([(0, 0), (0, 9)], start=1)
    ]
    assert title(chart.draw(make_sweep(trials)))


def test_a_chart_of_a_thousand_rows_is_drawn_at_a_lower_resolution(tmp_path: Path) -> None:
    with Image.open(save(canvas.sheet("Many", [], 420.0), tmp_path, "chart").png) as image:
        assert image.height <= 30_000


def test_a_title_of_a_long_name_has_an_end() -> None:
    assert len(canvas.sheet("a" * 10_000, ["b" * 10_000], 1.0).get_suptitle()) < 1_000


def test_the_footer_states_n_coverage_and_the_environment() -> None:
    text = words(all_locations(troubled_sweep())).replace("\N{NO-BREAK SPACE}", " ")
    assert "n = 0\N{EN DASH}5" in text
    assert "75\N{EN DASH}94 %" in text
    for part in ("Dagster 1.13.27", "Python 3.12.3", "2 CPUs", "Xeon", "DefaultRunLauncher", "multiprocess executor"):
        assert part in text


def test_an_unknown_environment_is_no_obstacle() -> None:
    sweep = measured_sweep(["a250"])
    bare = replace(sweep, plan=replace(sweep.plan, environment={"cpu_model": None, "storage": "PostgresStorage"}))
    text = words(all_locations(bare))
    assert "PostgresStorage" in text
    assert "None" not in text


def test_titles_state_the_finding() -> None:
    sweep = measured_sweep()
    assert re.fullmatch(r"Startup time grows by [\d.]+ ms per asset \[[\d.]+, [\d.]+\]", title(lag_vs_assets(sweep)))
    assert title(stage_breakdown(sweep)).startswith("Worker load takes")
    assert title(assets_vs_partitions(sweep)).startswith("10,000 assets cost more than")
    assert title(trial_outcomes(sweep)) == "All 35 trials went well"


@pytest.mark.parametrize("draw", [all_locations, lag_vs_assets, assets_vs_partitions, stage_breakdown])
def test_a_location_that_never_succeeded_is_on_the_chart(draw: object) -> None:
    assert callable(draw)
    text = words(draw(troubled_sweep()))
    assert "a10k" in text
    assert "5 timed out" in text


def test_every_measured_launch_is_a_dot() -> None:
    sweep = measured_sweep()
    plain = [row for row in location_rows(sweep.trials) if not row.partition_count]
    drawn = {
        (float(x), float(y))
        for line in lag_vs_assets(sweep).axes[0].lines
        if line.get_marker() == "o"
        for x, y in zip(_floats(line.get_xdata()), _floats(line.get_ydata()), strict=True)
    }
    assert drawn == {(row.asset_count, s) for row in plain for s in (*row.lags_s, *row.startups_s)}


def test_many_launches_are_pixels_and_a_few_are_shapes(tmp_path: Path) -> None:
    def svg_bytes(repeats: int) -> int:
        sweep = measured_sweep(["a250", "a500"], repeats)
        return save(lag_vs_assets(sweep), tmp_path, "chart").svg.stat().st_size

    assert svg_bytes(400) > svg_bytes(50) + 300 * 2 * 50
    assert svg_bytes(510) < svg_bytes(400)


def test_bars_start_at_zero_and_end_at_the_median_lag() -> None:
    sweep = measured_sweep()
    ax = all_locations(sweep).axes[0]
    assert ax.get_xlim()[0] == 0
    rows = location_rows(sweep.trials)
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches][1::2]  # type: ignore[attr-defined]
    assert ends == pytest.approx([row.lag_s.value for row in rows if row.lag_s is not None])


def check_text_stays_on(figure: Figure, stem: str) -> None:
    """Check that no text of a figure that was drawn is cut off by its left and right edges."""
    box = figure.bbox
    legends = [legend for ax in figure.axes if (legend := ax.get_legend()) is not None]
    texts = [
        *figure.texts,
        *(text for ax in figure.axes for text in (*ax.texts, *(ax.get_yticklabels() if ax.axison else ()))),
        *(text for legend in legends for text in legend.get_texts()),
    ]
    for text in texts:
        extent = text.get_window_extent()
        assert extent.x0 >= box.x0 - 1, (stem, text.get_text())
        assert extent.x1 <= box.x1 + 1, (stem, text.get_text())


def test_two_variants_are_distinguishable() -> None:
    sweep = measured_sweep(["a250", "a10k"])
    split = [replace(trial, variant="split", number=100 + trial.number) for trial in sweep.trials]
    figure = lag_vs_assets(make_sweep([*sweep.trials, *split]))
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()][-2:] == ["default", "split"]


def test_a_chart_applies_where_there_is_something_to_show() -> None:
    def applying(locations: Sequence[str]) -> list[str]:
        return [chart.stem for chart in charts_for(measured_sweep(locations))]

    assert applying(["a250"]) == ["all_locations", "stage_breakdown", "trial_outcomes"]
    assert applying(["a250", "a2k"]) == ["all_locations", "lag_vs_assets", "stage_breakdown", "trial_outcomes"]
    assert "assets_vs_partitions" in applying(["a250", "a1p2k"])
    assert charts_for(troubled_sweep()) == list(CHARTS)


@each_experiment
def test_an_experiment_has_the_charts_of_its_sides_and_none_of_locations(make: Callable[[], Sweep]) -> None:
    sweep = make()
    expected = ["comparison", "costs", *(["stage_breakdown", "trial_outcomes"] if sweep.trials else [])]
    assert [chart.stem for chart in charts_for(sweep)] == expected


def test_the_comparison_shows_every_launch_that_counts_of_every_side_and_of_the_arm() -> None:
    sweep = troubled_experiment()
    drawn = [
        value
        for line in comparison(sweep).axes[0].lines
        if line.get_marker() == "o"
        for value in _floats(line.get_xdata())
    ]
    expected = [value for side in evaluate(sweep).sides for value in side.samples["startup_s"].values()]
    assert sorted(drawn) == sorted(expected)


def test_the_noise_is_a_band_around_the_median_of_each_baseline() -> None:
    sweep = experiment_sweep("executors")
    evaluation = evaluate(sweep)
    bands = [
        band
        for band in comparison(sweep).axes[0].collections
        if to_hex(tuple(np.asarray(band.get_facecolor())[0])) == NOISE.lower()
    ]
    assert len(bands) == 2
    for band, (baseline, arm, *_) in zip(bands, evaluation.groups, strict=True):
        noise = evaluation.comparisons[arm.name, "startup_s"].difference
        startup_s = baseline.measures["startup_s"]
        assert startup_s is not None
        assert noise.low is not None
        assert noise.high is not None
        corners = np.asarray(band.get_paths()[0].vertices)
        assert corners[:, 0].min() == pytest.approx(startup_s.value + noise.low)
        assert corners[:, 0].max() == pytest.approx(startup_s.value + noise.high)


def test_a_side_says_by_how_much_it_differs_and_whether_that_counts() -> None:
    ax = comparison(troubled_experiment()).axes[0]
    labels = {text.get_text(): text.get_color() for text in ax.texts}
    (faster,) = [label for label in labels if label.startswith("faster, 0.")]
    assert labels[faster] == VERDICT_COLOURS[Verdict.FASTER]
    assert any(re.fullmatch(r"−[\d.]+ s \[−[\d.]+, −[\d.]+\]", label) for label in labels)
    assert "8 of 8 missing" in labels
    assert "not measured" in labels


def test_costs_that_do_not_differ_take_no_room() -> None:
    figure = costs(experiment_sweep())
    panels = [ax.get_title(loc="left") for ax in figure.axes]
    assert "until all work is done, s" in panels
    assert not any("processes of the run" in panel for panel in panels)
    assert "within 5 %: processes of the run" in words(figure)


def test_deployments_that_differ_do_not_share_a_footer() -> None:
    sweep = experiment_sweep("dequeue-interval")
    other = dict(sweep.plan.environment) | {"dequeue_interval_s": 1}
    differing = replace(sweep, plan=replace(sweep.plan, environments={"own": sweep.plan.environment, "1 s": other}))
    assert "dequeues" in words(comparison(sweep))
    assert "dequeues" not in words(comparison(differing))


def _floats(values: object) -> list[float]:
    return [float(value) for value in np.asarray(values)]
