"""Text from outside: names, ids, messages, and the output of other programs, made safe to store, show and name files.

Nothing of it is trusted, and nothing of it is lost: what could not be stored, or would not be seen, shows its escape.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

_LAYOUT = "\n\t"
_HARMLESS_SEGMENT = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,99}")
_SHOWN_LETTERS = 60
_DIGEST_LETTERS = 16


def legible(text: str) -> str:
    r"""Return the text with what cannot be seen, or not be stored, as its escape: `\x1b`, `\udcff`, `\u202e`.

    These are control characters, lone surrogates (of a file name that is not UTF-8), marks that change the direction
    or take no space, and characters that mean nothing. Line breaks, tabs and spaces of all widths stay. Idempotent.
    """
    return text if text.isprintable() else "".join(map(_escape_unseen, text))


def legible_data(value: Any) -> Any:
    """Return JSON data whose texts, names of entries included, are legible; all else is unchanged."""
    match value:
        case str():
            return legible(value)
        case Mapping():
            return {legible(str(name)): legible_data(entry) for name, entry in value.items()}
        case list() | tuple():
            return [legible_data(entry) for entry in value]
    return value


def path_segment(name: str) -> str:
    """Return the name of a file or folder for any name or id: harmless ones unchanged, others with a digest.

    Different names give different segments, also where the file system ignores case. None is empty, longer than 100
    characters, hidden, or leaves its folder.
    """
    if _HARMLESS_SEGMENT.fullmatch(name):
        return name
    shown = re.sub(r"[^a-z0-9_-]+", "_", name[:_SHOWN_LETTERS].lower()).lstrip("-")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{shown}~{digest[:_DIGEST_LETTERS]}"


def _escape_unseen(character: str) -> str:
    is_seen = character.isprintable() or character in _LAYOUT or unicodedata.category(character) == "Zs"
    return character if is_seen else ascii(character)[1:-1]
