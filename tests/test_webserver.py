"""Interprets a webserver's answers: from a real Dagster webserver without code locations, and from a small HTTP server
for answers that are hard to provoke. Real launches are tested under tests/integration.
"""

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from certificates import Authority
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from recording import Served, make_run

from bench_orchestrator.access import Access
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.sources.instance import get_run
from bench_orchestrator.webserver import (
    AccessDeniedError,
    BadUrlError,
    DatabaseTroubleError,
    LaunchRejectedError,
    LocationAwayError,
    LocationEntry,
    Webserver,
    WebserverError,
    WebserverUnreachableError,
)

LAUNCH: dict[str, Any] = {"location": "a10", "repository": "__repository__", "job": "__ASSET_JOB", "tags": {"a": "b"}}

UNAVAILABLE = "<_InactiveRpcError of RPC that terminated with: status = StatusCode.UNAVAILABLE>"


@contextmanager
def small_server(
    status: int,
    body: str,
    *,
    delay_s: float = 0,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the URL of an HTTP server that gives every POST the same answer, and the requests that it received."""
    requests: list[dict[str, Any]] = []
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append({"path": self.path, "headers": dict(self.headers), **json.loads(content)})
            released.wait(delay_s)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_arguments: object) -> None:
            """Ignore clients that end a handshake."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls:
            # The handshake is left to the thread of the request: one that fails must not end the server.
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}", requests
        released.set()
        server.shutdown()


def uses(webserver: Webserver) -> Iterator[Any]:
    """Yield every kind of request to a webserver."""
    yield webserver.list_locations
    yield lambda: webserver.list_assets("a10", "__repository__")
    yield lambda: webserver.list_partitions("a10/asset_0")
    yield lambda: webserver.submit(**LAUNCH)
    yield lambda: webserver.terminate("4f2a")
    yield lambda: webserver.force_terminate("4f2a")


class TestARealWebserver:
    def test_without_code_locations_lists_none(self, served: Served) -> None:
        assert Webserver(served.url).list_locations() == {}

    def test_may_be_named_with_a_slash_at_the_end(self, served: Served) -> None:
        assert Webserver(f"{served.url}/").url == served.url
        assert Webserver(f"{served.url}/").list_locations() == {}

    def test_rejects_a_launch_in_a_location_that_it_does_not_have(self, served: Served) -> None:
        with pytest.raises(LaunchRejectedError, match=r"PipelineNotFoundError.*__ASSET_JOB") as raised:
            Webserver(served.url).submit(**LAUNCH)
        assert "\n" not in str(raised.value)

    def test_rejects_the_launch_of_one_asset_likewise(self, served: Served) -> None:
        with pytest.raises(LaunchRejectedError, match="Location a10 does not exist in workspace"):
            Webserver(served.url).submit(**LAUNCH, asset_keys=["a10/asset_0"])

    def test_cannot_list_the_assets_of_a_location_that_it_does_not_have(self, served: Served) -> None:
        with pytest.raises(WebserverError, match="a10 cannot list its assets"):
            Webserver(served.url).list_assets("a10", "__repository__")

    def test_knows_no_partitions_of_an_unknown_asset(self, served: Served) -> None:
        assert Webserver(served.url).list_partitions("a10/asset_0") == []

    def test_cannot_terminate_a_run_that_it_does_not_have(self, served: Served) -> None:
        with pytest.raises(WebserverError, match="4f2a"):
            Webserver(served.url).terminate("4f2a")

    def test_marks_a_run_canceled_whose_process_is_gone(self, served: Served) -> None:
        run_id = make_run(served.instance, {}, RunStatus.STARTED)
        Webserver(served.url).force_terminate(run_id)
        run = get_run(served.instance, run_id)
        assert run is not None
        assert run.status is RunStatus.CANCELED

    def test_lists_the_backfills_that_may_launch_runs_until_they_are_canceled(self, served: Served) -> None:
        for name, status in (("open", BulkActionStatus.REQUESTED), ("over", BulkActionStatus.COMPLETED_SUCCESS)):
            served.instance.add_backfill(
                PartitionBackfill(
                    backfill_id=name,
                    status=status,
                    from_failure=False,
                    tags={"bench/sweep": "quick-1", "bench/trial": "1"},
                    backfill_timestamp=1_784_021_400.0,
                    asset_selection=[dg.AssetKey("a")],
                    serialized_asset_backfill_data="",
                )
            )
        webserver = Webserver(served.url)
        (backfill,) = webserver.open_backfills({"bench/sweep": "quick-1"})
        assert (backfill.backfill_id, backfill.tags["bench/trial"]) == ("open", "1")
        assert webserver.open_backfills({"bench/sweep": "quick-2"}) == []
        webserver.cancel_backfill("open")
        assert webserver.open_backfills({}) == []
        canceled = served.instance.get_backfill("open")
        assert canceled is not None
        assert canceled.status is BulkActionStatus.CANCELING
        with pytest.raises(WebserverError, match="No backfill found for id: none"):
            webserver.cancel_backfill("none")

    def test_says_what_is_wrong_with_a_question(self, served: Served) -> None:
        with pytest.raises(WebserverError, match="Cannot query field 'nonsense'"):
            Webserver(served.url).query("query { nonsense }")


