"""`bench try`, installed from its wheel, in other projects' environments: a scaffold, dbt, and an older Dagster."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from distributions import DAGSTER_WARM, PROJECT, build, pip_install

from bench_orchestrator.scenarios.trying import STOCK, WARM

pytestmark = pytest.mark.thorough

OLDER_DBT = "dbt-core>=1.9,<1.11"
"""Later ones fetch a parser from elsewhere while they are installed."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path | str, ...]:
    """Build the wheels; return what pip installs `dagster-bench[local]` from."""
    target = tmp_path_factory.mktemp("dist")
    return build(DAGSTER_WARM, target), f"{build(PROJECT, target)}[local]"


def bench_try(scripts: Path, project: Path, *arguments: str) -> Mapping[str, Any]:
    """Run the command in the project's folder, and return its answer."""
    done = subprocess.run(
        [scripts / "bench", "try", "--launches", "2", "--json", *arguments],
        cwd=project,
        env={"PATH": f"{scripts}:/usr/bin:/bin", "HOME": str(project.parent)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: Mapping[str, Any] = json.loads(done.stdout)
    assert {side: found["launches"] for side, found in told["sides"].items()} == {STOCK: 2, WARM: 2}
    assert told["waterfalls"][WARM]["template"]["fork_ms"] > 0
    return told


def test_a_scaffold_of_create_dagster(tmp_path: Path, bench: tuple[Path | str, ...]) -> None:
    scripts = pip_install(tmp_path, *bench, "create-dagster", "dagster-dg-cli")
    subprocess.run([scripts / "create-dagster", "project", "shop", "--no-uv-sync"], cwd=tmp_path, check=True)
    project = tmp_path / "shop"
    for kind, file in (("asset", "orders.py"), ("sensor", "watch.py"), ("schedule", "hourly.py")):
        command: list[Path | str] = [scripts / "dg", "scaffold", "defs", f"dagster.{kind}", file]
        subprocess.run(command, cwd=project, check=True, env={"PATH": f"{scripts}:/usr/bin:/bin"})
    told = bench_try(scripts, project)  # which is not installed: dg imports it from src
    assert (told["code"], told["assets"]) == ("shop", 1)


def test_a_dbt_project(tmp_path: Path, bench: tuple[Path | str, ...]) -> None:
    """Try the starter project of dbt, in the scaffold of dagster-dbt."""
    scripts = pip_install(tmp_path, *bench, "dagster-dbt", "dbt-duckdb", OLDER_DBT)
    (starter,) = scripts.parent.glob("lib/*/site-packages/dbt/include/starter_project")
    dbt = tmp_path / "dbt_shop"
    shutil.copytree(starter, dbt)
    settings = dbt / "dbt_project.yml"
    settings.write_text(settings.read_text().replace("{project_name}", "shop").replace("{profile_name}", "shop"))
    (dbt / "profiles.yml").write_text(
        "shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb}}}\n",
    )
    environment = {"PATH": f"{scripts}:/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run([scripts / "dbt", "parse", "--quiet"], cwd=dbt, env=environment, check=True)
    scaffold: list[Path | str] = [scripts / "dagster-dbt", "project", "scaffold", "--project-name", "shop"]
    scaffold += ["--dbt-project-dir", dbt]
    subprocess.run(scaffold, cwd=tmp_path, env=environment, check=True)
    told = bench_try(scripts, tmp_path / "shop")
    assert told["assets"] == 2
    assert not (dbt / "shop.duckdb").exists()


@pytest.mark.parametrize("release", ["1.12.0", "1.12.22"])
def test_an_older_dagster(tmp_path: Path, bench: tuple[Path | str, ...], release: str) -> None:
    scripts = pip_install(tmp_path, *bench, f"dagster=={release}")
    project = tmp_path / "shop"
    project.mkdir()
    (project / "shop.py").write_text(
        "import dagster as dg\n\n@dg.asset\ndef orders(): ...\n\n"
        "@dg.definitions\ndef defs():\n    return dg.Definitions([orders])\n"
    )
    told = bench_try(scripts, project, "-f", "shop.py")
    assert told["assets"] == 1
    assert told["environment"]["dagster"] == release
