"""The connection of a command to a deployment's webserver."""

import click

from bench_orchestrator.access import Access
from bench_orchestrator.webserver import BadUrlError, Webserver


def connect(url: str) -> Webserver:
    """Return a client for a webserver, with the headers and certificates of the environment.

    Raises:
        UsageError: the URL cannot be that of a webserver.
        AccessError: a header or a certificate cannot be used.
    """
    try:
        return Webserver(url, Access.from_environment())
    except BadUrlError as error:
        raise click.UsageError(str(error)) from error
