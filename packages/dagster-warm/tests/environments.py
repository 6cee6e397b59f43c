"""Virtual environments for tests that need other packages than this project's, and what runs in them."""

import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent
"""The folder of dagster-warm."""
LOCK = PACKAGE.parents[1] / "requirements.lock"


def create_environment(folder: Path, *requirements: str, free: str | None = None) -> Path:
    """Have pip install dagster-warm and these packages, in the versions of the lock file where it has them.

    Args:
        free: packages whose names begin with this are of the versions that the requirements ask for.

    Returns:
        its interpreter.
    """
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pin for pin in _pins() if free is None or not pin.startswith(free)))
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    pip: list[str | Path] = [
        python,
        "-I",
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "-c",
        constraints,
    ]
    # A build writes beside its sources.
    sources = shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("tests", "*.egg-info"))
    subprocess.run([*pip, sources, *requirements], check=True)
    return python


def create_lowest_environment(folder: Path, wheels: Sequence[Path], *arguments: str | Path) -> Path:
    """Install wheels of this project, with the lowest versions that they allow of what they require themselves.

    Args:
        wheels: in one folder.
        arguments: name the requirements for `uv pip install`: `-r pyproject.toml`, say.

    Returns:
        its interpreter.
    """
    python = folder / "venv" / "bin" / "python"
    uv: list[str | Path] = [sys.executable, "-m", "uv", "--quiet", "--no-config"]
    subprocess.run([*uv, "venv", "--python", sys.executable, folder / "venv"], check=True)
    install: list[str | Path] = [*uv, "pip", "install", "--python", python]
    lowest = ["--resolution", "lowest-direct", "--only-binary", ":all:", "--no-sources"]
    subprocess.run([*install, *lowest, "--find-links", wheels[0].parent, *arguments], check=True)
    subprocess.run([*install, "--no-deps", "--reinstall", *wheels], check=True)
    subprocess.run([*uv, "pip", "check", "--python", python], check=True)
    return python


def hold_contract(python: Path, folder: Path) -> None:
    """Run the contract tests, which serve a module and launch runs; AssertionError with their output if one fails.

    Args:
        python: an interpreter with dagster-warm and pytest.
        folder: where to run them.
    """
    # Not the settings and the fixtures of the rest, which needs more than is installed.
    alone: list[str | Path] = ["-c", "/dev/null", "--rootdir", TESTS, "--confcutdir", TESTS, "-p", "no:cacheprovider"]
    done = subprocess.run(
        [python, "-m", "pytest", *alone, TESTS / "test_warm_internals.py", TESTS / "test_warm_command.py"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _pins() -> list[str]:
    lines = LOCK.read_text().splitlines()
    return [line.removesuffix("\\").strip() for line in lines if "==" in line and not line.startswith((" ", "#"))]
