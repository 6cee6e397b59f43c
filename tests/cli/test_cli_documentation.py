"""README's table of commands and the tables of docs/ are complete and correct."""

import re
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from bench_orchestrator import settings
from bench_orchestrator.cli import COMMANDS, main
from bench_orchestrator.scenarios.registry import SCENARIOS

PROJECT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())


def table(page: str, first_column: str) -> Mapping[str, str]:
    """Return the first two columns of a page's table, identified by its first heading."""
    lines = iter((PROJECT / page).read_text().splitlines())
    rows: dict[str, str] = {}
    for line in lines:
        if line.startswith(f"| {first_column} |"):
            next(lines)
            for row in lines:
                if not row.startswith("|"):
                    break
                name, text, *_ = (cell.strip() for cell in row.strip("|").split("|"))
                assert name not in rows
                rows[name] = text
    assert rows, f"{page} has no table of {first_column}s"
    return rows


def test_the_readme_lists_the_commands_with_their_help() -> None:
    assert table("README.md", "command") == {f"`bench {name}`": line for name, line in COMMANDS.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_begins_its_help_with_its_line_in_the_list(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.get_short_help_str(limit=200) == COMMANDS[name]


def test_the_exit_codes_are_those_of_the_help() -> None:
    assert main.help is not None
    codes = re.findall(r"^ +(\d+)  ", main.help, re.MULTILINE)
    assert list(table("docs/commands.md", "exit code")) == codes


def test_each_scenario_is_described() -> None:
    scenarios = table("docs/experiments.md", "scenario")
    experiments = table("docs/experiments.md", "experiment")
    assert set(scenarios) == {f"`{name}`" for name, scenario in SCENARIOS.items() if not scenario.variants}
    assert set(experiments) == {f"`{name}`" for name, scenario in SCENARIOS.items() if scenario.variants}


def test_each_environment_variable_is_described() -> None:
    variables = {
        value
        for name, value in vars(settings).items()
        if name.isupper() and isinstance(value, str) and re.fullmatch("[A-Z_]+", value)
    }
    described = {name for cell in table("docs/configuration.md", "variable") for name in re.findall("`(.+?)`", cell)}
    assert settings.POSTGRES_URL in variables
    assert variables <= described
