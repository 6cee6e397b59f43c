"""`bench exporter` serves a page from the first moment, takes credentials like `doctor`, and ends on SIGTERM."""

import os
import signal
import socket

import pytest
import requests
from click.testing import CliRunner, Result
from small_server import small_server

from bench_orchestrator.cli import main
from bench_orchestrator.exporter import Exporter


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["exporter", *arguments])


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free: int = server.getsockname()[1]
    return free


def test_the_page_answers_until_it_is_told_to_stop(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[str] = []

    def read_once(exporter: Exporter) -> None:
        exporter.read()
        pages.append(requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    monkeypatch.setattr(Exporter, "run", read_once)
    before = signal.getsignal(signal.SIGTERM)
    result = run("--url", "http://127.0.0.1:9", "--port", str(port))
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0] == (
        f"Metrics of http://127.0.0.1:9 at http://127.0.0.1:{port}/metrics (Ctrl-C stops it)"
    )
    assert "does not answer" in result.output
    assert result.output.splitlines()[-1] == "Stopped."
    assert 'dagster_exporter_collector_success{collector="queue"} 0.0' in pages[0]
    assert "_created" not in pages[0]
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30)


def test_credentials_are_those_of_the_options(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exporter, "run", Exporter.read)
    with small_server(401, "") as (url, received):
        result = run("--url", url, "--token", "4f2a-secret", "--port", str(port))
    assert result.exit_code == 0
    assert {one["headers"]["Authorization"] for one in received} == {"Bearer 4f2a-secret"}
    assert len(received) == 1
    assert "4f2a-secret" not in result.output
    assert not any("mutation" in one["query"] for one in received)


def test_what_cannot_be_served_or_read_is_one_line(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        taken = run("--port", str(port))
    assert taken.exit_code == 3
    assert taken.output.startswith(f"Error: Metrics cannot be served at 127.0.0.1:{port}: ")
    refused = run("--since", "yesterday")
    assert refused.exit_code == 2
    assert "is neither a date nor a time" in refused.output
