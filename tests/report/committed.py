"""Restores the sweeps behind docs/results: each launch from its rows, and the plan from its report.

Rows contain no plan. What a report does not state about one (such as the order of the locations, or other locations in
the workspace) does not affect the report either. A report written from a restored sweep equals the committed one.
"""

import ast
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
from prediction_coverage import render_coverage
from rich.console import Console

from bench_orchestrator.analysis.advice import advise
from bench_orchestrator.analysis.claims import judge_claims
from bench_orchestrator.analysis.evidence import LOCATION_SCENARIOS
from bench_orchestrator.analysis.lag_model import comparable_sizes, predict_startups
from bench_orchestrator.charts import save
from bench_orchestrator.charts.remedies import remedies_chart
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Sweep, Trial
from bench_orchestrator.model.plan import Location, PlannedTrial, Prediction, SweepPlan, Variant
from bench_orchestrator.report.files import write_claims, write_remedies, write_sweep
from bench_orchestrator.report.summary import render_table
from bench_orchestrator.results.queries import gather
from bench_orchestrator.results.rows import COLUMNS, read_trial
from bench_orchestrator.results.store import Store
from bench_orchestrator.scenarios.registry import SCENARIOS
from bench_orchestrator.sweeps.planning import with_baselines_again

WRITTEN = (".md", ".svg", ".html")
"""The compared files. A PNG's bytes depend on the machine's libraries."""

ROUNDED = "costs.svg"
"""A chart of code servers' start times, which reports round, so the committed files cannot reproduce it."""

PROJECT = Path(__file__).parents[2]
RESULTS = PROJECT / "docs" / "results"

PRINTED = {"README.md": "all-locations", "docs/pypi.md": "all-locations", "docs/kubernetes.md": "kubernetes"}
"""The pages that show what a sweep printed in the terminal, with the sweep's folder."""

_ANOTHER_DEPLOYMENT = "kubernetes"
"""The folder whose launches say nothing about the machine of the others."""

_LATER_COLUMNS: Mapping[str, str | None] = {"template": "{}", "boot": "{}", "pod": None, "role": ""}
"""Values that rows of earlier releases lack, and that mean nothing is known."""


def folders() -> list[Path]:
    """Return the folders that contain a sweep."""
    return sorted(path.parent for path in RESULTS.glob("*/launches.parquet"))


def write_all(directory: Path) -> None:
    """Regenerate every report of docs/results from the committed rows, into a folder of the same structure."""
    with TemporaryDirectory() as elsewhere, TemporaryDirectory() as nowhere:
        store, empty = Store.in_directory(Path(elsewhere)), Store.in_directory(Path(nowhere))
        sweeps = {folder.name: read_sweep(folder) for folder in folders()}
        for name, sweep in sweeps.items():
            if name != _ANOTHER_DEPLOYMENT:
                store.save(sweep)
        for name, sweep in sweeps.items():
            write_sweep(sweep, empty if name == _ANOTHER_DEPLOYMENT else store, directory / name)
        evidence = gather(store)
        advice = advise(evidence, 10_000)
        write_remedies(evidence, advice, directory / "remedies", "remedies.svg")
        write_claims(judge_claims(evidence), directory / "remedies")
        save(remedies_chart(advice), directory / "remedies", "remedies")
        here = [sweep for name, sweep in sweeps.items() if name != _ANOTHER_DEPLOYMENT]
        (directory / "predictions.md").write_text(render_coverage(here), encoding="utf-8")


def write_one(name: str, directory: Path) -> None:
    """Regenerate the report of an experiment, whose first steps follow from the sweeps of locations."""
    with TemporaryDirectory() as elsewhere:
        store = Store.in_directory(Path(elsewhere))
        for location_scenario in LOCATION_SCENARIOS:
            if (RESULTS / location_scenario / "launches.parquet").exists():
                store.save(read_sweep(RESULTS / location_scenario))
        write_sweep(read_sweep(RESULTS / name), store, directory)


