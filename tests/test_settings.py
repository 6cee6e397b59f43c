"""Environment variables are read when needed, and an empty one counts as unset."""

from pathlib import Path

import pytest

from bench_orchestrator import settings
from bench_orchestrator.model.errors import UnusableError


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        settings.WEBSERVER_URL,
        settings.RESULTS_DIR,
        settings.LOCK_WAIT_S,
        settings.MONITOR_LOCATIONS,
        settings.MAX_LAG_S,
        settings.HISTORY_SINCE,
        settings.OBSERVED_LOCATIONS,
        settings.OBSERVE_BENCH,
        "DAGSTER_HOME",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("value", "url"),
    [(None, "http://127.0.0.1:3000"), ("", "http://127.0.0.1:3000"), ("https://d.io/x", "https://d.io/x")],
)
def test_the_webserver_is_the_local_one_unless_told(
    monkeypatch: pytest.MonkeyPatch, value: str | None, url: str
) -> None:
    if value is not None:
        monkeypatch.setenv(settings.WEBSERVER_URL, value)
    assert settings.webserver_url() == url


def test_credentials_are_none_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in settings.WEBSERVER_ACCESS.values():
        monkeypatch.delenv(variable, raising=False)
    assert set(settings.webserver_access().values()) == {None}
    monkeypatch.setenv(settings.WEBSERVER_AUTHORIZATION, "")
    assert settings.webserver_access()["authorization"] is None
    monkeypatch.setenv(settings.WEBSERVER_AUTHORIZATION, "Bearer 4f2a")
    monkeypatch.setenv(settings.WEBSERVER_CA_FILE, "/ca.pem")
    assert {name: value for name, value in settings.webserver_access().items() if value} == {
        "authorization": "Bearer 4f2a",
        "ca_file": "/ca.pem",
    }


def test_results_are_where_told_else_in_the_home_given_else_in_dagster_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert settings.results_directory() == Path("results")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert settings.results_directory() == tmp_path / "results"
    assert settings.results_directory(Path("/elsewhere")) == Path("/elsewhere/results")
    monkeypatch.setenv(settings.RESULTS_DIR, "/told")
    assert settings.results_directory(Path("/elsewhere")) == Path("/told")


def test_the_results_database_is_waited_for_a_minute_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.lock_wait_s() == 60
    monkeypatch.setenv(settings.LOCK_WAIT_S, "2.5")
    assert settings.lock_wait_s() == 2.5


@pytest.mark.parametrize("value", ["abc", "inf", "nan", "-1", "1e308", "9" * 400])
def test_a_wait_that_is_no_number_of_seconds_is_refused_by_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(settings.LOCK_WAIT_S, value)
    with pytest.raises(UnusableError, match=f"^BENCH_LOCK_WAIT_S is '{value[:40]}'; it has to be a number of seconds"):
        settings.lock_wait_s()


@pytest.mark.parametrize(
    ("value", "names"), [(None, ()), ("", ()), ("a10", ("a10",)), (" a10 , a2k,,", ("a10", "a2k")), (",", ())]
)
def test_the_monitors_locations_are_names_with_commas_between(
    monkeypatch: pytest.MonkeyPatch, value: str | None, names: tuple[str, ...]
) -> None:
    if value is not None:
        monkeypatch.setenv(settings.MONITOR_LOCATIONS, value)
    assert settings.monitor_locations() == names


def test_runs_of_all_locations_are_observed_but_not_the_benchs_own_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (settings.observed_locations(), settings.observes_bench()) == ((), False)
    monkeypatch.setenv(settings.OBSERVED_LOCATIONS, "sales=0.1, *")
    monkeypatch.setenv(settings.OBSERVE_BENCH, "1")
    assert (settings.observed_locations(), settings.observes_bench()) == (("sales=0.1", "*"), True)


@pytest.mark.parametrize(("value", "limit_s"), [(None, None), ("", None), ("12.5", 12.5)])
def test_there_is_no_limit_of_the_lag_unless_told(
    monkeypatch: pytest.MonkeyPatch, value: str | None, limit_s: float | None
) -> None:
    if value is not None:
        monkeypatch.setenv(settings.MAX_LAG_S, value)
    assert settings.max_lag_s() == limit_s


def test_a_limit_that_is_no_number_of_seconds_is_refused_by_the_variables_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.MAX_LAG_S, "ten")
    with pytest.raises(UnusableError, match=r"^BENCH_MAX_LAG_S is 'ten'; it has to be a number of seconds"):
        settings.max_lag_s()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 0), ("", 0), ("1970-01-02", 86_400), ("1970-01-01T02:00", 7_200), ("1970-01-01T02:00+01:00", 3_600)],
)
def test_the_history_is_whole_unless_told(monkeypatch: pytest.MonkeyPatch, value: str | None, seconds: int) -> None:
    if value is not None:
        monkeypatch.setenv(settings.HISTORY_SINCE, value)
    assert settings.history_since_us() == seconds * 1_000_000


@pytest.mark.parametrize("value", ["yesterday", "2026-13-01", "1969-01-01", "\x00"])
def test_what_is_no_date_is_refused_by_the_variables_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setattr("os.environ", {settings.HISTORY_SINCE: value})
    with pytest.raises(UnusableError, match=r"^BENCH_HISTORY_SINCE is .*; it has to be a date or a time such as"):
        settings.history_since_us()
