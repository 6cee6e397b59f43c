"""`bench doctor` and `bench exporter` read webservers of other releases of Dagster, each in its own environment."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from bench_orchestrator.cli import main
from bench_orchestrator.deployment.home import port_answers
from bench_orchestrator.deployment.ports import HeldPort
from bench_orchestrator.exporter import Exporter
from bench_orchestrator.webserver import Webserver

HISTORY = Path(__file__).with_name("history_of_a_release.py")
WORKSPACE = f"load_from: [{{python_file: {{relative_path: {HISTORY}, location_name: old}}}}]\n"


@contextmanager
def webserver_of(release: str, folder: Path) -> Iterator[str]:
    """Yield the URL of a webserver of that release, with a history of its own."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip: list[str | Path] = [venv / "bin" / "python", "-I", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, f"dagster~={release}.0", f"dagster-webserver~={release}.0"], check=True)
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (folder / "workspace.yaml").write_text(WORKSPACE)
    environment = {"PATH": os.environ["PATH"], "DAGSTER_HOME": str(home), "HOME": str(folder)}
    subprocess.run([venv / "bin" / "python", HISTORY], env=environment, check=True)
    with closing(HeldPort()) as port:
        number = port.number
    serve: list[str | Path] = [
        "-m",
        "dagster_webserver",
        "-w",
        folder / "workspace.yaml",
        "-h",
        "127.0.0.1",
        "-p",
        str(number),
    ]
    with subprocess.Popen([venv / "bin" / "python", *serve], env=environment, cwd=folder) as server:
        try:
            deadline = time.monotonic() + 120
            while not port_answers(number):
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.5)
            yield f"http://127.0.0.1:{number}"
        finally:
            server.terminate()


def loaded(url: str) -> dict[str, Any]:
    """Return the doctor's answer once the code location is loaded."""
    deadline = time.monotonic() + 120
    while True:
        result = CliRunner().invoke(main, ["doctor", "--url", url, "--json"])
        assert result.exit_code == 0, result.output
        data: dict[str, Any] = json.loads(result.stdout)
        if data["locations"][0]["state"] != "loading" or time.monotonic() > deadline:
            return data
        time.sleep(1)


def exported(url: str) -> Callable[..., float | None]:
    """Return what looks up the samples of an exporter's page, after one reading of all history."""
    registry = CollectorRegistry()
    Exporter(Webserver(url), registry, since_us=0).read()
    return lambda name, **labels: registry.get_sample_value(name, labels)


@pytest.mark.thorough
@pytest.mark.parametrize(("release", "lacking"), [("1.11", []), ("1.12", []), ("1.13", [])])
def test_it_reads_a_history_of_all_kinds_of_runs(tmp_path: Path, release: str, lacking: list[str]) -> None:
    with webserver_of(release, tmp_path) as url:
        data, sample = loaded(url), exported(url)
    assert data["version"].startswith(f"{release}.")
    assert [line.partition(":")[0] for line in data["not_answered"]] == lacking
    (old,) = data["locations"]
    assert (old["state"], old["assets"], old["partitioned"], old["partitions"]) == ("loaded", 1, 1, 12)
    assert (old["jobs"], old["checks"]) == (1, 1)
    assert (old["runs_listed"], old["runs_read"]) == (6, 6)
    assert old["lag_s"]["n"] == 4
    findings = {finding["name"]: finding for finding in data["findings"]}
    assert {"leaked_slots", "step_retries", "daemons"} <= findings.keys()
    assert findings["step_retries"]["runs"] == 1
    (queued,) = data["queued"]
    assert queued["job"] == "shaky"
    assert queued["waits_for"][0]["kind"] == "daemon"
    for collector in ("locations", "daemons", "queue", "ticks", "runs"):
        assert sample("dagster_exporter_collector_success", collector=collector) == 1
    # Runs that are executed in a test's process have no location in their record.
    assert sample("dagster_runs_ended_total", location="unknown", job="shaky", status="success") == 1
    assert sample("dagster_run_init_seconds_count", location="unknown", job="shaky") == 1
    assert sample("dagster_runs_queued") == 1
    assert sample("dagster_runs_in_progress", location="old", job="shaky") == 1
