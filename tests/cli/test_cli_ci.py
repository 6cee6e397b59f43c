"""What docs/ci.md shows for CI: its commands exist with their options, and the workflow is one."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from bench_orchestrator.cli import main

PROJECT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
WORKFLOW = PROJECT / "docs" / "ci" / "github-actions.yaml"
SCRIPT = PROJECT / "docs" / "ci" / "gate.sh"
PAGE = PROJECT / "docs" / "ci.md"


def steps() -> list[dict[str, Any]]:
    """Return the steps of the workflow's only job."""
    (job,) = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    assert job["runs-on"]
    found: list[dict[str, Any]] = job["steps"]
    return found


def commands() -> Iterator[list[str]]:
    """Yield the words of each command line that begins with `bench`."""
    fences = re.findall(r"```console\n(.+?)```", PAGE.read_text(), re.DOTALL)
    for text in (*(step.get("run", "") for step in steps()), SCRIPT.read_text(), *fences):
        for line in text.replace("\\\n", " ").splitlines():
            if line.startswith("bench "):
                yield shlex.split(line)


def test_there_are_commands_in_the_workflow_the_script_and_the_page() -> None:
    assert len(list(commands())) >= 1 + 1 + 5


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_a_command_exists_with_its_options_and_their_values(words: list[str]) -> None:
    _, name, *arguments = words
    command = main.get_command(click.Context(main), name)
    assert command is not None
    parsed, rest, _ = command.make_parser(click.Context(command)).parse_args(
        [word for word in arguments if word != "$@"]
    )
    assert rest == []
    for option in command.params:
        value = parsed.get(str(option.name))
        if isinstance(value, str) and not isinstance(option.type, click.Path):
            option.type.convert(value, option, None)


def test_each_step_of_the_workflow_runs_or_uses_something() -> None:
    assert all(("run" in step) != ("uses" in step) for step in steps())
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]) for step in steps() if "uses" in step)


def test_the_workflow_shows_and_keeps_the_files_that_its_gate_writes() -> None:
    (gate,) = (step["run"] for step in steps() if "bench gate" in step.get("run", ""))
    written = set(re.findall(r"gate\.\w+", gate))
    (kept,) = (step["with"]["path"] for step in steps() if step.get("uses", "").startswith("actions/upload-artifact"))
    assert written == {"gate.xml", "gate.md"}
    assert all(Path(name).match(kept) for name in written)
    assert any('cat gate.md >> "$GITHUB_STEP_SUMMARY"' in step.get("run", "") for step in steps())


def test_the_base_is_there_to_be_checked_out() -> None:
    (checkout,) = (step for step in steps() if step.get("uses", "").startswith("actions/checkout"))
    assert checkout["with"]["fetch-depth"] == 0
