"""The requirements of the project's distributions, as declared in pyproject.toml and as installed here."""

import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parent.parent
DAGSTER_WARM = PROJECT / "packages" / "dagster-warm"
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "dagster-bench": ("bench_orchestrator", "synthetic_locations"),
    "dagster-warm": ("dagster_warm",),
}
"""The import packages of each distribution that is built here."""


def metadata(folder: Path) -> Mapping[str, Any]:
    """Read the `project` table of a distribution's pyproject.toml."""
    project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return project


def requirements(extra: str | None = None) -> list[str]:
    """List what dagster-bench requires: its base, or one extra with those that it includes."""
    project = metadata(PROJECT)
    if extra is None:
        return list(project["dependencies"])
    found: list[str] = []
    for line in project["optional-dependencies"][extra]:
        requirement = Requirement(line)
        if requirement.name == project["name"]:
            found += [each for included in requirement.extras for each in requirements(included)]
        else:
            found.append(line)
    return found


def needed(lines: Iterable[str]) -> Iterator[str]:
    """Yield the names of all direct and indirect requirements in this environment, which requirements.lock pins."""
    waiting = [(Requirement(line), "") for line in lines]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        yield canonicalize_name(requirement.name)
        for wanted in ("", *requirement.extras):
            if (requirement.name, wanted) not in seen:
                seen.add((requirement.name, wanted))
                waiting += [(Requirement(line), wanted) for line in requires(requirement.name) or ()]


def build(folder: Path, wheels: Path) -> Path:
    """Build the source distribution of a distribution's folder, and from that the wheel, without an index.

    Returns:
        The wheel, next to the source distribution.
    """
    copy = wheels / "sources" / folder.name  # a build writes next to its sources
    project = metadata(folder)
    for name in ("pyproject.toml", "MANIFEST.in", project["readme"], *project["license-files"]):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / name, copy / name)
    for package in (*PACKAGES[project["name"]], "tests"):
        shutil.copytree(folder / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    command: list[str | Path] = [sys.executable, "-m", "build", "--no-isolation", "--outdir", wheels, copy]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = wheels.glob(f"{project['name'].replace('-', '_')}-{project['version']}-*.whl")
    return wheel


def pip_install(folder: Path, *requirements: str | Path) -> Path:
    """Create an empty environment, install the requirements, and return its scripts' folder."""
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / "bin"
    pip: list[str | Path] = [scripts / "python", "-I", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, *requirements], check=True)
    return scripts
