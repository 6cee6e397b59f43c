"""The connection of a command to a deployment's webserver."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from bench_orchestrator.access import Access
from bench_orchestrator.webserver import BadUrlError, Webserver

_Command = TypeVar("_Command", bound=Callable[..., Any])


def connect(url: str, headers: Sequence[str] = (), *, timeout_s: float | None = None) -> Webserver:
    """Return a client for a webserver, with the headers and certificates of the environment.

    Args:
        headers: more of them, `Name: value`, which take the place of the environment's.
        timeout_s: seconds to wait for an answer; None for the client's own number.

    Raises:
        UsageError: the URL cannot be that of a webserver.
        AccessError: a header or a certificate cannot be used.
    """
    access = Access.from_environment().with_headers(headers)
    try:
        return Webserver(url, access) if timeout_s is None else Webserver(url, access, timeout_s)
    except BadUrlError as error:
        raise click.UsageError(str(error)) from error


def access_options(command: _Command) -> _Command:
    """Add the options for credentials; the command gets what they come to as `headers`."""
    told: dict[str, Any] = {"expose_value": False, "callback": _collect, "multiple": True}
    for option in (
        click.option("--header", metavar="'NAME: VALUE'", help="Header of each request; may be repeated.", **told),
        click.option("--basic", metavar="USER:PASSWORD", help="Basic credentials.", **told),
        click.option(
            "--token",
            metavar="TOKEN",
            help="Bearer token. Other users can see command lines: BENCH_WEBSERVER_AUTHORIZATION and "
            "BENCH_WEBSERVER_HEADERS hold secrets, too.",
            **told,
        ),
    ):
        command = option(command)
    return command


def _collect(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> None:
    """Add what an option comes to, to the headers."""
    headers: list[str] = ctx.params.setdefault("headers", [])
    headers.extend(_HEADER_OF[str(param.name)](value) for value in values)


_HEADER_OF: dict[str, Callable[[str], str]] = {
    "header": lambda line: line,
    "token": lambda token: f"Authorization: Bearer {token}",
    "basic": lambda credentials: f"Authorization: Basic {b64encode(credentials.encode(errors='replace')).decode()}",
}
"""The header that each option comes to."""
