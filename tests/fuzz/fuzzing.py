"""What the fuzz tests share: strange texts, mutated JSON, and the same test with few and with many examples.

`make test` always tries the same few examples; `make test-thorough` many new ones.
"""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

THOROUGH = 20
"""How many times more examples `make test-thorough` tries."""

TEXT = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "a250",
            "a![x](/etc/passwd)",
            "$a$ and $\\frac{",
            "../../x",
            "[red]a[/] :x:",
            "`a|b`\n\n# c",
            "<script>",
            "caf\udce9",
            "\0\x1b[2J\u202e",
            "{0} %s",
            "'; DROP TABLE launches; --",
            "a" * 3_000,
        ]
    ),
    st.text(st.characters(exclude_categories=[]), max_size=12),
)
"""Any text, lone surrogates included, and texts that mean something to one of those who show it."""

NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([10**400, -1, 0, 2**63, 1e308]))

JUNK: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), NUMBERS, TEXT, st.just([]), st.just({}), st.just([{}]), st.just({"a": [None]})
)
"""A value where another was expected."""


# Without the phase that explains a failure, which may take many minutes.
_PHASES = (Phase.generate, Phase.shrink)


def sizes(few: int) -> pytest.MarkDecorator:
    """Run a test with few examples in `make test`, and with many in `make test-thorough`."""
    many = few * THOROUGH
    return pytest.mark.parametrize(
        "limits",
        [
            pytest.param(settings(max_examples=few, derandomize=True, database=None, phases=_PHASES), id="few"),
            pytest.param(
                settings(max_examples=many, database=None, phases=_PHASES), id="many", marks=pytest.mark.thorough
            ),
        ],
    )


def fuzz(limits: settings, *strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], None]:
    """Call the decorated function with examples, now."""

    def call(check: Callable[..., None]) -> None:
        limits(given(*strategies)(check))()

    return call


@st.composite
def mutated(draw: st.DrawFn, valid: Any) -> Any:
    """Draw JSON data that differs from valid data in one to three places."""
    data = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(data))
        if not places:
            return draw(JUNK)
        holder, key = draw(st.sampled_from(places))
        if draw(st.booleans()):
            holder[key] = deepcopy(draw(JUNK))
        else:
            del holder[key]
    return data


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield everything in JSON data that can be replaced, as a container and a key."""
    for key in data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        yield data, key
        yield from _places(data[key])
