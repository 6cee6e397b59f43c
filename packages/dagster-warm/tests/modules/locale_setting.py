"""A locale."""

import locale

locale.setlocale(locale.LC_COLLATE, "C.UTF-8")


def look() -> dict[str, object]:
    return {"locale": locale.setlocale(locale.LC_COLLATE)}
