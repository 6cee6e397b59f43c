"""The chart of remedies is drawn, legible and complete for any measurements."""

import io
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pytest
from advice_samples import sample_evidence
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from bench_orchestrator.analysis.advice import Advice, advise, headline
from bench_orchestrator.analysis.evidence import Evidence
from bench_orchestrator.charts import inline_png
from bench_orchestrator.charts.remedies import remedies_chart

ADVICE: Mapping[str, Callable[[], Advice]] = {
    "everything": cache(lambda: advise(sample_evidence(), 10_000)),
    "one experiment": lambda: advise(sample_evidence("executors"), 2_000, 6),
    "no size": lambda: advise(sample_evidence("graph-asset", sized=False), 500),
    "nothing helps": lambda: advise(sample_evidence("cpu-limit"), 500),
    "nothing": lambda: advise(Evidence(), 10_000),
}
"""Computed once a test asks: every worker of pytest imports this module."""

each = pytest.mark.parametrize("advice", ADVICE, indirect=True)


@pytest.fixture
def advice(request: pytest.FixtureRequest) -> Advice:
    return ADVICE[request.param]()


def words(figure: Figure) -> str:
    texts = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
    return " ".join("\n".join(texts).split())


@each
def test_it_draws_whatever_was_measured_its_title_is_the_finding_and_no_remedy_is_missing(advice: Advice) -> None:
    figure = remedies_chart(advice)
    content = inline_png(figure)
    assert len(content) < 90_000
    with Image.open(io.BytesIO(content)) as image:
        assert image.width == 470
        assert len(np.unique(np.asarray(image.convert("L")))) > 10
    assert " ".join(figure.get_suptitle().split()) == headline(advice)
    text = words(figure).lower().replace("\N{NO-BREAK SPACE}", " ")
    for ranked in advice.remedies:
        assert ranked.remedy.name.lower() in text


def test_each_bar_is_a_saving_with_its_interval_in_the_panel_of_its_quantity() -> None:
    advice = ADVICE["everything"]()
    figure = remedies_chart(advice)
    quantities = list(dict.fromkeys(ranked.quantity for ranked in advice.measured))
    assert {"until all work is done", "launch lag", "first batch loaded, from the run's start"} <= set(quantities)
    assert [ax.get_xlabel() for ax in figure.axes] == [f"seconds saved, {quantity}" for quantity in quantities]
    drawn = [bar.get_width() for ax in figure.axes for bar in ax.patches]  # type: ignore[attr-defined]
    by_panel = sorted(advice.measured, key=lambda ranked: quantities.index(ranked.quantity))
    assert drawn == pytest.approx([ranked.saved_s.value for ranked in by_panel if ranked.saved_s])
    lines = [line for ax in figure.axes for line in ax.lines if line.get_marker() == "|"]
    assert len(lines) == len(advice.measured)


def test_text_stays_on_the_figure() -> None:
    figure = remedies_chart(ADVICE["everything"]())
    figure.draw_without_rendering()
    texts = [*figure.texts, *(text for ax in figure.axes for text in ax.texts)]
    for text in texts:
        extent = text.get_window_extent()
        assert extent.x0 >= figure.bbox.x0 - 1, text.get_text()
        assert extent.x1 <= figure.bbox.x1 + 1, text.get_text()
    names = [text for ax in figure.axes for text in ax.texts if text.get_fontweight() == "bold"]
    for name, saved in zip(names[::2], names[1::2], strict=True):
        assert name.get_window_extent().x1 < saved.get_window_extent().x0, name.get_text()


def test_it_says_what_it_was_carried_over_with() -> None:
    text = words(remedies_chart(ADVICE["everything"]())).replace("\N{NO-BREAK SPACE}", " ")
    assert "Extrapolated to 10,000 assets from 25 launches in locations of 250 to 10,000 assets" in text
    assert "Dagster 1.13.27" in text
    assert "Extrapolated" not in words(remedies_chart(ADVICE["no size"]()))
