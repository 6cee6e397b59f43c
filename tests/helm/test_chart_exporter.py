"""The exporter in both charts: off by default, scraped at its service, reading the webserver that the release has."""

import re
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner
from helms import CHART, RELEASE, Objects, render
from test_chart_networking import reached_from
from test_chart_objects import assert_hardened
from variants import VARIANTS, container, environment, rendered

from bench_orchestrator.cli import main
from bench_orchestrator.exporter import Exporter

OPERATOR = "monitoring.coreos.com/v1/ServiceMonitor"
NAME = f"{RELEASE}-exporter"


def exporter_of(objects: Objects) -> dict[str, Any]:
    """Return the exporter's container."""
    return container(objects["Deployment", NAME]["spec"]["template"])


def runs(command: list[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Return whether the command accepts its options."""
    monkeypatch.setattr("bench_orchestrator.cli.exporter.start_http_server", lambda *_: _NoServer.pair())
    monkeypatch.setattr(Exporter, "run", lambda _: None)
    assert command[0] == "bench"
    return CliRunner().invoke(main, command[1:]).exit_code == 0


class _NoServer:
    """Stands for the server of the page."""

    @classmethod
    def pair(cls) -> tuple["_NoServer", None]:
        return cls(), None

    def shutdown(self) -> None:
        """Do nothing."""

    def server_close(self) -> None:
        """Do nothing."""


class TestOfThisProject:
    def test_there_is_none_by_default(self) -> None:
        assert not [name for _, name in render(kinds=[OPERATOR]) if name == NAME]

    def test_it_reads_the_webserver_of_the_release_with_options_that_exist(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = exporter_of(rendered("exporter"))
        assert "--every=30s" in one["command"]
        variables = environment(rendered("exporter")["Deployment", NAME]["spec"]["template"])
        assert variables["BENCH_WEBSERVER_URL"] == "http://bench-webserver/dagster"
        assert "BENCH_WEBSERVER_HEADERS" in variables
        assert "DAGSTER_PG_PASSWORD" not in variables
        assert runs(one["command"], monkeypatch)

    def test_a_service_monitor_is_only_where_its_kind_exists(self) -> None:
        assert ("ServiceMonitor", NAME) not in rendered("exporter")
        objects = render(VARIANTS["exporter"], kinds=[OPERATOR])
        monitor = objects["ServiceMonitor", NAME]
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        service = objects["Service", NAME]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint == {"port": service["spec"]["ports"][0]["name"], "honorLabels": True, "interval": "30s"}

    def test_its_network_policy_lets_the_release_and_prometheus_in(self) -> None:
        peers = reached_from(rendered("exporter"), "exporter")
        assert peers[1:] == VARIANTS["exporter"]["networkPolicy"]["exporterFrom"]
        (rule,) = rendered("exporter")["NetworkPolicy", NAME]["spec"]["ingress"]
        assert [one["port"] for one in rule["ports"]] == [
            one["name"] for one in exporter_of(rendered("exporter"))["ports"]
        ]


@cache
def beside_dagsters_own_chart() -> dict[str, dict[str, Any]]:
    """Return the manifests that are comments in the values for Dagster's own chart, by kind."""
    before, _, commented = (CHART / "values-official-chart.yaml").read_text().partition("  # Metrics for Prometheus")
    lines = re.findall(r"^  # (- .*|  .*)$", commented, re.MULTILINE)
    values = yaml.safe_load("\n".join([before, *(f"  {line}" for line in lines)]))
    return {one["kind"]: one for one in values["extraManifests"][-3:]}


class TestBesideDagstersOwnChart:
    def test_kubernetes_takes_them_and_the_pod_is_hardened(self, monkeypatch: pytest.MonkeyPatch) -> None:
        manifests = beside_dagsters_own_chart()
        for kind in ("Deployment", "Service"):
            kubernetes_validate.validate(manifests[kind], "1.31", strict=True)
        pod = manifests["Deployment"]["spec"]["template"]
        assert_hardened(pod)
        assert runs(container(pod)["command"], monkeypatch)

    def test_service_and_monitor_find_the_pod(self) -> None:
        manifests = beside_dagsters_own_chart()
        labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
        service, monitor = manifests["Service"], manifests["ServiceMonitor"]
        assert service["spec"]["selector"] == labels
        assert monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["honorLabels"]
        assert endpoint["port"] == service["spec"]["ports"][0]["name"]
