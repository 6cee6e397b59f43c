"""A connection to a webserver: sends a GraphQL document, returns the data of the answer.

Its errors distinguish whether the webserver or its database is unreachable, the credentials are rejected, or a launch
is rejected.
"""

import re
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from bench_orchestrator import settings
from bench_orchestrator.access import Access
from bench_orchestrator.model.errors import UnusableError, one_line
from bench_orchestrator.model.urls import shown_url, why_ambiguous

_GATEWAY_ERRORS = (502, 503, 504)
_NO_DATABASE = re.compile("OperationalError|too many retries for DB connection")
"""Errors of SQLAlchemy, and of dagster-postgres after its retries, for a database that is unreachable, restarting or
out of connections: temporary, and unrelated to the query."""
_REFUSALS = (401, 403)
_REFUSED_CERTIFICATE = re.compile("ALERT_[A-Z_]*(CERTIFICATE|UNKNOWN_CA|HANDSHAKE_FAILURE)")
"""OpenSSL's names of the alerts by which a server refuses a client's certificate, or the lack of one."""

_MISREAD = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What reading an answer raises that has another form than was asked for."""


class WebserverError(UnusableError):
    """The webserver could not execute a request; the message tells what to do."""


class WebserverUnreachableError(WebserverError):
    """No answer: the request may or may not have been executed."""


class DatabaseTroubleError(WebserverUnreachableError):
    """The webserver's database does not answer; the request may have been executed in part."""


class AccessDeniedError(WebserverError):
    """The webserver rejects the credentials."""


class BadUrlError(WebserverError, ValueError):
    """The URL cannot be that of a webserver."""


class LaunchRejectedError(WebserverError):
    """The deployment rejected a launch; no run was created."""


class LocationAwayError(LaunchRejectedError):
    """The location temporarily has no code server; no run was created."""


@dataclass
class Traffic:
    """What a connection has cost its webserver so far."""

    requests: int = 0
    waited_s: float = 0.0
    """Seconds from the requests to their answers, in total."""
    received_bytes: int = 0
    """The size of the answers, unpacked."""


