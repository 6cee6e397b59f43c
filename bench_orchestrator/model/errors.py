"""What the bench raises when it cannot go on; each message says what to do."""


def one_line(text: str, longest: int = 500) -> str:
    """A text in a single line, cut off where it is too long."""
    return " ".join(text.split())[:longest]


class UnusableError(Exception):
    """Something that the bench needs (deployment, webserver, results) cannot be used; the message says what to do."""


class PreflightError(Exception):
    """A sweep cannot begin; the message lists why, and what to do."""
