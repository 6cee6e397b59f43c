"""What the project asks pip for is enough: installed without its lock file, it works, on PostgreSQL too."""

import shutil
import subprocess
import venv
from pathlib import Path

import pytest
from postgresql import new_database

from bench_orchestrator import settings

PROJECT = Path(__file__).parent.parent


@pytest.mark.thorough
def test_a_clean_installation_uses_postgresql_by_the_plain_scheme(tmp_path: Path, postgres_server: str) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    scripts = tmp_path / "venv" / "bin"
    pip: list[str | Path] = [scripts / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    project = tmp_path / "project"  # a copy: a build writes beside its sources
    for name in ("bench_orchestrator", "synthetic_locations", "packages/dagster-warm"):
        shutil.copytree(PROJECT / name, project / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, project)
    subprocess.run([*pip, project / "packages" / "dagster-warm", project], check=True)
    subprocess.run([scripts / "bench", "--help"], check=True, stdout=subprocess.DEVNULL)
    (tmp_path / "dagster.yaml").write_text(f"storage: {{postgres: {{postgres_url: {{env: {settings.POSTGRES_URL}}}}}}}")
    with new_database(postgres_server) as url:
        assert url.startswith("postgresql://")
        done = subprocess.run(
            [scripts / "dagster", "instance", "info"],
            env={"PATH": str(scripts), "DAGSTER_HOME": str(tmp_path), settings.POSTGRES_URL: url},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "PostgresEventLogStorage" in done.stdout
