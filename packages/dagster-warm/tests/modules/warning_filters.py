"""Warnings of one kind are errors."""

import warnings


class OldApiWarning(UserWarning):
    pass


warnings.filterwarnings("error", category=OldApiWarning)


def look() -> dict[str, object]:
    try:
        warnings.warn("old", OldApiWarning, stacklevel=1)
    except OldApiWarning:
        return {"is_error": True}
    return {"is_error": False}
