"""Access to a webserver behind a log-in or with certificates of its own: what each request carries."""

import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from bench_orchestrator import settings
from bench_orchestrator.model.errors import UnusableError, one_line

_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:\s*(.*)")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_SET_BY_THE_CLIENT = ("content-length", "content-type", "transfer-encoding")


class AccessError(UnusableError):
    """The headers or certificates for a webserver cannot be used; the message never contains a value."""


@dataclass(frozen=True)
class Access:
    """What the requests to a webserver carry."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: str | None = None
    """PEM file of the authorities to trust; None for those of the system."""
    certificate_file: str | None = None
    """PEM file of the client's certificate; its key is in it, or in `key_file`."""
    key_file: str | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """Read it from the environment variables of `settings.WEBSERVER_ACCESS`; raises AccessError."""
        return cls.parse(**settings.webserver_access())

    @classmethod
    def parse(
        cls,
        *,
        authorization: str | None = None,
        headers: str | None = None,
        ca_file: str | None = None,
        certificate_file: str | None = None,
        key_file: str | None = None,
    ) -> Self:
        """Check the settings of the variables of `settings.WEBSERVER_ACCESS`.

        Args:
            authorization: value of the Authorization header.
            headers: one `Name: value` per line.

        Raises:
            AccessError: a header or a file cannot be used.
        """
        found = {"Authorization": _value(settings.WEBSERVER_AUTHORIZATION, authorization)} if authorization else {}
        for number, line in enumerate((headers or "").split("\n"), start=1):
            if line.strip():
                found = _added(found, f"Line {number} of {settings.WEBSERVER_HEADERS}", line.strip())
        if ca_file:
            _check(settings.WEBSERVER_CA_FILE, ca_file, lambda: ssl.create_default_context(cafile=ca_file))
        if key_file:
            if not certificate_file:
                raise AccessError(f"{settings.WEBSERVER_KEY_FILE} needs {settings.WEBSERVER_CERTIFICATE_FILE} too.")
            _check(settings.WEBSERVER_KEY_FILE, key_file, lambda: _load(certificate_file, key_file))
        elif certificate_file:
            _check(settings.WEBSERVER_CERTIFICATE_FILE, certificate_file, lambda: _load(certificate_file))
        return cls(found, ca_file or None, certificate_file or None, key_file or None)

    def with_headers(self, lines: Iterable[str]) -> Self:
        """Return it with these headers, `Name: value`, which take the place of others of the same name.

        Raises:
            AccessError: one of them is not a header.
        """
        headers = dict(self.headers)
        for line in lines:
            headers = _added(headers, "A header", line.strip())
        return replace(self, headers=headers)

    @property
    def certificate(self) -> str | tuple[str, str] | None:
        """The client's certificate, with its key if that is in another file."""
        if self.certificate_file and self.key_file:
            return self.certificate_file, self.key_file
        return self.certificate_file


def _added(headers: Mapping[str, str], where: str, line: str) -> dict[str, str]:
    """Return the headers with the one of a line, in place of another of that name."""
    found = _HEADER.fullmatch(line)
    if found is None:
        raise AccessError(f"{where} is not a header. Example: `Name: value`.")
    if found[1].lower() in _SET_BY_THE_CLIENT:
        raise AccessError(f"{where} must not be {found[1]}, which depends on the request.")
    others = {name: value for name, value in headers.items() if name.lower() != found[1].lower()}
    return others | {found[1]: _value(f"{where}: the value of {found[1]}", found[2])}


def _value(what: str, value: str) -> str:
    if not _VALUE.fullmatch(value.strip()):
        raise AccessError(f"{what} holds a line break, or characters that an HTTP header cannot hold.")
    return value.strip()


def _load(certificate_file: str, key_file: str | None = None) -> None:
    # With a password, an encrypted key fails instead of asking for one on the terminal.
    ssl.create_default_context().load_cert_chain(certificate_file, key_file, password="")


def _check(variable: str, file: str, load: Callable[[], object]) -> None:
    """Read a file and load the certificates; raise AccessError if that fails."""
    try:
        Path(file).read_bytes()
        load()
    except ssl.SSLError as error:
        raise AccessError(f"{variable}: {file} is not a usable PEM file: {one_line(str(error))}") from error
    except OSError as error:
        raise AccessError(f"{variable}: {error.filename or file} cannot be read: {error.strerror}") from error
