"""Code that a test has checked by `dagster-warm check`."""

import json
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dagster_warm import check

DEFINITIONS = "import dagster as dg\n\ndefs = dg.Definitions()\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, which is on no import path and has a folder of installed packages."""
    site = tmp_path / "site-packages"
    site.mkdir()
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    monkeypatch.delitem(sys.modules, "served", raising=False)  # another test may have launched its own in this process
    return project


def write(path: str | Path, code: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(dedent(code))


def install(package: str, code: str) -> None:
    write(Path("..", "site-packages", package, "__init__.py"), code)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(check.command, arguments)


def run(*arguments: str) -> dict[str, Any]:
    """Check code that can be loaded; return the report."""
    result = invoke(*arguments, "--json")
    assert result.exit_code in (0, 1), result.output
    report: dict[str, Any] = json.loads(result.output)
    return report


def find(code: str, *arguments: str) -> list[tuple[str, str, int | None]]:
    """Check code without definitions of its own; return name, severity and line of each finding."""
    write("served.py", code + "\n" + DEFINITIONS)
    findings = run("-f", "served.py", *arguments)["findings"]
    assert all(one["file"] in ("served.py", None) for one in findings)
    return [(one["name"], one["severity"], one["line"]) for one in findings]


def assert_finds(code: str, *expected: tuple[str, str, int]) -> None:
    found = find(code)
    matches = [
        (fnmatchcase(name, pattern), severity, line)
        for (name, severity, line), (pattern, *_) in zip(found, expected, strict=False)
    ]
    assert matches == [(True, severity, line) for _, severity, line in expected], found
    assert len(found) == len(expected), found
