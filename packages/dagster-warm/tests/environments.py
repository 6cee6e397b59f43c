"""Virtual environments for tests that need packages other than this project's."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent
"""The folder of dagster-warm."""
CONTRACT = ("exits", "internals", "shortcuts", "command", "state", "absence", "health", "queue", "waits")
"""The modules whose tests need only Dagster and pytest, and use private API of Dagster or Python."""
LOCK = PACKAGE.parents[1] / "requirements.lock"


def create_environment(
    folder: Path, *requirements: str, free: str | None = None, interpreter: str = sys.executable
) -> Path:
    """Install dagster-warm and these packages with pip, in the lock file's versions where it pins them.

    Args:
        free: name prefix of packages that the lock file does not constrain.
        interpreter: the Python of which it is an environment.

    Returns:
        The environment's interpreter.
    """
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pin for pin in _pins() if free is None or not pin.startswith(free)))
    subprocess.run([interpreter, "-m", "venv", folder / "venv"], check=True)
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
    # A build writes next to its sources.
    sources = shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("tests", "*.egg-info"))
    subprocess.run([*pip, sources, *requirements], check=True)
    return python


def create_lowest_environment(folder: Path, wheels: Sequence[Path], *arguments: str | Path) -> Path:
    """Install wheels of this project with the lowest allowed versions of their direct requirements.

    Args:
        wheels: all in one folder.
        arguments: the requirements for `uv pip install`, such as `-r pyproject.toml`.

    Returns:
        The environment's interpreter.
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
    """Run the contract tests, which serve a module and launch runs; if one fails, raise AssertionError with the output.

    Args:
        python: an interpreter with dagster-warm and pytest.
        folder: the working directory.
    """
    # Ignores the project's pytest settings and fixtures, which need packages that are not installed here.
    alone: list[str | Path] = ["-c", "/dev/null", "--rootdir", TESTS, "--confcutdir", TESTS, "-p", "no:cacheprovider"]
    alone += ["-m", "not thorough"]  # Dagster's own server is the reference in one release
    done = subprocess.run(
        [python, "-m", "pytest", *alone, *(TESTS / f"test_warm_{name}.py" for name in CONTRACT)],
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
