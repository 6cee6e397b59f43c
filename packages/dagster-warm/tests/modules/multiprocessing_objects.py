"""A lock and a number that processes share."""

import multiprocessing

LOCK = multiprocessing.Lock()
NUMBER = multiprocessing.Value("i", 5)


def look() -> dict[str, object]:
    with LOCK, NUMBER:
        return {"number": NUMBER.value}
