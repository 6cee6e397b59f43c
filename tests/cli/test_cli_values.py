"""Numbers given to commands are finite and bounded, paths are paths; else one line says so, with exit code 2."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bench_orchestrator.cli import COMMANDS, main
from bench_orchestrator.cli.values import Duration, Output, Percentage
from bench_orchestrator.model.bounds import LONGEST_S

UNUSABLE = ("inf", "-inf", "Infinity", "nan", "1e308", "1e400", "-1", "9" * 400, "9" * 5_000, "", "ten")


def numeric_options() -> Iterator[tuple[str, str]]:
    """Yield each command with each of its options that takes a number."""
    for name in COMMANDS.keys() - {"warm-server"}:  # its options are those of Dagster's own server
        command = main.get_command(click.Context(main), name)
        assert command is not None
        for option in command.params:
            assert option.type not in (click.INT, click.FLOAT), f"{name} {option.opts[0]} has no bounds"
            if isinstance(option.type, (click.IntRange, click.FloatRange, Duration, Percentage)):
                yield name, option.opts[0]


def test_there_are_options_that_take_numbers() -> None:
    assert {
        ("run", "--timeout"),
        ("gate", "--max-lag"),
        ("gate", "--max-regression"),
        ("advise", "--assets"),
        ("up", "--port"),
    } <= {*numeric_options()}


@pytest.mark.parametrize(("command", "option"), sorted(numeric_options()))
@pytest.mark.parametrize("value", UNUSABLE, ids=lambda value: value[:9] or "nothing")
def test_what_is_no_number_within_bounds_is_refused_with_one_line(command: str, option: str, value: str) -> None:
    argument = ["quick"] if command == "run" else []
    result = CliRunner().invoke(main, [command, *argument, f"{option}={value}"])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert option in error
    assert result.stderr.endswith(f"{error}\n")


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("500ms", 0.5), ("2min", 120), (".5", 0.5), ("1440m", LONGEST_S)]
)
def test_durations_are_read_in_their_units(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["1441m", "9" * 400 + "s"])
def test_a_duration_of_more_than_a_day_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is longer than a day"):
        Duration().convert(text, None, None)


@pytest.mark.parametrize("option", [Output(), Output(folder=True)])
def test_where_to_write_is_a_path(option: Output) -> None:
    assert option.convert("new/place", None, None) == Path("new/place")
    with pytest.raises(click.BadParameter, match="null character"):
        option.convert("a\0b", None, None)
