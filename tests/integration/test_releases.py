"""The warm server's contract with Dagster holds in every release that it says it supports."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench_orchestrator.warm_server.internals import TESTED

PROJECT = Path(__file__).parents[2]
CONTRACT = Path("tests") / "warm_server"


@pytest.mark.thorough
@pytest.mark.parametrize("release", TESTED)
def test_the_contract_holds(tmp_path: Path, release: str) -> None:
    """In an environment of its own, with Dagster and pytest alone; what they need is as in the lock file."""
    locked = re.findall(r"^(?!dagster)\S+==[^\s;]+", (PROJECT / "requirements.lock").read_text(), re.MULTILINE)
    (tmp_path / "constraints.txt").write_text("\n".join(locked))
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip: list[str | Path] = [python, "-m", "pip", "install", "-q", "-c", tmp_path / "constraints.txt"]
    subprocess.run([*pip, f"dagster=={release}", "pytest"], check=True)
    # Not the settings and the fixtures of the rest, which needs more than is installed.
    alone = f"-c /dev/null --rootdir {CONTRACT} --confcutdir {CONTRACT} -p no:cacheprovider".split()
    tests = [CONTRACT / "test_internals.py", CONTRACT / "test_command.py"]
    done = subprocess.run(
        [python, "-m", "pytest", *alone, *tests],
        cwd=PROJECT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