class TestTheUrl:
    @pytest.mark.parametrize(
        "url",
        [
            "",
            "localhost:3000",
            "ftp://host",
            "http://",
            "3000",
            "http://[::1",
            "http://h:0",
            "http://h:x",
            "http://a..b",
        ],
    )
    def test_one_that_is_none_is_refused_with_an_example(self, url: str) -> None:
        with pytest.raises(BadUrlError, match=r"Example: http://127\.0\.0\.1:3000"):
            Webserver(url)

    @pytest.mark.parametrize(
        "url",
        [
            "user:secret@host",
            "ftp://user:secret@host",
            "http://user:secret@host:x",
            "http://user:a@secret@host",
            "http://user:a/secret@host",
            "http://host?token=secret",
            "http://host#token=secret",
        ],
    )
    def test_one_that_is_refused_is_shown_without_its_credentials(self, url: str) -> None:
        with pytest.raises(BadUrlError) as refused:
            Webserver(url)
        assert "secret" not in str(refused.value)
        assert "host" in str(refused.value)

    def test_a_path_prefix_is_kept_by_a_small_http_server(self) -> None:
        with small_server(200, '{"data": {"workspaceOrError": {"locationEntries": []}}}') as (url, requests):
            assert Webserver(f"{url}/dagster/").list_locations() == {}
            assert Webserver(f"{url}/dagster/").run_url("4f2a") == f"{url}/dagster/runs/4f2a"
        assert requests[0]["path"] == "/dagster/graphql"

    def test_its_user_and_password_are_sent_as_basic_authorization_and_shown_nowhere(self) -> None:
        with small_server(200, '{"errors": [{"message": "no"}]}') as (url, requests):
            webserver = Webserver(url.replace("//", "//us%40er:p%C3%A4ss@"), Access({"authorization": "Bearer 4f2a"}))
            assert webserver.url == url
            with pytest.raises(WebserverError) as raised:
                webserver.list_locations()
        assert requests[0]["headers"]["Authorization"] == "Basic dXNAZXI6cMOkc3M="
        assert str(raised.value).startswith(f"The webserver at {url} answered")

    def test_no_failure_shows_its_credentials(self) -> None:
        for status, body in ((401, "no"), (503, "no"), (500, "http://user:secret@there"), (302, "")):
            headers = {"Location": "http://user:secret@there/log-in?token=secret"} if status == 302 else None
            with small_server(status, body, headers=headers) as (url, _):
                for use in uses(Webserver(url.replace("//", "//user:secret@"))):
                    with pytest.raises(WebserverError) as raised:
                        use()
                    assert "secret" not in str(raised.value)


