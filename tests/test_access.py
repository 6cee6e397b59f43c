"""Headers and certificates are checked when they are read, and no message holds a value."""

from pathlib import Path

import pytest
from certificates import Authority, Issued

from bench_orchestrator import settings
from bench_orchestrator.access import Access, AccessError


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def client(authority: Authority) -> Issued:
    return authority.issue("client")


def test_nothing_is_sent_and_the_systems_authorities_are_trusted_unless_told() -> None:
    assert Access.parse() == Access()
    assert Access.parse(authorization="", headers="", ca_file="", certificate_file="", key_file="") == Access()
    assert Access().certificate is None


def test_headers_are_lines_of_name_and_value() -> None:
    text = "\nDagster-Cloud-Api-Token: user:4f2a:b\n  X-Proxy :  two words \r\n\n"
    assert Access.parse(headers=text).headers == {"Dagster-Cloud-Api-Token": "user:4f2a:b", "X-Proxy": "two words"}
    assert Access.parse(authorization=" Bearer 4f2a\n").headers == {"Authorization": "Bearer 4f2a"}


def test_an_authorization_among_the_headers_takes_the_place_of_the_other() -> None:
    assert Access.parse(authorization="Bearer a", headers="authorization: Bearer b").headers == {
        "authorization": "Bearer b"
    }


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ("X: 1\nsecret", "Line 2 of BENCH_WEBSERVER_HEADERS is not a header"),
        (": secret", "Line 1 of BENCH_WEBSERVER_HEADERS is not a header"),
        ("X Y: secret", "Line 1 of BENCH_WEBSERVER_HEADERS is not a header"),
        ("X: secret\x00", "Line 1 of BENCH_WEBSERVER_HEADERS: the value of X holds a line break"),
        ("X: secret\u2028x", "Line 1 of BENCH_WEBSERVER_HEADERS: the value of X holds a line break"),
        ("Content-Length: 3", "must not be Content-Length"),
    ],
)
def test_what_is_no_header_is_refused_without_its_value(headers: str, message: str) -> None:
    with pytest.raises(AccessError, match=message) as refused:
        Access.parse(headers=headers)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("value", ["Bearer secret\r\nX: y", "Bearer secret\nX: y", "Bearer secret\U0001f600"])
def test_an_authorization_of_two_lines_is_refused_without_its_value(value: str) -> None:
    with pytest.raises(AccessError, match="BENCH_WEBSERVER_AUTHORIZATION holds a line break") as refused:
        Access.parse(authorization=value)
    assert "secret" not in str(refused.value)


def test_certificates_are_pem_files(authority: Authority, client: Issued, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(client.certificate.read_bytes() + client.key.read_bytes())
    assert Access.parse(ca_file=str(authority.file)).ca_file == str(authority.file)
    assert Access.parse(certificate_file=str(both)).certificate == str(both)
    apart = Access.parse(certificate_file=str(client.certificate), key_file=str(client.key))
    assert apart.certificate == (str(client.certificate), str(client.key))


def test_files_that_cannot_be_used_are_named_with_their_variable(
    authority: Authority, client: Issued, tmp_path: Path
) -> None:
    text = tmp_path / "text.pem"
    text.write_text("no PEM")
    certificate, absent = str(client.certificate), str(tmp_path / "absent.pem")
    for arguments, message in (
        ({"ca_file": absent}, f"BENCH_WEBSERVER_CA_FILE: {absent} cannot be read: No such file"),
        ({"ca_file": str(tmp_path)}, f"BENCH_WEBSERVER_CA_FILE: {tmp_path} cannot be read: Is a directory"),
        ({"ca_file": str(text)}, f"BENCH_WEBSERVER_CA_FILE: {text} is not a usable PEM file"),
        ({"certificate_file": str(authority.file)}, "BENCH_WEBSERVER_CERTIFICATE_FILE: .* is not a usable PEM file"),
        ({"key_file": str(client.key)}, "BENCH_WEBSERVER_KEY_FILE needs BENCH_WEBSERVER_CERTIFICATE_FILE"),
        ({"certificate_file": absent}, f"CERTIFICATE_FILE: {absent} cannot be read: No such file"),
        ({"certificate_file": certificate, "key_file": absent}, f"KEY_FILE: {absent} cannot be read: No such file"),
        (
            {"certificate_file": certificate, "key_file": str(client.encrypted_key)},
            f"BENCH_WEBSERVER_KEY_FILE: {client.encrypted_key} is not a usable PEM file",
        ),
        (
            {"certificate_file": certificate, "key_file": str(authority.issue("another").key)},
            "BENCH_WEBSERVER_KEY_FILE: .* is not a usable PEM file: .*MISMATCH",
        ),
    ):
        with pytest.raises(AccessError, match=message) as refused:
            Access.parse(**arguments)
        assert "\n" not in str(refused.value)


def test_the_environment_names_them(authority: Authority, client: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in (
        (settings.WEBSERVER_AUTHORIZATION, "Bearer 4f2a"),
        (settings.WEBSERVER_HEADERS, "X: y"),
        (settings.WEBSERVER_CA_FILE, str(authority.file)),
        (settings.WEBSERVER_CERTIFICATE_FILE, str(client.certificate)),
        (settings.WEBSERVER_KEY_FILE, str(client.key)),
    ):
        monkeypatch.setenv(variable, value)
    assert Access.from_environment() == Access(
        {"Authorization": "Bearer 4f2a", "X": "y"}, str(authority.file), str(client.certificate), str(client.key)
    )
    for variable in settings.WEBSERVER_ACCESS.values():
        monkeypatch.setenv(variable, "")
    assert Access.from_environment() == Access()


def test_no_value_is_in_its_representation() -> None:
    assert "4f2a" not in repr(Access.parse(authorization="Bearer 4f2a"))


def test_further_headers_take_the_place_of_others_of_their_name() -> None:
    access = Access.parse(authorization="Bearer a", headers="X: 1")
    assert access.with_headers(["authorization: Bearer b", " Y : 2 "]).headers == {
        "X": "1",
        "authorization": "Bearer b",
        "Y": "2",
    }
    assert access.with_headers([]) == access


@pytest.mark.parametrize("line", ["secret", "X: secret\n", "X Y: secret", "Content-Type: secret"])
def test_a_further_header_that_is_none_is_refused_without_its_value(line: str) -> None:
    with pytest.raises(AccessError, match="A header") as refused:
        Access.parse().with_headers([line + "\0"])
    assert "secret" not in str(refused.value)
