"""What comes from outside is only ever text on the terminal."""

import io

import click
import pytest
from click.testing import CliRunner
from rich.table import Table

from bench_orchestrator import cli
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.model.errors import UnusableError

STRANGE = ":x: [red]a[/red] [/] \x1b[2J\x07 \udce9 \u202egnp.exe"
SHOWN = ":x: [red]a[/red] [/] \\x1b[2J\\x07 \\udce9 \\u202egnp.exe"


@pytest.mark.parametrize("as_table", [False, True])
@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_name_is_shown_as_it_is(is_terminal: bool, as_table: bool) -> None:
    console = open_console()
    written = io.BytesIO()
    console.file = io.TextIOWrapper(written, "utf-8")
    console._force_terminal = is_terminal
    table = Table(STRANGE, box=None)
    table.add_row(STRANGE)
    console.print(table if as_table else STRANGE)
    console.file.flush()
    assert written.getvalue().decode().count(SHOWN) == (2 if as_table else 1)
    assert b"\x1b[2J" not in written.getvalue()


@pytest.mark.parametrize("error", [UnusableError(STRANGE), click.UsageError(STRANGE)])
def test_an_error_is_shown_as_it_is(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: command)
    result = CliRunner().invoke(cli.main, ["up"])
    assert SHOWN in result.output
    assert "\x1b" not in result.output
    assert isinstance(result.exception, SystemExit)