class TestFailuresOfASmallHttpServer:
    @pytest.mark.parametrize("status", [401, 403])
    def test_a_refusal_says_which_credentials_to_set(self, status: int) -> None:
        with small_server(status, "no") as (url, _):
            for use in uses(Webserver(url)):
                with pytest.raises(AccessDeniedError, match=rf"HTTP {status}.*BENCH_WEBSERVER_AUTHORIZATION"):
                    use()

    @pytest.mark.parametrize("status", [502, 503, 504])
    def test_a_gateways_error_is_a_webserver_that_is_away(self, status: int) -> None:
        with small_server(status, "<html>Bad gateway</html>") as (url, _):
            for use in uses(Webserver(url)):
                with pytest.raises(WebserverUnreachableError, match="BENCH_WEBSERVER_URL"):
                    use()

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (500, "Internal Server Error"),
            (404, "not found"),
            (200, "<html>Please log in</html>"),
            (200, ""),
            (200, "{}"),
            (200, '{"errors": [{"message": "boom"}]}'),
        ],
    )
    def test_any_other_answer_is_an_error_in_one_line_with_the_url(self, status: int, body: str) -> None:
        with small_server(status, body) as (url, _):
            for use in uses(Webserver(url)):
                with pytest.raises(WebserverError, match=rf"{url} answered with an error") as raised:
                    use()
                assert not isinstance(raised.value, (AccessDeniedError, WebserverUnreachableError, LaunchRejectedError))
                assert "\n" not in str(raised.value)

    def test_no_answer_in_time_is_a_webserver_that_is_away(self) -> None:
        with small_server(200, "{}", delay_s=30) as (url, requests):
            with pytest.raises(WebserverUnreachableError):
                Webserver(url, timeout_s=1).submit(**LAUNCH)
            assert len(requests) == 1

    def test_a_port_without_a_server_is_a_webserver_that_is_away(self) -> None:
        with small_server(200, "{}") as (url, _):
            pass
        for use in uses(Webserver(url)):
            with pytest.raises(WebserverUnreachableError, match=rf"{url} does not answer. Start it"):
                use()

    def test_an_error_in_place_of_the_workspace_is_reported(self) -> None:
        with (
            small_server(200, '{"data": {"workspaceOrError": {"message": "no workspace"}}}') as (url, _),
            pytest.raises(WebserverError, match="no workspace"),
        ):
            Webserver(url).list_locations()


