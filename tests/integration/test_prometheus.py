"""A real Prometheus scrapes the exporter, loads the alerts, and answers every query of the dashboard."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest
import requests
import yaml
from ending_runs import BEGIN_S, EndingRuns

from bench_orchestrator.deployment.ports import HeldPort
from bench_orchestrator.webserver import WebserverUnreachableError

FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
RUNS = 90
VARIABLES = {"$__rate_interval": "1m", "$location": ".*", "$job": ".*"}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of prometheus and promtool: those on the PATH, or Debian's, fetched and only unpacked."""
    on_path = shutil.which("promtool")
    if on_path and shutil.which("prometheus"):
        return Path(on_path).parent
    if not shutil.which("apt-get"):
        pytest.skip("there is neither a Prometheus nor an apt-get to fetch one")
    folder = tmp_path_factory.mktemp("prometheus")
    download = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "prometheus"]
    if subprocess.run(download, cwd=folder, capture_output=True, check=False).returncode:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(download, cwd=folder, check=True)
    (package,) = folder.glob("*.deb")
    subprocess.run(["dpkg", "-x", package, folder], check=True)
    return folder / "usr" / "bin"


class Served:
    """A simulated deployment behind a real HTTP server."""

    def __init__(self) -> None:
        self.runs = EndingRuns()
        self.lock = Lock()
        self.ended = 0

    def end_a_run(self) -> None:
        """Let a run end now; every tenth fails."""
        with self.lock:
            self.runs.now_s = round(time.time() - BEGIN_S, 3)
            self.ended += 1
            status = "FAILURE" if self.ended % 10 == 0 else "SUCCESS"
            self.runs.add(f"r{self.ended}", status, location=("sales", "hr")[self.ended % 2], wait=self.ended % 7 / 2)

    def answer(self, sent: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of the answer to a query."""
        with self.lock:
            try:
                return 200, {"data": self.runs.webserver.query(sent["query"], sent["variables"])}
            except WebserverUnreachableError:
                return 503, {}


@contextmanager
def http_server(served: Served) -> Iterator[str]:
    """Yield the URL at which the deployment answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, answer = served.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def process(*command: str | Path, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command within the block; its output is in the folder."""
    with (cwd / f"{Path(command[0]).name}.log").open("wb") as log:
        started = subprocess.Popen(command, stdout=log, stderr=log, cwd=cwd)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(timeout=60)


def eventually(look: Callable[[], bool]) -> None:
    """Wait until a look satisfies; one that has no answer yet does not."""
    deadline_s = time.monotonic() + 120
    while True:
        try:
            if look():
                return
        except requests.RequestException:
            pass
        assert time.monotonic() < deadline_s
        time.sleep(0.2)


def free_port() -> int:
    """Return a port that nothing uses."""
    with closing(HeldPort()) as port:
        return port.number


@pytest.mark.thorough
def test_prometheus_scrapes_alerts_and_answers(programs: Path, tmp_path: Path) -> None:
    served, port, prometheus_port = Served(), free_port(), free_port()
    page, api = f"http://127.0.0.1:{port}/metrics", f"http://127.0.0.1:{prometheus_port}/api/v1"
    shutil.copy(FOLDER / "alerts.yaml", tmp_path)
    configured = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    (scrape,) = configured["scrape_configs"]
    scrape |= {"scrape_interval": "1s", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(configured | {"global": {"evaluation_interval": "1s"}}))
    promtool = programs / "promtool"
    subprocess.run([promtool, "check", "rules", FOLDER / "alerts.yaml"], check=True)
    subprocess.run([promtool, "check", "config", FOLDER / "prometheus.yaml"], check=True)
    subprocess.run([promtool, "test", "rules", Path(__file__).with_name("alerts_fire.yaml")], check=True)

    def ask(path: str, **parameters: str) -> Any:
        answer = requests.get(f"{api}/{path}", params=parameters, timeout=30).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def value(query: str) -> float:
        (result,) = ask("query", query=query)["result"] or [{"value": (0, "0")}]
        return float(result["value"][1])

    exporter = (sys.executable, "-m", "bench_orchestrator", "exporter", "--port", str(port), "--every", "500ms")
    with (
        http_server(served) as url,
        process(*exporter, "--url", url, cwd=tmp_path),
        process(
            programs / "prometheus",
            f"--config.file={tmp_path / 'prometheus.yaml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{prometheus_port}",
            cwd=tmp_path,
        ),
    ):
        eventually(lambda: value("sum(dagster_exporter_collector_success == 1)") == 5)
        for number in range(RUNS):
            served.end_a_run()
            served.runs.away = 30 <= number < 50  # for two seconds
            time.sleep(0.1)
        eventually(lambda: value("sum(dagster_runs_ended_total)") == RUNS)
        eventually(lambda: value("sum(dagster_run_launch_lag_seconds_count)") == RUNS)
        assert value('sum(dagster_runs_ended_total{status="failure"})') == RUNS / 10
        assert value('sum(dagster_exporter_collector_errors_total{collector="runs"})') > 0
        # The waits are 0.5, 1, ... 3 and 0 s; the other stages of the lag take 1.6 s.
        lags_s = sum(number % 7 / 2 + 1.6 for number in range(1, RUNS + 1))
        assert value("sum(dagster_run_launch_lag_seconds_sum)") == pytest.approx(lags_s)
        assert {one["metric"]["job"] for one in ask("query", query="dagster_runs_ended_total")["result"]} == {"nightly"}

        checked = subprocess.run(
            [promtool, "check", "metrics"],
            input=requests.get(page, timeout=30).content,
            capture_output=True,
            check=False,
        )
        assert (checked.returncode, checked.stderr) == (0, b"")

        unanswered = [query for query in dashboard_queries() if not ask("query", query=query)["result"]]
        assert unanswered == []
        rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}
        states = {rule["name"]: rule["state"] for rule in rules}
        assert states["DagsterTicksFail"] == states["DagsterDaemonSilent"] == "pending"
        assert states["DagsterExporterAbsent"] == states["DagsterQueueStands"] == "inactive"


def dashboard_queries() -> Iterator[str]:
    """Yield the queries of the dashboard as Grafana would send them."""
    for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            query: str = target["expr"]
            for name, text in VARIABLES.items():
                query = query.replace(name, text)
            yield query
