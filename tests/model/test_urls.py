"""No credential of a URL is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.model.errors import one_line
from bench_orchestrator.model.urls import shown_url, why_ambiguous, without_credentials


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host:3000/prefix", "https://host:3000/prefix"),
        ("https://user:secret@host:3000/prefix", "https://***@host:3000/prefix"),
        ("postgresql://user:p%40ss@host:5432/db", "postgresql://***@host:5432/db"),
        ("https://only-a-token@host", "https://***@host"),
        ("https://host/a?token=secret&page=secret#x", "https://host/a?token=***&page=***#x"),
        ("https://host/a#token=secret", "https://host/a#token=***"),
        ("https://host/a#part", "https://host/a#part"),
        ("https://host/a?secret", "https://host/a?***"),
        ("postgresql://u:a/secret@host/db", "postgresql://***@host/db"),
        ("postgresql://u:a?secret@host/db", "postgresql://***@host/db"),
        ("postgresql://u:a#secret@host/db", "postgresql://***@host/db"),
        ("postgresql://u:a@secret@host/db", "postgresql://***@host/db"),
        ("postgresql://u:1/secret@host/db", "postgresql://***@host/db"),
        ("user:secret@host", "***@host"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://host/@user/page", "https://host/@user/page"),
        ("localhost:3000", "localhost:3000"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@given(
    scheme=st.sampled_from(["http", "https", "postgresql", "postgresql+psycopg2"]),
    password=st.text("abcXYZ019@:/?#[]%&=;+", min_size=1),
    query=st.sampled_from(["", "?token=SECRET", "?a=SECRET&b=SECRET#c"]),
)
def test_no_password_is_shown_whatever_it_holds(scheme: str, password: str, query: str) -> None:
    shown = shown_url(f"{scheme}://user:SECRET{password}SECRET@host:3000/path{query}")
    assert "SECRET" not in shown
    assert shown.startswith(f"{scheme}://***@host:3000/path")


def test_every_url_in_a_text_is_shown_so() -> None:
    text = "cannot reach 'http://u:secret@a/x' (see https://docs/x), nor \"postgresql://u:secret@b/c\"; mail me@home"
    assert without_credentials(text) == (
        "cannot reach 'http://***@a/x' (see https://docs/x), nor \"postgresql://***@b/c\"; mail me@home"
    )


def test_the_text_of_an_error_in_one_line_is_masked_before_it_is_cut() -> None:
    assert one_line("no\nanswer from http://user:secret@host", 31) == "no answer from http://***@host"[:31]
    assert "sec" not in one_line("http://user:secret@host", 15)


def test_a_user_or_password_that_ends_too_early_is_named_with_what_to_write() -> None:
    assert why_ambiguous("http://user:p%40ss@host/x") == ""
    assert why_ambiguous("http://host:3000/x") == ""
    for url in ("http://user:p@secret@host", "http://user:p/secret@host", "http://user:p#secret@host"):
        assert why_ambiguous(url) == (
            "'http://***@host': in a user or password, write @ as %40, / as %2F, ? as %3F, # as %23."
        )
