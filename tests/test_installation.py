"""Both distributions are complete and ready for PyPI; their wheels work in empty environments."""

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from distributions import DAGSTER_WARM, PACKAGES, PROJECT, build, metadata, pip_install
from environments import create_lowest_environment, hold_contract
from packaging.requirements import Requirement
from packaging.version import Version
from postgresql import new_database

from bench_orchestrator import settings

FOLDERS = (PROJECT, DAGSTER_WARM)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Path, Path]:
    """Build the wheel of each distribution's folder, next to its source distribution."""
    target = tmp_path_factory.mktemp("dist")
    return {folder: build(folder, target) for folder in FOLDERS}


def run(home: Path, *command: str | Path, status: int = 0, environment: Mapping[str, str] | None = None) -> str:
    """Run a command like a user outside this project's environment; return its output."""
    done = subprocess.run(
        command,
        cwd=home,
        env={"PATH": "/usr/bin:/bin", "DAGSTER_HOME": str(home), **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def measure(scripts: Path, home: Path) -> None:
    """Make an installed `bench` start a deployment, launch trials in it, and chart them."""
    home.mkdir()
    output = run(home, scripts / "bench", "run", "quick", "--locations", "a10", "--repeats", "1")
    assert "a10" in output
    assert "a10" in run(home, scripts / "bench", "sweeps")
    assert list((home / "results" / "reports").rglob("*.svg"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
class TestTheMetadata:
    def test_it_says_who_and_under_which_license(self, folder: Path) -> None:
        project = metadata(folder)
        assert project["authors"] == [{"name": "dagster-bench contributors"}]
        assert project["license"] == "Apache-2.0"
        assert (folder / "LICENSE").read_text() == (PROJECT / "LICENSE").read_text()
        assert "Apache License" in (folder / "LICENSE").read_text()
        assert "urls" not in project

    def test_its_readme_has_no_link_that_pypi_could_not_follow(self, folder: Path) -> None:
        text = (folder / metadata(folder)["readme"]).read_text()
        targets = re.findall(r"\]\(([^)\s]+)", text) + re.findall(r"(?:src|href)=\"([^\"]+)", text)
        assert [target for target in targets if not target.startswith(("https://", "#"))] == []

    def test_its_changelog_has_its_version_with_a_date(self, folder: Path) -> None:
        (newest, *_) = re.findall(r"^## (.*)$", (folder / "CHANGELOG.md").read_text(), re.MULTILINE)
        assert re.fullmatch(rf"{re.escape(metadata(folder)['version'])}, \d{{4}}-\d\d-\d\d", newest)


def test_dagster_bench_takes_the_dagster_warm_beside_it() -> None:
    lines = metadata(PROJECT)["optional-dependencies"]["local"]
    (required,) = (one for one in map(Requirement, lines) if one.name == "dagster-warm")
    assert required.specifier.contains(Version(metadata(DAGSTER_WARM)["version"]))


class TestTheWheels:
    def test_they_hold_what_their_packages_do_and_nothing_else(self, wheels: Mapping[Path, Path]) -> None:
        for folder, wheel in wheels.items():
            files = (file for name in PACKAGES[metadata(folder)["name"]] for file in (folder / name).rglob("*"))
            expected = {str(file.relative_to(folder)) for file in files if file.is_file()}
            held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
            assert held == {name for name in expected if "__pycache__" not in name}

    def test_the_source_distributions_hold_no_tests(self, wheels: Mapping[Path, Path]) -> None:
        for wheel in wheels.values():
            name, version, *_ = wheel.name.split("-")
            with tarfile.open(wheel.with_name(f"{name}-{version}.tar.gz")) as archive:
                assert [member for member in archive.getnames() if "/tests" in member] == []

    def test_pypi_would_take_and_render_them(self, wheels: Mapping[Path, Path]) -> None:
        files = [file for wheel in wheels.values() for file in wheel.parent.glob(f"{wheel.name.split('-')[0]}-*")]
        assert len(files) == 4
        done = subprocess.run(
            [sys.executable, "-m", "twine", "--no-color", "check", "--strict", *files],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.thorough
class TestInstalledInEmptyEnvironments:
    def test_dagster_bench_alone_has_its_help_and_names_what_else_to_install(
        self, tmp_path: Path, wheels: Mapping[Path, Path]
    ) -> None:
        scripts = pip_install(tmp_path, wheels[PROJECT])
        for command in ("bench", "dagster-bench"):
            assert "Commands:" in run(tmp_path, scripts / command, "--help")
        assert "Usage:" in run(tmp_path, scripts / "bench", "doctor", "--help")
        for command in ("run", "sweeps", "shapes", "warm-server"):
            output = run(tmp_path, scripts / "bench", command, "--help", status=2)
            assert 'pip install "dagster-bench[local]"' in output
        installed = run(tmp_path, scripts / "python", "-m", "pip", "list", "--disable-pip-version-check")
        assert not {"dagster", "numpy", "duckdb", "matplotlib"} & {line.split()[0] for line in installed.splitlines()}

    def test_all_of_dagster_bench_measures_and_uses_postgresql_by_the_plain_scheme(
        self, tmp_path: Path, wheels: Mapping[Path, Path], postgres_server: str
    ) -> None:
        scripts = pip_install(tmp_path, wheels[DAGSTER_WARM], f"{wheels[PROJECT]}[all]")
        measure(scripts, tmp_path / "home")
        storage = f"storage: {{postgres: {{postgres_url: {{env: {settings.POSTGRES_URL}}}}}}}"
        (tmp_path / "dagster.yaml").write_text(storage)
        with new_database(postgres_server) as url:
            assert url.startswith("postgresql://")
            info = run(tmp_path, scripts / "dagster", "instance", "info", environment={settings.POSTGRES_URL: url})
        assert "PostgresEventLogStorage" in info

    def test_all_of_dagster_bench_measures_with_the_lowest_versions_that_it_allows(
        self, tmp_path: Path, wheels: Mapping[Path, Path]
    ) -> None:
        both = [wheels[PROJECT], wheels[DAGSTER_WARM]]
        python = create_lowest_environment(tmp_path, both, "-r", PROJECT / "pyproject.toml", "--extra", "all")
        measure(python.parent, tmp_path / "home")

    def test_dagster_warm_serves_and_launches(self, tmp_path: Path, wheels: Mapping[Path, Path]) -> None:
        scripts = pip_install(tmp_path, wheels[DAGSTER_WARM], "pytest")
        assert "Serve a code location" in run(tmp_path, scripts / "dagster-warm", "--help")
        hold_contract(scripts / "python", tmp_path)

    def test_dagster_warm_serves_and_launches_with_the_lowest_versions_that_it_allows(
        self, tmp_path: Path, wheels: Mapping[Path, Path]
    ) -> None:
        only = [wheels[DAGSTER_WARM]]
        python = create_lowest_environment(tmp_path, only, "-r", DAGSTER_WARM / "pyproject.toml", "pytest>=8")
        hold_contract(python, tmp_path)