def read_sweep(folder: Path) -> Sweep:
    """Return a folder's sweep; predictions come from the sweeps in the other folders."""
    trials = tuple(_trials(folder))
    report = _Report((folder / "report.md").read_text(encoding="utf-8"))
    scenario = SCENARIOS[trials[0].scenario]
    variants = tuple(map(_as_recorded, with_baselines_again(scenario.variants))) if scenario.variants else ()
    deployments = tuple(dict.fromkeys(trial.deployment for trial in trials))
    environment, environments = report.environments(deployments)
    plan = SweepPlan(
        sweep_id=trials[0].sweep_id,
        scenario=scenario.name,
        seed=report.seed,
        created_us=report.created_us,
        locations=tuple(_locations(trials, report.load_s(variants))),
        trials=tuple(_planned(trial, {variant.name: variant for variant in variants}) for trial in trials),
        settings=report.settings,
        environment=environment,
        variants=variants,
        environments=environments,
        predicted_startups_s=_predictions(report, variants),
    )
    return Sweep(plan, report.status, trials)


def print_tables() -> dict[Path, str]:
    """Return the pages of `PRINTED` with what their sweep prints today, in place of what they show."""
    return {PROJECT / page: _with_table(PROJECT / page, RESULTS / folder) for page, folder in PRINTED.items()}


