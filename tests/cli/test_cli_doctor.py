"""`bench doctor` prints the diagnosis in each form, shows no secret, launches nothing and needs the base alone."""

import json
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result
from deployment_answers import ANSWERS
from small_server import small_server

from bench_orchestrator import settings
from bench_orchestrator.cli import main
from bench_orchestrator.cli.extras import EXTRAS

SECRET = "4f2a-secret"


class Posts:
    """Answers the queries of a session by their names; keeps their headers and documents."""

    def __init__(self) -> None:
        self.headers: list[Mapping[str, str]] = []
        self.documents: list[str] = []
        self.status = 200

    def __call__(self, _session: object, _url: str, **sent: Any) -> requests.Response:
        self.headers.append(dict(sent["headers"]))
        self.documents.append(sent["json"]["query"])
        (name,) = re.findall(r"query (Bench\w+)", self.documents[-1])
        answer = requests.Response()
        answer.status_code = self.status
        answer._content = json.dumps({"data": ANSWERS[name]}).encode()
        return answer


@pytest.fixture
def posts(monkeypatch: pytest.MonkeyPatch) -> Posts:
    found = Posts()
    monkeypatch.setattr(requests.Session, "post", lambda session, url, **sent: found(session, url, **sent))
    for variable in (settings.WEBSERVER_URL, *settings.WEBSERVER_ACCESS.values()):
        monkeypatch.delenv(variable, raising=False)
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments])


def test_the_answer_comes_first_then_what_to_do_and_the_cost_last(posts: Posts) -> None:
    result = run("--url", "http://h/prefix")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "http://h/prefix: Dagster 1.13.27"
    assert lines[1].startswith("Launch lag 3.6 s")
    assert "1. Daemons that this deployment needs do not run, or fail." in lines
    assert any(line.startswith("  sales") and "worker boot" not in line for line in lines)
    assert "Nothing was launched or changed." in lines[-1]
    assert f"{len(posts.documents)} requests" in lines[-1]
    assert not any(re.search(r"\bmutation\b", document) for document in posts.documents)


def test_json_is_all_of_standard_output(posts: Posts) -> None:
    result = run("--json", "--runs", "1")
    assert result.exit_code == 0
    data = json.loads(result.stdout)
    assert data["url"] == settings.DEFAULT_WEBSERVER_URL
    assert data["cost"]["requests"] == len(posts.documents)
    assert [location["location"] for location in data["locations"]] == ["sales", "broken"]
    assert data["locations"][0]["assets"] == 3
    assert {"broken_locations", "daemons", "time_limits"} <= {finding["name"] for finding in data["findings"]}
    assert data["sample"]["read"] == 2


@pytest.mark.usefixtures("posts")
def test_the_page_holds_the_same(tmp_path: Path) -> None:
    page = tmp_path / "new" / "doctor.html"
    result = run("--html", str(page))
    assert result.exit_code == 0
    assert f"Page: {page}" in result.output
    text = page.read_text()
    assert "<title>Launch lag 3.6 s" in text
    assert "What to do" in text
    assert "script" not in text


def test_watch_shows_what_changed_until_it_is_interrupted(posts: Posts, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", pause)
    result = run("--watch", "--every", "3s", "--json")
    assert result.exit_code == 0
    assert pauses == [3.0, 3.0]
    assert len(result.stdout.splitlines()) == 2
    *_, second, last = result.stderr.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d  (nothing changed|still: 2 runs queued.*)\. This cost .*\.", second)
    assert last == "Stopped."
    assert len(posts.documents) > 20


class TestTheCredentials:
    @pytest.mark.parametrize(
        ("options", "name", "value"),
        [
            (["--token", SECRET], "Authorization", f"Bearer {SECRET}"),
            (["--basic", f"me:{SECRET}"], "Authorization", f"Basic {b64encode(f'me:{SECRET}'.encode()).decode()}"),
            (["--header", f"X-Key: {SECRET}", "--header", "X-Other: 1"], "X-Key", SECRET),
        ],
    )
    def test_come_from_options_and_are_shown_nowhere(
        self, posts: Posts, options: list[str], name: str, value: str
    ) -> None:
        result = run(*options)
        assert result.exit_code == 0
        assert {headers[name] for headers in posts.headers} == {value}
        posts.status = 401
        refused = run(*options)
        assert refused.exit_code == 3
        assert SECRET not in result.output + refused.output

    def test_an_option_takes_the_place_of_the_environments(self, posts: Posts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(settings.WEBSERVER_AUTHORIZATION, "Bearer other")
        monkeypatch.setenv(settings.WEBSERVER_HEADERS, "X-Kept: 1")
        run("--token", SECRET)
        assert posts.headers[0]["Authorization"] == f"Bearer {SECRET}"
        assert posts.headers[0]["X-Kept"] == "1"

    @pytest.mark.usefixtures("posts")
    def test_one_that_is_no_header_is_refused_without_its_value(self) -> None:
        result = run("--header", SECRET)
        assert result.exit_code == 3
        assert SECRET not in result.output


def test_a_webserver_that_is_away_is_an_error_of_one_line() -> None:
    result = run("--url", "http://127.0.0.1:9")
    assert result.exit_code == 3
    assert len(result.output.strip().splitlines()) == 1


@pytest.fixture
def empty_server() -> Iterator[str]:
    with small_server(200, '{"data": {"workspaceOrError": {"locationEntries": []}}}') as (url, _):
        yield url


def test_it_works_without_any_extra(empty_server: str, tmp_path: Path) -> None:
    """Everything but the locations is missing: this server has one answer."""
    without = (
        "import sys\n"
        f"for name in {sorted(EXTRAS)}: sys.modules[name] = None\n"
        "from bench_orchestrator.cli import main\n"
        f"main(['doctor', '--url', {empty_server!r}, '--json', '--html', {str(tmp_path / 'page.html')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["locations"] == []
    assert (tmp_path / "page.html").exists()
