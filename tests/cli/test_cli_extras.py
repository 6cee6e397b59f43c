"""A command whose extra is not installed prints the line that installs it."""

import ast
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions

import click
import pytest
from click.testing import CliRunner
from distributions import PACKAGES, PROJECT, metadata, needed, requirements
from packaging.utils import canonicalize_name

from bench_orchestrator.cli import main
from bench_orchestrator.cli.extras import EXTRAS, explain_missing

CODE = PACKAGES["dagster-bench"]


def imported() -> set[str]:
    """Return the top-level modules that the project imports from other distributions, anywhere."""
    names: set[str] = set()
    for path in (file for folder in CODE for file in (PROJECT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add((node.module or "").partition(".")[0])
    return names - sys.stdlib_module_names - set(CODE)


owners = cache(packages_distributions)
"""Returns the distributions of each import package that is installed."""


def distributions_of(module: str) -> set[str]:
    return {canonicalize_name(name) for name in owners().get(module, [module.replace("_", "-")])}


@cache
def coming_with(*extras: str | None) -> frozenset[str]:
    """Return the distributions that extras need, directly and indirectly; None is the base."""
    return frozenset(needed(line for extra in extras for line in requirements(extra)))


def test_every_module_that_is_imported_comes_with_the_base_or_is_in_the_table() -> None:
    missing = {module for module in imported() if not distributions_of(module) & coming_with(None)}
    assert missing - set(EXTRAS) == set()


@pytest.mark.parametrize("module", EXTRAS)
def test_each_module_of_the_table_comes_with_its_extra_and_with_no_smaller_one(module: str) -> None:
    assert distributions_of(module) & coming_with(EXTRAS[module])
    smaller = (None,) if EXTRAS[module] == "local" else (None, "local")
    assert not distributions_of(module) & coming_with(*smaller)


def test_the_base_holds_none_of_the_large_ones() -> None:
    large = {"dagster", "duckdb", "matplotlib", "numpy", "scipy", "sqlalchemy", "kubernetes", "grpcio"}
    assert not large & coming_with(None)


def test_all_is_all() -> None:
    extras = set(metadata(PROJECT)["optional-dependencies"]) - {"all"}
    assert set(requirements("all")) == {line for extra in extras for line in requirements(extra)}


@pytest.mark.parametrize(("module", "command"), [("duckdb", "sweeps"), ("dagster", "shapes")])
def test_a_command_without_its_extra_names_the_line_to_type_and_exits_as_bad_usage(module: str, command: str) -> None:
    without = (
        f"import sys; sys.modules[{module!r}] = None; from bench_orchestrator.cli import main; main([{command!r}])"
    )
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'pip install "dagster-bench[local]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_of_no_extra_is_an_error_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ModuleNotFoundError("No module named 'theirs'", name="theirs")

    monkeypatch.setattr(main, "get_command", lambda *_: click.Command("shapes", callback=fail))
    result = CliRunner().invoke(main, ["shapes"])
    assert result.exit_code == 3
    assert "Unexpected ModuleNotFoundError: No module named 'theirs'" in result.stderr
    assert explain_missing(ModuleNotFoundError("of no name")) is None
