"""URLs as they are shown and recorded: without their credentials."""

import re

_IN_TEXT = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_AUTHORITY_ENDS = re.compile("[/?#]")
_PLACE_ENDS = re.compile("[?#]")
_VALUES = re.compile("(?<==)[^&;#]+")


def without_credentials(text: str) -> str:
    """Return a text with every URL in it as `shown_url` returns it."""
    return _IN_TEXT.sub(lambda found: shown_url(found[0]), text)


def shown_url(url: str) -> str:
    """Return a URL with its user, its password and the values of its query and fragment masked."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    user_information, address = split_user_information(rest)
    place = _PLACE_ENDS.split(address, maxsplit=1)[0]
    return f"{scheme}{separator}{'***@' if user_information else ''}{place}{_mask_values(address[len(place) :])}"


def _mask_values(tail: str) -> str:
    """Mask the values in `?query#fragment`, and a query that names none."""
    if tail.startswith("?") and "=" not in tail:
        return "?***"
    return _VALUES.sub("***", tail)


def split_user_information(rest: str) -> tuple[str, str]:
    """Split what follows a URL's `://` into `user:password`, which may be empty, and all after its `@`.

    Characters of a password that should have been escaped, such as `@` and `/`, count as a part of it.
    """
    authority = _AUTHORITY_ENDS.split(rest, maxsplit=1)[0]
    if "@" not in authority and ":" not in authority:
        return "", rest
    user_information, _, address = rest.rpartition("@")
    return user_information, address


def why_ambiguous(url: str) -> str:
    """Return what to escape in a URL whose user or password ends too early; empty if nothing."""
    user_information, _ = split_user_information(url.partition("://")[2])
    if not re.search("[@/?#]", user_information):
        return ""
    return f"{shown_url(url)!r}: in a user or password, write @ as %40, / as %2F, ? as %3F, # as %23."
