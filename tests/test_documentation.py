"""The documentation's links work, its snippets load, and its description of the results database is correct."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dagster as dg
import duckdb
import jsonschema
import pytest
import samples
import yaml
from dagster._core.workspace.load import location_origins_from_yaml_paths
from markdown_it import MarkdownIt
from markdown_it.token import Token

from bench_orchestrator.model.observed import Observation, Observed
from bench_orchestrator.results.store import Store

PROJECT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
PAGES = sorted(
    page
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/monitoring/*.md",
        "docs/results/*.md",
        "helm/**/*.md",
        "packages/*/*.md",
        "benchmarks/*.md",
    )
    for page in PROJECT.glob(pattern)
)

_MARKDOWN = MarkdownIt().enable("table")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_relative_links_point_to_files_and_headings_that_exist(page: Path) -> None:
    broken = [link for link in _links(page.read_text()) if not _leads_somewhere(page, link)]
    assert not broken


@pytest.mark.parametrize(
    ("link", "exists"),
    [
        ("README.md", True),
        ("README.md#commands", True),
        ("README.md#no-such-heading", False),
        ("no_such_file.md", False),
        ("#commands", False),
        ("docs", True),
        ("https://example.com/no_such_page", True),
    ],
)
def test_a_broken_link_is_noticed(link: str, exists: bool) -> None:
    assert _leads_somewhere(PROJECT / "CHANGELOG.md", link) is exists


def test_every_page_in_docs_is_linked_from_the_readme() -> None:
    linked = set(_links((PROJECT / "README.md").read_text()))
    of_the_package = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["readme"]
    assert {f"docs/{page.name}" for page in (PROJECT / "docs").glob("*.md")} <= linked | {of_the_package}


def test_the_readme_quotes_the_committed_answer() -> None:
    answer = json.loads((PROJECT / "docs" / "results" / "try" / "answer.json").read_text())["answer"]
    assert answer in " ".join((PROJECT / "README.md").read_text().split())


OF_DAGSTERS_CHART = {"dagsterDaemon", "dagsterWebserver", "runLauncher"}
"""Values of Dagster's own chart that pages show. This project's chart has a `runLauncher` as well, and shows none."""


def _snippets(*languages: str) -> list[Any]:
    """Return the fenced blocks of all pages in these languages, each as a test's parameter."""
    return [
        pytest.param(token.content, id=f"{page.relative_to(PROJECT)}:{(token.map or [0])[0] + 1}")
        for page in PAGES
        for token in _MARKDOWN.parse(page.read_text())
        if token.type == "fence" and token.info in languages
    ]


class TestASnippet:
    def test_is_in_a_language_that_is_loaded_here_or_is_a_command(self) -> None:
        fences = (token for page in PAGES for token in _MARKDOWN.parse(page.read_text()) if token.type == "fence")
        assert {token.info for token in fences} <= {"python", "yaml", "sql", "console", "dockerfile", ""}

    @pytest.mark.parametrize("snippet", _snippets("python"))
    def test_of_python_runs(self, snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Store.in_directory(tmp_path / "results").save(samples.troubled_sweep())
        monkeypatch.chdir(tmp_path)
        exec(compile(snippet, "snippet", "exec"), {"dg": dg, "__name__": "snippet"})

    @pytest.mark.parametrize("snippet", _snippets("yaml"))
    def test_of_yaml_is_a_workspace_an_instance_or_values_of_the_chart(
        self, snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = yaml.safe_load(snippet)
        if "load_from" in settings:
            (tmp_path / "workspace.yaml").write_text(snippet)
            assert location_origins_from_yaml_paths([str(tmp_path / "workspace.yaml")])
        elif configured := settings.keys() & {"run_launcher", "run_coordinator"}:
            monkeypatch.setattr("kubernetes.config.load_incluster_config", lambda: None)
            (tmp_path / "dagster.yaml").write_text(f"{snippet}\ntelemetry: {{enabled: false}}\n")
            with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
                for name in configured:
                    assert type(getattr(instance, name)).__name__ == settings[name]["class"]
        elif not settings.keys() <= OF_DAGSTERS_CHART:  # tests/helm/test_official_chart.py holds those
            jsonschema.validate(settings, json.loads((PROJECT / "helm" / "values.schema.json").read_text()))


class TestTheResultsDatabase:
    PAGE = (PROJECT / "docs" / "results-database.md").read_text()

    @pytest.fixture
    def results(self, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
        store = Store.in_directory(tmp_path)
        store.save(samples.troubled_sweep())
        observed = Observed("sales", "nightly", None, 1, samples.make_trial().launch)
        store.save_observed(
            "", Observation((), (observed,), until_us=1, newest_id=1, deleted=0, unreadable=(), forget_us=0)
        )
        with duckdb.connect(store.path, read_only=True) as connection:
            yield connection

    @pytest.mark.parametrize("query", re.findall(r"```sql\n(.+?)```", PAGE, re.DOTALL))
    def test_each_example_runs_and_finds_something(self, results: duckdb.DuckDBPyConnection, query: str) -> None:
        assert results.execute(query).fetchall()

    def test_each_column_is_described(self, results: duckdb.DuckDBPyConnection) -> None:
        of_launches, of_observed = (
            [name for cell in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall("`(.+?)`", cell)]
            for table in self.PAGE.split("| column |")[1:]
        )
        assert sorted(of_launches) == sorted(self.columns_of(results, "launch_measurements"))
        observed = self.columns_of(results, "observed_launches")
        assert observed <= {*of_observed, *of_launches}
        assert {*of_observed} <= observed

    def columns_of(self, results: duckdb.DuckDBPyConnection, table: str) -> set[str]:
        return {column[0] for column in results.execute(f"SELECT * FROM {table} LIMIT 0").description}


def _tokens(markdown: str) -> Iterator[Token]:
    for token in _MARKDOWN.parse(markdown):
        yield token
        yield from token.children or ()


def _links(markdown: str) -> list[str]:
    found = [token.attrGet("href") or token.attrGet("src") for token in _tokens(markdown)]
    return [str(link) for link in found if link]


def _leads_somewhere(page: Path, link: str) -> bool:
    parts = urlsplit(link)
    if parts.scheme:
        return True
    target = page.parent / unquote(parts.path) if parts.path else page
    if not target.exists():
        return False
    return not parts.fragment or parts.fragment in _anchors(target.read_text())


def _anchors(markdown: str) -> set[str]:
    """Return the fragments by which GitHub links to a page's headings."""
    anchors: set[str] = set()
    seen: Counter[str] = Counter()
    tokens = list(_MARKDOWN.parse(markdown))
    for opening, heading in pairwise(tokens):
        if opening.type == "heading_open":
            text = "".join(child.content for child in heading.children or ())
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return anchors
