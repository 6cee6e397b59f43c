"""Names from outside are only ever text in the Markdown of the asset catalog."""

from dataclasses import replace

import pytest
from experiment_samples import experiment_sweep
from history_samples import GROWN, USUAL, make_history
from markdown_it import MarkdownIt
from samples import make_sweep, make_trial

from bench_orchestrator.analysis.evaluation import evaluate
from bench_orchestrator.analysis.history import trace
from bench_orchestrator.defs import charts, history, timelines
from bench_orchestrator.defs.evaluations import summarize_inline
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.waterfall.gantt import ChartedRun
from bench_orchestrator.waterfall.gantt_layout import gantt_of
from bench_orchestrator.waterfall.layout import of_trial

NAMES = ("a![x](https://example.com/x.png)", "a|b", "`c`", "<img src=x>", "two\nlines", "[link](https://example.com)")


def shown(markdown: str) -> tuple[set[str], str]:
    """Return the kinds of elements in Markdown with HTML, and its text, as the UI shows it."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown)
    inner = [child for token in tokens for child in token.children or ()]
    kinds = {token.type for token in (*tokens, *inner)} - {"text", "text_special", "softbreak"}
    return kinds, " ".join(" ".join(child.content for child in token.children or ()) for token in tokens)


def test_launches_that_took_no_time_have_a_summary() -> None:
    assert "0.0" in charts._summary(make_sweep([make_trial(stages_us=dict.fromkeys(Stage, 0))]))


@pytest.mark.parametrize("name", NAMES)
def test_they_are_shown_as_they_are(name: str) -> None:
    def summaries(name: str) -> list[str]:
        trial = replace(make_trial(), location=name, variant=name)
        sweep = experiment_sweep(repeats=2)
        baseline, *others = sweep.plan.variants
        variants = (baseline, *(replace(one, name=name if one is others[-2] else one.name) for one in others))
        trials = [replace(one, variant=name) if one.variant == others[-2].name else one for one in sweep.trials]
        renamed = replace(sweep, status=name, plan=replace(sweep.plan, variants=variants), trials=tuple(trials))
        return [
            charts._summary(make_sweep([trial])),
            timelines._summary(of_trial(trial, {}), None),
            timelines._gantt_summary(gantt_of([ChartedRun(trial.launch, group=name)])),
            summarize_inline(evaluate(renamed)),
            history._summary([trace(make_history(name, (USUAL, GROWN)))]),
        ]

    for strange, plain in zip(summaries(name), summaries("plain"), strict=True):
        assert shown(strange)[0] == shown(plain)[0]
    words = " ".join(name.split())
    chart, _, gantt, evaluation, _ = (shown(strange)[1] for strange in summaries(name))
    assert "".join(words.split()) in "".join(chart.split())
    assert "".join(words.split()) in "".join(gantt.split())
    assert "".join(words.split()) in "".join(evaluation.split())
