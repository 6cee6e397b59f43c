"""Errors that stop the bench; each message says what to do."""

from bench_orchestrator.model.text import legible
from bench_orchestrator.model.urls import without_credentials


def one_line(text: str, longest: int = 500) -> str:
    """Return the text in a single legible line, without the credentials of URLs, truncated to `longest` characters."""
    return legible(without_credentials(" ".join(text.split())))[:longest]


class UnusableError(Exception):
    """Something that the bench needs (deployment, webserver, results) cannot be used; the message says what to do."""


class PreflightError(Exception):
    """A sweep cannot begin; the message lists the reasons and the remedies."""