class Connection:
    """A connection to one Dagster webserver, by its URL.

    Args:
        url: URL of the UI, including a path prefix: `http://127.0.0.1:3000`. Its user and password, if it has them,
            are sent as Basic authorization, in place of another Authorization header.
        access: headers and certificates, if the deployment requires them.
        timeout_s: seconds to wait for an answer.

    Raises:
        BadUrlError: the URL cannot be that of a webserver.
    """

    url: str
    """The URL without a slash at the end, and without user and password."""
    traffic: Traffic
    ahead_s: float
    """How far the webserver's clock is ahead of this machine's, in whole seconds; 0 as long as it is not known."""

    def __init__(self, url: str, access: Access | None = None, timeout_s: float = 120) -> None:
        parts = _split(url)
        self.url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        self.headers = CaseInsensitiveDict(access.headers if access else {})
        if parts.username or parts.password:
            credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
            self.headers["Authorization"] = f"Basic {b64encode(credentials.encode()).decode()}"
        self.traffic = Traffic()
        self.ahead_s = 0.0
        self._access = access or Access()
        self._timeout_s = timeout_s
        # Local addresses bypass proxies that the environment may configure.
        self._is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")

    @contextmanager
    def understanding(self) -> Iterator[None]:
        """Raise WebserverError where the block fails to read an answer, whatever a webserver or a proxy sends."""
        try:
            yield
        except _MISREAD as error:
            what = one_line(f"{type(error).__name__}: {error}")
            raise WebserverError(f"The webserver at {self.url} did not answer what it was asked: {what}") from error

    def query(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Execute a GraphQL document and return the answer's data.

        Raises:
            WebserverError: a subclass for each kind of failure; also for a PythonError that the document selects.
        """
        data = self._data(document, variables)
        for answer in data.values():
            if isinstance(answer, Mapping) and answer.get("__typename") == "PythonError":
                raise self._error(f"PythonError: {answer.get('message')}")
        return data

    def _data(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer's data without checking it for a PythonError."""
        began_s = time.monotonic()
        self.traffic.requests += 1
        try:
            with requests.Session() as session:
                session.trust_env = not self._is_local
                if "Authorization" in self.headers:
                    session.auth = _unchanged  # or requests would prefer an entry of ~/.netrc
                response = session.post(
                    f"{self.url}/graphql",
                    json={"query": document, "variables": dict(variables or {})},
                    headers=self.headers,
                    timeout=self._timeout_s,
                    verify=self._access.ca_file or True,
                    cert=self._access.certificate,
                    allow_redirects=False,  # the headers are meant for this host alone
                )
        except requests.RequestException as error:
            raise self._no_answer(error) from error
        finally:
            self.traffic.waited_s += time.monotonic() - began_s
        self.traffic.received_bytes += len(response.content)
        self._compare_clocks(response)
        if response.is_redirect:
            raise WebserverError(
                f"The webserver at {self.url} redirects to {shown_url(response.headers['Location'])}. Use its final "
                f"URL; if that is a log-in, set {settings.WEBSERVER_HEADERS}."
            )
        if response.status_code in _REFUSALS:
            raise AccessDeniedError(
                f"The webserver at {self.url} refuses the credentials (HTTP {response.status_code}). Set "
                f"{settings.WEBSERVER_AUTHORIZATION} to the value of its Authorization header, or "
                f"{settings.WEBSERVER_HEADERS} to other headers."
            )
        if response.status_code in _GATEWAY_ERRORS:
            raise self._unreachable()
        try:
            answer = response.json()
        except (ValueError, RecursionError) as error:
            raise self._error(f"HTTP {response.status_code}, no JSON: {response.text}") from error
        errors, data = (answer.get("errors"), answer.get("data")) if isinstance(answer, dict) else (None, None)
        if errors:
            with self.understanding():
                errors = "; ".join(str(error.get("message", error)) for error in errors)
            raise self._error(errors)
        if not isinstance(data, dict):
            raise self._error(f"HTTP {response.status_code}, no data: {response.text}")
        return data

    def _compare_clocks(self, response: requests.Response) -> None:
        with suppress(*_MISREAD):
            told = parsedate_to_datetime(response.headers["Date"]).timestamp()
            self.ahead_s = float(round(told - time.time()))

    def _no_answer(self, error: requests.RequestException) -> WebserverError:
        """Return the error for a request that failed."""
        said = str(error)
        if untrusted := re.search(r"certificate verify failed: ([^(]*\w)", said):
            return WebserverError(
                f"The certificate of the webserver at {self.url} is not trusted: {untrusted[1]}. Set "
                f"{settings.WEBSERVER_CA_FILE} to the PEM file of the authority that issued it."
            )
        if _REFUSED_CERTIFICATE.search(said):
            return AccessDeniedError(
                f"The webserver at {self.url} refuses the client's certificate, or requires one. Set "
                f"{settings.WEBSERVER_CERTIFICATE_FILE} to its PEM file."
            )
        if broken := re.search(r"([^'\[\]()]+) \(_ssl\.c", said):
            return WebserverUnreachableError(
                f"The TLS connection to the webserver at {self.url} failed: {broken[1].strip()}. If it requires a "
                f"client's certificate, set {settings.WEBSERVER_CERTIFICATE_FILE} to its PEM file."
            )
        return self._unreachable()

    def _unreachable(self) -> WebserverUnreachableError:
        return WebserverUnreachableError(
            f"The webserver at {self.url} does not answer. Start it with `bench up`, or set "
            "BENCH_WEBSERVER_URL to its URL."
        )

    def _error(self, said: str) -> WebserverError:
        """Return the error for an error answer."""
        said = one_line(said)
        if _NO_DATABASE.search(said):
            return DatabaseTroubleError(f"The webserver at {self.url} has trouble with its database: {said}")
        return WebserverError(f"The webserver at {self.url} answered with an error: {said}")


def _split(url: str) -> SplitResult:
    """Split the URL of a webserver; raise BadUrlError, which names it without its credentials, if it is none."""
    if ambiguous := why_ambiguous(url):
        raise BadUrlError(ambiguous)
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and (parts.hostname or "").encode("idna")
        unusable = not named or parts.port == 0
    except ValueError:
        unusable = True
    if unusable:
        raise BadUrlError(f"{shown_url(url)!r} is not the URL of a webserver. Example: http://127.0.0.1:3000")
    if parts.query or parts.fragment:
        raise BadUrlError(
            f"{shown_url(url)!r} must end before the {'?' if parts.query else '#'}. What a proxy wants to know goes "
            f"into {settings.WEBSERVER_HEADERS}."
        )
    return parts


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
