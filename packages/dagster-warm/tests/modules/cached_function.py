"""A function whose answers are kept."""

from functools import lru_cache


@lru_cache
def square(number: int) -> int:
    return number * number


square(12)


def look() -> dict[str, object]:
    return {"square": square(12), "hits": square.cache_info().hits}
