"""Dashboard, alerts and documentation name the metrics that the exporter has, and no others."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ending_runs import EndingRuns
from scraping import Scraped, by_the_clock_of

from bench_orchestrator.cli.exporter import command

FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]

QUERIES = [
    *(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]),
    *(one["definition"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"),
    *(rule["expr"] for rule in RULES),
]


@pytest.fixture(scope="module")
def families() -> dict[str, tuple[str, set[str], set[str]]]:
    """Return the type of each metric of a page with everything on it, its labels, and its samples' names."""
    deployment = EndingRuns()
    with by_the_clock_of(deployment):
        scraped = Scraped(deployment)
        deployment.add("a", ended_s=1.0)
        for _ in range(2):
            scraped.exporter.read()
    suffix = {"counter": "_total"}
    return {
        family.name + suffix.get(family.type, ""): (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
            {sample.name for sample in family.samples},
        )
        for family in scraped.registry.collect()
    }


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_samples_and_labels_that_there_are(
    query: str, families: dict[str, tuple[str, set[str], set[str]]]
) -> None:
    names = set(re.findall(r"\bdagster_\w+", query))
    assert names
    assert names <= {name for *_, samples in families.values() for name in samples}
    labels = {"le", *(label for _, labels, _ in families.values() for label in labels)}
    used = {
        *(name for group in re.findall(r"by \(([^)]*)\)", query) for name in re.split(r",\s*", group)),
        *re.findall(r"[{,]\s*(\w+)=", query),
    }
    assert used <= labels


def test_each_panel_has_its_own_place_and_a_query() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        taken |= cells
        assert panel["targets"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_alerts_have_names_of_their_own_and_say_what_is_wrong() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in RULES)


def test_each_alert_is_seen_to_fire() -> None:
    """The thorough test of a real Prometheus evaluates that file."""
    tried = yaml.safe_load((FOLDER.parents[1] / "tests" / "integration" / "alerts_fire.yaml").read_text())["tests"]
    fired = re.findall(r'alertname="(\w+)"', json.dumps([one["promql_expr_test"] for one in tried]).replace("\\", ""))
    assert sorted(fired) == sorted(rule["alert"] for rule in RULES)


def test_the_page_describes_each_metric(families: dict[str, tuple[str, set[str], set[str]]]) -> None:
    rows = re.findall(r"^\| `(dagster_\w+)` \| (\w+) \|([^|]*)\|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    described = {
        name: (kind, {label for label in re.split(r",\s*", labels.strip()) if label}) for name, kind, labels in rows
    }
    assert described == {name: (kind, labels) for name, (kind, labels, _) in families.items()}


def test_prometheus_scrapes_the_default_port_and_keeps_dagsters_jobs() -> None:
    (scrape,) = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    assert scrape["honor_labels"]
    (port,) = [parameter.default for parameter in command.params if parameter.name == "port"]
    assert scrape["static_configs"][0]["targets"] == [f"127.0.0.1:{port}"]
