"""One asset per chart, drawn again when measurements arrive: the image and its numbers in the asset catalog."""

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from bench_orchestrator.analysis.summary import Row, location_rows, startup_fits
from bench_orchestrator.charts import CHARTS, Chart, inline_png, save
from bench_orchestrator.defs.harvest import launch_measurements
from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.defs.tables import metadata_table
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.report.text import bar, table
from bench_orchestrator.results.queries import latest_sweep
from bench_orchestrator.results.store import Store
from bench_orchestrator.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ChartConfig(dg.Config):
    """The sweep to draw."""

    sweep: str | None = Field(
        default=None, description="Id of the sweep to draw. None: the latest that this chart applies to."
    )


def _chart_asset(chart: Chart) -> dg.AssetsDefinition:
    @dg.asset(
        name=chart.stem,
        deps=[launch_measurements],
        description=f"{chart.caption}\n\nDrawn from the latest sweep that it applies to.",
        group_name="charts",
        kinds={"matplotlib", "duckdb"},
        output_required=False,
    )
    def chart_asset(
        context: dg.AssetExecutionContext, config: ChartConfig, results: ResultsResource
    ) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        sweep = _find_sweep(results.store, chart, config.sweep)
        if sweep is None:
            context.log.info(f"No sweep so far has the data for {chart.stem}; it is not drawn.")
            return
        yield dg.MaterializeResult(
            metadata={
                "summary": dg.MetadataValue.md(_summary(sweep)),
                **publish(chart.draw(sweep), results, chart.stem),
                "table": metadata_table(_rows(sweep)),
                "sweep": sweep.plan.sweep_id,
                **_numbers(sweep),
            }
        )

    return chart_asset


def _find_sweep(store: Store, chart: Chart, sweep_id: str | None) -> Sweep | None:
    """Return the requested sweep, else the latest that the chart applies to; experiments have separate assets."""
    if sweep_id is not None:
        return store.load(sweep_id)
    return latest_sweep(store, chart.content, with_experiments=False)


def publish(figure: "Figure", results: ResultsResource, stem: str) -> dict[str, dg.MetadataValue]:
    """Write a chart's files. Returns metadata: their paths, and the chart itself for the asset's page."""
    files = save(figure, results.path / "charts", stem)
    image = base64.b64encode(inline_png(figure)).decode()
    return {
        "chart": dg.MetadataValue.md(f"![{stem}](data:image/png;base64,{image})"),
        "png": dg.MetadataValue.path(files.png),
        "svg": dg.MetadataValue.path(files.svg),
    }


def _summary(sweep: Sweep) -> str:
    """Return the median lags with bars, short enough (under 1,000 characters) for the UI to show inline."""
    rows = [row for row in location_rows(sweep.trials) if row.lag_s is not None]
    longest_s = max((row.lag_s.value for row in rows if row.lag_s), default=0)
    cells = []
    for row in rows[:10]:
        assert row.lag_s is not None
        cells.append((row.label, str(row.n), f"{row.lag_s.value:.1f}", bar(row.lag_s.value, longest_s)))
    return table(("location", "n", "lag, s", ""), cells)


def _rows(sweep: Sweep) -> list[dict[str, str | int | float | None]]:
    """Return the medians of each location with the ends of their intervals, in seconds."""
    rows: list[dict[str, str | int | float | None]] = []
    for row in location_rows(sweep.trials):
        cells: dict[str, str | int | float | None] = {"location": row.label, "size": row.size, "n": row.n}
        for name, estimate in _medians(row):
            ends = (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)
            for suffix, value in zip(("", "_low", "_high"), ends, strict=True):
                cells[f"{name}{suffix}_s"] = None if value is None else round(value, 3)
        rows.append(cells)
    return rows


def _medians(row: Row) -> tuple[tuple[str, Estimate | None], ...]:
    return ("lag", row.lag_s), ("startup", row.startup_s), ("queue", row.queue_s), ("init", row.init_s)


def _numbers(sweep: Sweep) -> dict[str, Any]:
    """Return the chart's numbers, for the UI to plot over time."""
    numbers: dict[str, Any] = {}
    for row in location_rows(sweep.trials):
        numbers[f"n/{row.label}"] = row.n
        for name, estimate in _medians(row):
            if estimate is not None:
                numbers[f"{name}_s/{row.label}"] = round(estimate.value, 3)
    for variant, fit in startup_fits(sweep.trials).items():
        numbers[f"slope_ms_per_asset/{variant}"] = round(fit.slope.value, 4)
        if fit.slope.low is not None and fit.slope.high is not None:
            numbers[f"slope_ms_per_asset_low/{variant}"] = round(fit.slope.low, 4)
            numbers[f"slope_ms_per_asset_high/{variant}"] = round(fit.slope.high, 4)
    return numbers


chart_assets = [_chart_asset(chart) for chart in CHARTS]
