"""How many examples a property test tries whose examples are dear. The profiles are in `conftest`."""

from hypothesis import settings

_LEAST = 5


def fewer(times: int) -> settings:
    """Try so many times fewer examples than other tests do."""
    return settings(max_examples=max(_LEAST, settings().max_examples // times))
