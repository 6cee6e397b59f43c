"""Access to a webserver behind a log-in or with certificates of its own: what each request carries."""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
                name, value = _header(number, line.strip())
                found = {known: kept for known, kept in found.items() if known.lower() != name.lower()} | {name: value}
        if ca_file:
            _check(settings.WEBSERVER_CA_FILE, ca_file, lambda: ssl.create_default_context(cafile=ca_file))
        if key_file:
            if not certificate_file:
                raise AccessError(f"{settings.WEBSERVER_KEY_FILE} needs {settings.WEBSERVER_CERTIFICATE_FILE} too.")
            _check(settings.WEBSERVER_KEY_FILE, key_file, lambda: _load(certificate_file, key_file))
        elif certificate_file:
            _check(settings.WEBSERVER_CERTIFICATE_FILE, certificate_file, lambda: _load(certificate_file))
        return cls(found, ca_file or None, certificate_file or None, key_file or None)

    @property
    def certificate(self) -> str | tuple[str, str] | None:
        """The client's certificate, with its key if that is in another file."""
        if self.certificate_file and self.key_file:
            return self.certificate_file, self.key_file
        return self.certificate_file


def _header(number: int, line: str) -> tuple[str, str]:
    found = _HEADER.fullmatch(line)
    if found is None:
        raise AccessError(f"Line {number} of {settings.WEBSERVER_HEADERS} is not a header. Example: `Name: value`.")
    if found[1].lower() in _SET_BY_THE_CLIENT:
        raise AccessError(f"{settings.WEBSERVER_HEADERS} must not contain {found[1]}, which depends on the request.")
    return found[1], _value(f"The value of {found[1]} in {settings.WEBSERVER_HEADERS}", found[2])


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
