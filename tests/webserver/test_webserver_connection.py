"""Interprets what comes back from a webserver, from a small HTTP server for answers that are hard to provoke."""

import ssl
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from certificates import Authority
from small_server import LAUNCH, small_server, uses

from bench_orchestrator.access import Access
from bench_orchestrator.webserver import (
    AccessDeniedError,
    BadUrlError,
    LaunchRejectedError,
    Webserver,
    WebserverError,
    WebserverUnreachableError,
)


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


class TestTheTraffic:
    def test_is_counted_with_what_fails(self) -> None:
        body = '{"data": {"workspaceOrError": {"locationEntries": []}}}'
        with small_server(200, body, delay_s=0.05) as (url, received):
            webserver = Webserver(url)
            for _ in range(2):
                webserver.list_locations()
        assert len(received) == 2
        assert (webserver.traffic.requests, webserver.traffic.received_bytes) == (2, 2 * len(body))
        assert webserver.traffic.waited_s >= 0.1
        with pytest.raises(WebserverUnreachableError):
            webserver.list_locations()
        assert webserver.traffic.requests == 3

    @pytest.mark.parametrize(("date", "ahead"), [("Tue, 01 Jan 2030 00:00:00 GMT", True), ("no date", False)])
    def test_tells_how_far_the_webservers_clock_is_ahead(self, date: str, ahead: bool) -> None:
        webserver = Webserver("http://127.0.0.1:9")
        answer = requests.Response()
        answer.headers["Date"] = date
        webserver._compare_clocks(answer)
        told = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
        assert abs(webserver.ahead_s - (told - time.time() if ahead else 0.0)) < 60