class TestWhatIsSentToASmallHttpServer:
    def test_the_authorization_goes_with_every_request(self) -> None:
        with small_server(401, "no") as (url, requests):
            for use in uses(Webserver(url, Access({"Authorization": "Bearer 4f2a"}))):
                with pytest.raises(AccessDeniedError):
                    use()
        assert [request["headers"]["Authorization"] for request in requests] == ["Bearer 4f2a"] * len(requests)
        assert len(requests) == 6

    @pytest.mark.parametrize(
        ("entry", "reason"),
        [
            ({"__typename": "PythonError", "message": UNAVAILABLE}, r"had no code server: .*StatusCode\.UNAVAILABLE"),
            (None, "had no code server: it loads"),
        ],
    )
    def test_a_refusal_for_lack_of_a_code_server_is_recognized(self, entry: dict[str, Any] | None, reason: str) -> None:
        broken = {"__typename": "PythonError", "message": "ImportError: no pandas"}
        for found, kind in ((entry, LocationAwayError), (broken, LaunchRejectedError)):
            listed: dict[str, Any] = {
                "name": "a10",
                "loadStatus": "LOADED",
                "displayMetadata": [],
                "locationOrLoadError": found,
            }
            answer = {
                "launchPipelineExecution": {"__typename": "PipelineNotFoundError", "message": "no job"},
                "workspaceOrError": {"locationEntries": [listed]},
            }
            with (
                small_server(200, json.dumps({"data": answer})) as (url, _),
                pytest.raises(LaunchRejectedError, match=reason if found is entry else "no job") as raised,
            ):
                Webserver(url).submit(**LAUNCH)
            assert type(raised.value) is kind

    @pytest.mark.parametrize(
        ("selection", "kind", "said"),
        [
            ({"message": "no such\nasset"}, LaunchRejectedError, "^no such asset$"),
            ({"message": UNAVAILABLE}, LocationAwayError, "had no code server: <_Inactive"),
            ({}, LocationAwayError, "had no code server: for a moment"),
        ],
    )
    def test_a_selection_that_is_refused_without_a_word_is_asked_about(
        self, selection: dict[str, Any], kind: type[Exception], said: str
    ) -> None:
        answer = {
            "launchPipelineExecution": {"__typename": "InvalidSubsetError"},
            "pipelineOrError": selection,
            "workspaceOrError": {"locationEntries": []},
        }
        with (
            small_server(200, json.dumps({"data": answer})) as (url, requests),
            pytest.raises(LaunchRejectedError, match=said) as raised,
        ):
            Webserver(url).submit(**LAUNCH, asset_keys=["a10/asset_0"])
        assert type(raised.value) is kind
        assert requests[1]["variables"]["selector"]["assetSelection"] == [{"path": ["a10", "asset_0"]}]

    @pytest.mark.parametrize(
        ("message", "kind", "said"),
        [
            ("sqlalchemy.exc.OperationalError: server closed", DatabaseTroubleError, "has trouble with its database"),
            ("DagsterPostgresException: too many retries for DB connection", DatabaseTroubleError, "with its database"),
            ("KeyError: 'a'", WebserverError, "answered with an error: .*KeyError: 'a'"),
        ],
    )
    def test_an_error_within_an_answer_is_an_error(self, message: str, kind: type[Exception], said: str) -> None:
        answer = {"runOrError": {"status": "STARTED"}, "logsForRun": {"__typename": "PythonError", "message": message}}
        with (
            small_server(200, json.dumps({"data": answer})) as (url, _),
            pytest.raises(WebserverError, match=said) as raised,
        ):
            Webserver(url).query("query { logsForRun { ... on PythonError { __typename message } } }")
        assert type(raised.value) is kind

    def test_a_launch_names_the_location_the_asset_and_the_tags(self) -> None:
        answer = {"__typename": "LaunchRunSuccess", "run": {"runId": "4f2a"}}
        with small_server(200, json.dumps({"data": {"launchPipelineExecution": answer}})) as (url, requests):
            assert Webserver(url).submit(**LAUNCH, asset_keys=["a10/asset_0"]) == "4f2a"
        (request,) = requests
        parameters = request["variables"]["executionParams"]
        assert parameters["selector"]["repositoryLocationName"] == "a10"
        assert parameters["selector"]["pipelineName"] == "__ASSET_JOB"
        assert parameters["selector"]["assetSelection"] == [{"path": ["a10", "asset_0"]}]
        assert {"key": "a", "value": "b"} in parameters["executionMetadata"]["tags"]


