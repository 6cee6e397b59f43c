"""The shell recipe of docs/ci.md, on a project whose second revision takes longer to load."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytestmark = pytest.mark.thorough

PROJECT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
RECIPE = PROJECT / "docs" / "ci" / "gate.sh"

CODE = """
import time
from pathlib import Path

import dagster as dg

time.sleep({})

@dg.asset
def orders() -> None:
    Path("executed").touch()

defs = dg.Definitions([orders])
"""
SLOWDOWN_S = 6


def run(folder: Path, *command: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a command in the project, with `bench` on the path and a folder of its own for what is temporary."""
    scripts = folder.parent / "bin"
    return subprocess.run(
        command,
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{scripts}:{os.environ['PATH']}",
            "TMPDIR": str(folder.parent / "temporary"),
            "GIT_CONFIG_GLOBAL": os.devnull,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Create a repository with three revisions: the second takes longer to load, the third is as the second."""
    for name in ("shop", "bin", "temporary"):
        (tmp_path / name).mkdir()
    bench = tmp_path / "bin" / "bench"
    bench.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m bench_orchestrator "$@"\n')
    bench.chmod(0o755)
    folder = tmp_path / "shop"
    (folder / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "shop"\n')
    git = ("git", "-c", "user.name=shop", "-c", "user.email=shop@example.com")
    assert run(folder, *git, "init", "--quiet").returncode == 0
    for revision, seconds in enumerate((0, SLOWDOWN_S, SLOWDOWN_S)):
        (folder / "shop.py").write_text(CODE.format(seconds) + f"# revision {revision}\n")
        assert run(folder, *git, "add", "--all").returncode == 0
        assert run(folder, *git, "commit", "--quiet", "--message", f"revision {revision}").returncode == 0
    return folder


def test_a_slower_revision_fails_and_nothing_is_left(project: Path) -> None:
    done = run(project, "sh", RECIPE, "HEAD~2", "--project", "--trials", "6")
    assert done.returncode == 1, done.stderr
    (failure,) = ET.parse(project / "gate.xml").iter("failure")
    assert failure.get("type") == "over"
    assert (project / "gate.md").read_text().startswith("### Launches: failed")
    assert list((project.parent / "temporary").iterdir()) == []
    assert run(project, "git", "worktree", "list").stdout.count("\n") == 1
    assert not (project / "executed").exists()


def test_an_equal_revision_does_not_fail(project: Path) -> None:
    done = run(project, "sh", RECIPE, "HEAD~1", "--project", "--trials", "6", "--max-startup", "10min")
    assert done.returncode in (0, 4), done.stderr  # on a noisy machine it cannot be told
    assert [one.get("name") for one in ET.parse(project / "gate.xml").iter("testcase")] == [
        "startup time under 600 s",
        "startup time under 1.1 \N{MULTIPLICATION SIGN} that of the base",
    ]
