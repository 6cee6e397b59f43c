"""Text from outside is legible, storable, and safe as the name of a file."""

import json
from pathlib import PurePosixPath

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bench_orchestrator.model.errors import one_line
from bench_orchestrator.model.text import legible, legible_data, path_segment

ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=40)
"""Also lone surrogates, control characters and characters without a meaning."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ‘quoted’ – 中文 😀", "plain, ‘quoted’ – 中文 😀"),
        (b"caf\xe9.csv".decode("utf-8", "surrogateescape"), "caf\\udce9.csv"),
        ("a\0b\x1b[31m\x7f\x85", "a\\x00b\\x1b[31m\\x7f\\x85"),
        ("\u202efdp.exe\u2066\u200b\ufeff", "\\u202efdp.exe\\u2066\\u200b\\ufeff"),
        ("two\nlines\tand\u00a0a space", "two\nlines\tand\u00a0a space"),
        ("\r\u2028\U000e0041\uffff", "\\r\\u2028\\U000e0041\\uffff"),
    ],
)
def test_what_would_not_be_seen_shows_its_escape(text: str, shown: str) -> None:
    assert legible(text) == shown


@given(ANY_TEXT)
def test_legible_text_is_utf_8_without_control_characters(text: str) -> None:
    shown = legible(text)
    shown.encode()
    assert not any(ord(character) < 32 and character not in "\n\t" for character in shown)
    assert legible(shown) == shown


@given(ANY_TEXT)
def test_one_line_is_one_legible_line(text: str) -> None:
    line = one_line(text)
    assert line.splitlines() in ([], [line])
    assert legible(line) == line


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY_TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
        max_leaves=5,
    )
)
def test_legible_data_is_json_of_the_same_form(data: object) -> None:
    shown = legible_data(data)
    assert json.loads(json.dumps(shown, ensure_ascii=False).encode()) == shown
    assert legible_data(shown) == shown


@given(ANY_TEXT)
def test_a_segment_stays_in_its_folder(name: str) -> None:
    segment = path_segment(name)
    assert PurePosixPath("/results", segment).parent == PurePosixPath("/results")
    assert PurePosixPath(segment).name == segment
    assert not segment.startswith((".", "-"))
    assert len(segment.encode()) <= 100


@given(ANY_TEXT, ANY_TEXT)
def test_different_names_have_different_segments(one: str, other: str) -> None:
    assume(one != other)
    assert path_segment(one).lower() != path_segment(other).lower()


@pytest.mark.parametrize("name", ["quick-1f2e3d4c", "20260714-093000-4f2a", "9d03e6aa-0000-4000-8000-000000000000"])
def test_a_harmless_id_names_its_folder(name: str) -> None:
    assert path_segment(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "../../x", "/etc/passwd", "~", "a" * 300, "A", "a b", "-rf", "x\0y"])
def test_any_other_id_has_a_digest(name: str) -> None:
    assert path_segment(name) != name
    assert "~" in path_segment(name)