class TestHeadersAndCertificates:
    def test_all_headers_go_with_every_request_and_before_an_entry_of_netrc(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        headers = {"Dagster-Cloud-Api-Token": "4f2a", "Authorization": "Bearer 9d03"}
        with small_server(200, '{"data": {"workspaceOrError": {"locationEntries": []}}}') as (url, requests):
            webserver = Webserver(url, Access(headers))
            webserver._is_local = False  # a local webserver ignores the environment anyway
            webserver.list_locations()
        sent = {name.lower(): value for name, value in requests[0]["headers"].items()}
        assert (sent["dagster-cloud-api-token"], sent["authorization"]) == ("4f2a", "Bearer 9d03")

    def test_they_do_not_follow_a_redirect(self) -> None:
        with (
            small_server(200, "{}") as (other, elsewhere),
            small_server(307, "", headers={"Location": f"{other}/log-in"}) as (url, _),
            pytest.raises(WebserverError, match=rf"redirects to {other}/log-in. Use its final URL"),
        ):
            Webserver(url, Access({"Dagster-Cloud-Api-Token": "4f2a"})).list_locations()
        assert elsewhere == []

    def test_own_authorities_and_client_certificates_are_used_and_what_is_wrong_is_said(self, tmp_path: Path) -> None:
        authority, stranger = Authority(tmp_path, "authority"), Authority(tmp_path, "stranger")
        server, client, unknown = authority.issue("server"), authority.issue("client"), stranger.issue("unknown")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(server.certificate, server.key)
        ca_file = str(authority.file)
        with small_server(200, '{"data": {"workspaceOrError": {"locationEntries": []}}}', tls=tls) as (url, requests):
            assert Webserver(url, Access(ca_file=ca_file)).list_locations() == {}
            untrusted = (
                rf"The certificate of the webserver at {url} is not trusted: [^(]*\. Set BENCH_WEBSERVER_CA_FILE"
            )
            for access in (Access(), Access(ca_file=str(stranger.file))):
                with pytest.raises(WebserverError, match=untrusted):
                    Webserver(url, access).list_locations()
            assert len(requests) == 1

            tls.verify_mode = ssl.CERT_REQUIRED
            # Later versions send the request before the server has judged the client.
            tls.maximum_version = ssl.TLSVersion.TLSv1_2
            tls.load_verify_locations(authority.file)
            known = Access(ca_file=ca_file, certificate_file=str(client.certificate), key_file=str(client.key))
            assert Webserver(url, known).list_locations() == {}
            for access in (
                Access(ca_file=ca_file),
                Access(ca_file=ca_file, certificate_file=str(unknown.certificate), key_file=str(unknown.key)),
            ):
                with pytest.raises(AccessDeniedError, match="refuses the client's certificate, or requires one"):
                    Webserver(url, access).list_locations()
            assert len(requests) == 2

    def test_a_server_without_tls_is_named_as_what_it_is(self) -> None:
        with small_server(200, "{}") as (url, _), pytest.raises(WebserverUnreachableError, match=r"TLS.*wrong version"):
            Webserver(url.replace("http:", "https:")).list_locations()


def test_locations_are_loaded_loading_or_broken_as_a_small_http_server_says() -> None:
    entries: list[dict[str, Any]] = [
        {
            "name": "good",
            "loadStatus": "LOADED",
            "displayMetadata": [{"key": "port", "value": "4000"}, {"key": "host", "value": "bench-good"}],
            "locationOrLoadError": {
                "__typename": "RepositoryLocation",
                "serverId": "4f2a",
                "repositories": [{"name": "__repository__"}],
            },
        },
        {
            "name": "broken",
            "loadStatus": "LOADED",
            "displayMetadata": [{"key": "socket", "value": "/tmp/1.sock"}],
            "locationOrLoadError": {"__typename": "PythonError", "message": "ImportError: no pandas"},
        },
        {"name": "slow", "loadStatus": "LOADING", "displayMetadata": [], "locationOrLoadError": None},
        {"name": "unknown", "loadStatus": "LOADED", "displayMetadata": [], "locationOrLoadError": None},
    ]
    with small_server(200, json.dumps({"data": {"workspaceOrError": {"locationEntries": entries}}})) as (url, _):
        locations = Webserver(url).list_locations()
    assert locations == {
        "good": LocationEntry("good", "loaded", ("__repository__",), server_id="4f2a", host="bench-good"),
        "broken": LocationEntry("broken", "error", error="ImportError: no pandas"),
        "slow": LocationEntry("slow", "loading"),
        "unknown": LocationEntry("unknown", "loading"),
    }


def test_only_assets_that_can_be_launched_are_listed_of_what_a_small_http_server_says() -> None:
    nodes = [
        {"assetKey": {"path": ["a", "one"]}, "isMaterializable": True, "isPartitioned": False},
        {"assetKey": {"path": ["two"]}, "isMaterializable": True, "isPartitioned": True},
        {"assetKey": {"path": ["external"]}, "isMaterializable": False, "isPartitioned": False},
    ]
    with small_server(200, json.dumps({"data": {"repositoryOrError": {"assetNodes": nodes}}})) as (url, _):
        assert Webserver(url).list_assets("a", "r") == {"a/one": False, "two": True}
