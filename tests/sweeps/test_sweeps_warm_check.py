"""Code is loaded once, in a process of its own, and what is wrong with it is told in its own words."""

import sys
from pathlib import Path

import pytest

from bench_orchestrator.deployment import find_code
from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.sweeps.warm_check import check_code

SHOP = "import dagster as dg\nimport os\nTOKEN = os.environ['SHOP_TOKEN']\ndefs = dg.Definitions()\n"


def test_a_missing_variable_is_named_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    (tmp_path / "shop.py").write_text(SHOP)
    outcome = check_code(find_code(tmp_path, file=tmp_path / "shop.py"), tmp_path, tmp_path, 60)
    assert outcome.error == "KeyError: 'SHOP_TOKEN' (shop.py:3)"


def test_the_env_file_and_the_findings(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / ".env").write_text("SHOP_TOKEN=secret\n")
    outcome = check_code(find_code(tmp_path, module="shop"), tmp_path, tmp_path, 60)
    assert outcome.error is None
    assert not outcome.is_cold
    assert [(one.kind, one.file, one.line) for one in outcome.findings] == [("environment", "shop.py", 3)]


def test_a_check_that_fails_itself_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UnusableError, match="shop cannot be checked: it printed nothing"):
        check_code(find_code(tmp_path, module="shop"), tmp_path, tmp_path, 60)


def test_a_name_that_no_command_line_holds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableError, match="holds a null character"):
        check_code(find_code(tmp_path, module="sh\0op"), tmp_path, tmp_path, 60)
