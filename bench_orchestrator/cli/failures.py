"""What ends a command: one line of text and the exit code, for whatever may be raised."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from bench_orchestrator import settings
from bench_orchestrator.cli.extras import explain_missing
from bench_orchestrator.model.errors import PreflightError, UnusableError, one_line
from bench_orchestrator.model.text import legible

_SERVERS = ("warm-server",)
"""Commands whose output is a log, in which a traceback is worth more than a line."""


class Unusable(click.ClickException):
    """Ends the command with exit code 3: something cannot be used, or went wrong."""

    exit_code = 3


class Interrupted(click.ClickException):
    """Ends the command as shells report an interrupt."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__("interrupted")


@contextmanager
def ending_in_one_line(ctx: click.Context) -> Iterator[None]:
    """Turn whatever the block raises into a message and an exit code; only click's own exceptions pass."""
    try:
        yield
    except click.ClickException as error:
        error.message = legible(error.message)  # type: ignore[misc]  # final for subclasses
        raise
    except (click.exceptions.Exit, click.Abort):
        raise
    except KeyboardInterrupt as error:
        raise Interrupted from error
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (explanation := explain_missing(error)):
            raise click.UsageError(explanation, ctx) from error
        if settings.wants_traceback() or ctx.invoked_subcommand in _SERVERS:
            traceback.print_exception(error)
        _silence_a_broken_output()
        raise Unusable(legible(describe(error))) from error


@contextmanager
def warning_of_failures(what: str) -> Iterator[None]:
    """Run a block whose failure must not change the exit code: a line on standard error tells about it."""
    try:
        yield
    except Exception as error:
        if settings.wants_traceback():
            traceback.print_exception(error)
        _silence_a_broken_output()
        with suppress(OSError):
            click.echo(f"Warning: {what}: {legible(describe(error))}", err=True)


def describe(error: Exception) -> str:
    """Return what is wrong: the error's own message if it is meant for users, else one line."""
    match error:
        case UnusableError() | PreflightError():
            return str(error)
        case FileExistsError(filename=file) if file is not None:
            return f"A file is where a folder is needed: {file}"
        case OSError(strerror=str(reason)):
            return f"{reason}: {error.filename}" if error.filename is not None else reason
        case OSError():
            return one_line(str(error))
        case _:
            return (
                f"Unexpected {type(error).__name__}: {one_line(str(error)) or 'without a message'}. "
                f"Please report it, with what {settings.TRACEBACK}=1 prints."
            )


def _silence_a_broken_output() -> None:
    """Discard what is left in standard output if it cannot be written: its flush would change the exit code."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError), Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