def _with_table(page: Path, folder: Path) -> str:
    sweep = read_sweep(folder)
    console = Console(width=120, color_system=None, file=io.StringIO())
    with console.capture() as capture:
        console.print(render_table(sweep))
    printed = "\n".join(line.rstrip() for line in capture.get().lstrip().splitlines())
    head = re.escape(f"{sweep.plan.scenario}  {sweep.plan.sweep_id}")
    text, found = re.subn(
        rf"```\n{head}\n.*?```", lambda _: f"```\n{printed}\n```", page.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    assert found == 1, page
    return text


def _trials(folder: Path) -> Iterator[Trial]:
    with duckdb.connect() as connection:
        read = connection.execute("FROM read_parquet(?)", [str(folder / "launches.parquet")])
        columns = [column[0] for column in read.description or ()]
        records = [{**_LATER_COLUMNS, **dict(zip(columns, values, strict=True))} for values in read.fetchall()]
    # The launches of a trial stand in their order.
    for _, launches in groupby(sorted(records, key=itemgetter("trial")), key=itemgetter("trial")):
        of_trial = list(launches)
        assert of_trial[0].keys() == {column.name for column in COLUMNS}
        yield read_trial(of_trial)


def _locations(trials: tuple[Trial, ...], load_s: Mapping[tuple[str, str], float]) -> Iterator[Location]:
    by_name = {location: seconds for (_, location), seconds in load_s.items()}
    found: dict[tuple[str, str], Location] = {}
    for trial in trials:
        place = (trial.deployment, trial.location)
        known = found.get(place)
        found[place] = Location(
            name=trial.location,
            repository="__repository__",
            job="__ASSET_JOB",
            asset_count=trial.asset_count,
            partition_count=trial.partition_count,
            deployment=trial.deployment,
            load_s=load_s.get((trial.variant, trial.location), known.load_s if known else by_name.get(trial.location)),
        )
    scenario = SCENARIOS[trials[0].scenario]
    order = {name: number for number, name in enumerate(scenario.locations)}
    yield from sorted(found.values(), key=lambda location: order.get(location.name, 0))


def _as_recorded(variant: Variant) -> Variant:
    """Return a variant as the journal stores it: with sorted JSON."""
    return replace(variant, instance=json.loads(json.dumps(dict(variant.instance), sort_keys=True)))


def _planned(trial: Trial, variants: Mapping[str, Variant]) -> PlannedTrial:
    variant = variants.get(trial.variant)
    return PlannedTrial(
        number=trial.number,
        block=trial.block,
        location=trial.location,
        variant=trial.variant,
        warmup=trial.warmup,
        asset_keys=(trial.asset_key,) * trial.assets,
        partition_key=trial.partition_key,
        work=variant.work if variant else None,
        deployment=trial.deployment,
        path=trial.path,
    )


def _predictions(report: "_Report", variants: tuple[Variant, ...]) -> dict[str, Prediction]:
    """Predict from all sweeps that were started earlier on the same machine."""
    if not report.has_predictions:
        return {}
    reports = ((folder, _Report((folder / "report.md").read_text(encoding="utf-8"))) for folder in folders())
    earlier = [
        read_sweep(folder)
        for folder, other in reports
        if other.created_us < report.created_us and folder.name != _ANOTHER_DEPLOYMENT
    ]
    return predict_startups(earlier, comparable_sizes(variants))


class _Report:
    """Return what a report says about the plan."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._method = text[text.index("## How it was measured") :]

    @property
    def status(self) -> str:
        found = re.search(r"The sweep did not finish \((\w+)\)", self.text)
        return found[1] if found else "complete"

    @property
    def seed(self) -> int:
        return int(self._find(r"shuffled with seed (\d+)"))

    @property
    def created_us(self) -> int:
        began = datetime.strptime(self._find(r"started ([\d-]+ [\d:]+) UTC"), "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
        return int(began.timestamp()) * MICROSECONDS

    @property
    def settings(self) -> dict[str, Any]:
        line = _plain(self._find(r"Settings: (.*)\.\n"))
        return {key: ast.literal_eval(value) for key, value in re.findall(r"(\w+) = (\[.*?\]|[^,]+)", line)}

    @property
    def has_predictions(self) -> bool:
        return "## Predicted and measured" in self.text

    def environments(self, deployments: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Return the environments of the plan and of its separate deployments."""
        section = self.text[self.text.index("## Environment") : self.text.index("## How it was measured")]
        shared: dict[str, Any] = {}
        own: dict[str, dict[str, Any]] = {name: {} for name in sorted(deployments) if name}
        for line in section.splitlines():
            cells = [_plain(cell) for cell in line.strip("|").split(" | ")] if line.startswith("| ") else []
            cells = [cell.strip() for cell in cells]
            if len(cells) == 2 and cells[0] not in ("", "---"):
                shared[cells[0].replace(" ", "_")] = _value(cells[1])
            elif len(cells) == 3 and cells[0] in own:
                own[cells[0]][cells[1].replace(" ", "_")] = _value(cells[2])
        environments = {name: shared | entries for name, entries in own.items()}
        return environments[deployments[0]] if deployments[0] else shared, environments

    def load_s(self, variants: tuple[Variant, ...]) -> dict[tuple[str, str], float]:
        """Return the start times of each side's code servers, assigned entirely to the side's first location."""
        rows = [line.strip("| ").split(" | ") for line in self.text.splitlines() if line.startswith("| ")]
        found = [cells for cells in rows if cells[0] == "start of its code servers, s"]
        if not found:
            return {}
        compared = [variant for variant in variants if not variant.in_turn and not variant.name.endswith(", again")]
        loads: dict[tuple[str, str], float] = {}
        for variant, cell in zip(compared, found[0][1:], strict=True):
            for number, location in enumerate(variant.locations):
                for name in (variant.name, f"{variant.name}, again"):
                    loads[name, location] = 0.0 if number else float(cell) + 1e-4  # so that 1.00 is not 1
        return loads

    def _find(self, pattern: str) -> str:
        found = re.search(pattern, self._method)
        assert found, pattern
        return found[1]


def _plain(markdown: str) -> str:
    """Return the text of escaped Markdown."""
    return re.sub(r"\\([\\`*_\[\]<>|~&#])", r"\1", markdown)


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def differing(directory: Path) -> dict[str, Path]:
    """Return the names of the files in docs/results that differ from their regenerated versions."""
    written = {
        path.relative_to(directory): path
        for path in directory.rglob("*")
        if path.suffix in WRITTEN and path.name != ROUNDED
    }
    return {
        str(name): path
        for name, path in sorted(written.items())
        if (RESULTS / name).exists() and (RESULTS / name).read_bytes() != path.read_bytes()
    }


if __name__ == "__main__":  # writes anew what differs
    with TemporaryDirectory() as folder:
        write_all(Path(folder))
        for changed, source in differing(Path(folder)).items():
            for path in (source, source.with_suffix(".png")):
                committed = RESULTS / Path(changed).with_suffix(path.suffix)
                if path.exists() and committed.exists():
                    committed.write_bytes(path.read_bytes())
            sys.stdout.write(f"{changed}\n")
    for page, text in print_tables().items():
        page.write_text(text, encoding="utf-8")
