"""Environments of their own, for tests that need other packages than this project's."""

import shutil
import subprocess
import venv
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
"""The folder of dagster-warm."""
LOCK = PACKAGE.parents[1] / "requirements.lock"


def create_environment(folder: Path, *requirements: str, free: str | None = None) -> Path:
    """Install dagster-warm and these packages; what they need is as in the lock file.

    Args:
        free: packages whose names begin with this are of the versions that the requirements ask for.

    Returns:
        its interpreter.
    """
    lines = LOCK.read_text().splitlines()
    pins = [line.removesuffix("\\").strip() for line in lines if "==" in line and not line.startswith((" ", "#"))]
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pin for pin in pins if free is None or not pin.startswith(free)))
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    pip: list[str | Path] = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", constraints]
    # A build writes beside its sources.
    sources = shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("tests", "*.egg-info"))
    subprocess.run([*pip, sources, *requirements], check=True)
    return python
