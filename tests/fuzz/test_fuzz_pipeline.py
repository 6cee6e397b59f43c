"""Any names and any log of events become rows, tables, reports and timelines, and hold up no other sweep."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from fuzzing import NUMBERS, TEXT, fuzz, sizes
from hypothesis import settings
from hypothesis import strategies as st
from rich.console import Console
from samples import CREATED_US, make_sweep, make_trial, measured_sweep

from bench_orchestrator.model.content import Content
from bench_orchestrator.model.launch import Launch, Outcome, Sweep, Trial
from bench_orchestrator.model.runs import LOG_MESSAGE, Pod, RunError, RunEvent
from bench_orchestrator.report.files import write_sweep
from bench_orchestrator.report.summary import render_table, summarize
from bench_orchestrator.results.queries import latest_sweep
from bench_orchestrator.results.store import Store
from bench_orchestrator.timeline.launches import launch_of
from bench_orchestrator.timeline.run_log import LOG_TYPES, fold
from bench_orchestrator.waterfall.gantt import ChartedRun
from bench_orchestrator.waterfall.gantt_layout import gantt_of
from bench_orchestrator.waterfall.gantt_text import render_gantt, summarize_gantt
from bench_orchestrator.waterfall.layout import UnknownLaunchError, of_launch, of_trial
from bench_orchestrator.waterfall.lookup import find_median
from bench_orchestrator.waterfall.text import render_waterfall, summarize_waterfall

NEAR_US = st.integers(0, 10**9).map(lambda us: CREATED_US + us)
METADATA = st.dictionaries(
    st.sampled_from(["bench/work", "bench/fork_ms", "bench/template_assets", "Kubernetes Job name", "bench/x", "x"]),
    st.one_of(NUMBERS, TEXT, st.none(), st.lists(TEXT, max_size=2)),
    max_size=3,
)
ERRORS = st.none() | st.builds(RunError, TEXT, TEXT, st.none() | st.builds(RunError, TEXT, TEXT))
REFUSALS = st.sampled_from([f'HTTP response body: {{"kind":"Status"{rest}}}' for rest in ("", ',"code":1', ",{")])
EVENTS = st.lists(
    st.builds(
        RunEvent,
        type=st.sampled_from([*sorted(LOG_TYPES), LOG_MESSAGE, "ANYTHING"]),
        time_us=NEAR_US,
        step_key=st.none() | TEXT,
        message=TEXT | REFUSALS | st.just("Started process for run (pid: 1)."),
        metadata=METADATA,
        error=ERRORS,
        description=st.just("") | TEXT,
    ),
    max_size=14,
)
PODS = st.none() | st.builds(Pod, TEXT, TEXT, *4 * [st.none() | NEAR_US], trouble=TEXT, unknown=TEXT)
OUTCOMES = st.none() | st.sampled_from(Outcome)


@st.composite
def launches(draw: st.DrawFn) -> Launch:
    """Draw the launch of a run with any log."""
    instants = draw(st.tuples(st.none() | NEAR_US, st.none() | NEAR_US))
    return launch_of(
        draw(st.none() | TEXT),
        fold(draw(EVENTS)),
        outcome=draw(OUTCOMES),
        requested_us=instants[0],
        created_us=instants[1],
        pod=draw(PODS),
    )


@st.composite
def strange_sweeps(draw: st.DrawFn) -> Sweep:
    """Draw a sweep of a few trials in strange locations, whose runs have any logs."""
    names = draw(st.lists(TEXT, min_size=1, max_size=3, unique=True))
    trials = [
        replace(_any_trial(draw, number, names), launches=(replace(draw(launches()), reason=draw(TEXT)),))
        for number in range(1, draw(st.integers(1, 5)) + 1)
    ]
    sweep = make_sweep(trials, scenario=draw(TEXT | st.just("quick")), status=draw(TEXT | st.just("complete")))
    settings = {**sweep.plan.settings, draw(TEXT): draw(TEXT), "only": draw(st.lists(TEXT, max_size=2))}
    environment = {**sweep.plan.environment, draw(TEXT): draw(TEXT | NUMBERS)}
    # Never the id of the sweep beside it.
    plan = replace(sweep.plan, sweep_id=f"~{draw(TEXT)}", settings=settings, environment=environment)
    return replace(sweep, plan=plan, trials=tuple(replace(trial, sweep_id=plan.sweep_id) for trial in sweep.trials))


def _any_trial(draw: st.DrawFn, number: int, names: list[str]) -> Trial:
    trial = make_trial(number, size=draw(st.sampled_from([(0, 0), (10, 0), (2_000, 0), (1, 2_000)])))
    location = draw(st.sampled_from(names))
    return replace(trial, location=location, variant=draw(TEXT), asset_key=draw(TEXT), partition_key=draw(TEXT))


@sizes(2)
@pytest.mark.usefixtures("undrawn")
def test_any_sweep_is_stored_and_shown_beside_others(limits: settings, tmp_path: Path) -> None:
    store = Store.in_directory(tmp_path / "results")
    good = measured_sweep(("a10",), 1)
    store.save(good)

    @fuzz(limits, strange_sweeps())
    def check(sweep: Sweep) -> None:
        store.save(sweep)
        stored = store.load(sweep.plan.sweep_id)
        assert len(stored.trials) == len(sweep.trials)
        json.dumps(summarize(stored), ensure_ascii=False).encode()
        Console(width=100).render_lines(render_table(stored))
        files = write_sweep(stored, store)
        assert files.html.parent.parent == tmp_path / "results" / "reports"
        try:
            find_median(stored)
        except UnknownLaunchError as error:
            str(error).encode()
        assert store.load(good.plan.sweep_id) == good
        assert latest_sweep(store, Content.MEASUREMENTS) is not None
        assert len(store.list_sweeps()) >= 2


@sizes(30)
def test_any_launch_is_laid_out(limits: settings) -> None:
    console = Console(width=100)

    @fuzz(limits, launches(), TEXT)
    def check(launch: Launch, name: str) -> None:
        trial = replace(make_trial(), location=name, launches=(launch,))
        with suppress(UnknownLaunchError):
            for shown in (of_launch(launch, name), of_trial(trial, {})):
                console.render_lines(render_waterfall(shown))
                json.dumps(summarize_waterfall(shown), ensure_ascii=False).encode()
        for steps in (False, True):
            with suppress(UnknownLaunchError):
                chart = gantt_of([ChartedRun(launch, name, name), ChartedRun(trial.launch)], steps=steps)
                console.render_lines(render_gantt(chart))
                json.dumps(summarize_gantt(chart), ensure_ascii=False).encode()
