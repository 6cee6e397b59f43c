"""`dagster-warm check`: loads a code location once, under observation, and reports what does not fit a fork."""

import json
import sys
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from dagster_warm import internals, reads
from dagster_warm.findings import FAULT, KNOWN, NOTICE, Finding
from dagster_warm.loading import Code, Outcome, load
from dagster_warm.own_code import OwnCode

SCHEMA = 1
"""The version of the JSON. It changes when a field changes its meaning or goes."""
EXIT_FOUND = 1
EXIT_NOT_LOADED = 3

_POINTERS = ("module_name", "python_file", "package_name", "autoload_defs_module_name")
_SHOWN = (*_POINTERS, "attribute", "working_directory")
_SHARED = "the value of the last reload, the same for all runs"
_WHY: Mapping[str, str] = {
    reads.SEED: "set at the last reload",
    reads.NETWORK: "asked at the last reload",
    reads.SUBPROCESS: "run at the last reload",
    reads.EXIT_HANDLER: "called for the code server, not for each run",
    reads.OPEN_FILE: "all runs write to it, at one position",
    reads.TEMPORARY_FILE: "the same for all runs",
    reads.LOCK: "every run begins with it held",
}


def as_json(target: str, outcome: Outcome) -> str:
    """Return the outcome in the form that the README describes."""
    return json.dumps({"schema": SCHEMA, "target": target, "is_cold": outcome.is_cold, **asdict(outcome)}, indent=2)


def as_text(target: str, outcome: Outcome) -> str:
    """Return the outcome for people."""
    return "\n".join(_lines(target, outcome))


def _lines(target: str, outcome: Outcome) -> Iterator[str]:
    if outcome.error:
        yield f"{target} cannot be loaded: {outcome.error}"
        return
    faults = sum(one.severity == FAULT for one in outcome.findings)
    counts = [_count(faults, FAULT), _count(len(outcome.findings) - faults, NOTICE)]
    verdict = "is launched cold" if outcome.is_cold else "can be launched warm"
    yield f"{target} {verdict}: {', '.join(filter(None, counts)) or 'nothing found'}."
    if outcome.accepted:
        yield f"{_count(outcome.accepted, NOTICE)} accepted."
    if not outcome.is_complete:
        yield "It loads only as it is written. So its calls were not observed: clock, process id, randomness, seeds."
    for (severity, kind, instead), group in groupby(
        outcome.findings, lambda one: (one.severity, one.kind, one.instead)
    ):
        yield ""
        yield f"{severity}: {kind}" + (f", {_WHY.get(kind, _SHARED)}" if severity == NOTICE else "")
        rows = [(_where(one), one.name.removeprefix(f"{kind} ")) for one in group]
        width = max(len(where) for where, _ in rows)
        yield from (f"  {where:{width}}  {what}" for where, what in rows)
        yield f"  instead: {instead}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}" if number else ""


def _where(finding: Finding) -> str:
    line = f"{finding.file}:{finding.line}" if finding.file else "Dagster"
    return f"{finding.library}, imported by {line}" if finding.library else line


def _check(
    accept: tuple[str, ...], own: tuple[str, ...], fail_on: str, is_json: bool, timeout_s: float, **options: Any
) -> None:
    pointers = [options[name] for name in _POINTERS if options[name]]
    if len(pointers) != 1:
        raise click.UsageError("Name the code to load: one of -m, -f, --package-name, --autoload-defs-module-name.")
    (target,) = pointers
    file = Path(target) if options["python_file"] else None
    packages = {name.partition(".")[0] for name in (*own, *(() if file else (target,)))}
    outcome = load(Code(options, OwnCode(packages, file), accept, timeout_s))
    click.echo((as_json if is_json else as_text)(target, outcome))
    if outcome.error:
        sys.exit(EXIT_NOT_LOADED)
    if outcome.is_cold or (fail_on == NOTICE and outcome.findings):
        sys.exit(EXIT_FOUND)


def _options() -> Iterator[click.Parameter]:
    """Yield the options of `dagster api grpc`, so that a server's arguments can be checked as they are."""
    for parameter in internals.grpc_command.params:
        option = copy(parameter)
        assert isinstance(option, click.Option)
        option.hidden = option.name not in _SHOWN
        yield option


command = click.Command(
    "dagster-warm check",
    callback=_check,
    params=[
        *sorted(_options(), key=lambda option: getattr(option, "hidden", False)),
        click.Option(
            ["--accept"],
            envvar="DAGSTER_WARM_ACCEPT",  # the server's
            multiple=True,
            metavar="PATTERN",
            help="A harmless finding, by name; * matches anything. The server has the same option. Repeatable.",
        ),
        click.Option(
            ["--own"],
            multiple=True,
            metavar="PACKAGE",
            help="An installed package whose code counts as yours, like the one that is loaded. Repeatable.",
        ),
        click.Option(
            ["--fail-on"],
            type=click.Choice([FAULT, NOTICE]),
            default=FAULT,
            show_default=True,
            help="The least finding that makes the exit code 1.",
        ),
        click.Option(["--json", "is_json"], is_flag=True, help="Print the report as JSON."),
        click.Option(
            ["--timeout", "timeout_s"],
            type=click.FloatRange(min=0, min_open=True),
            default=300.0,
            show_default=True,
            metavar="SECONDS",
            help="How long the code may take to load.",
        ),
    ],
    context_settings={"auto_envvar_prefix": internals.GRPC_VARIABLES},
    help=f"""Load a code location once and report what does not fit a fork.

    A fault makes the location cold: a thread, a connection, a GPU or an event loop that is left after the code is
    loaded. A notice is something that all runs share once they are forked: a value that was read from the clock, the
    process id, a generator of random numbers, the environment or the network; a subprocess, an exit handler, a file.
    The comment `{KNOWN}` on a line accepts its notices.

    Exit codes: 0 nothing found, 1 faults (or, with --fail-on notice, anything), 2 wrong usage, 3 the code cannot be
    loaded.

    \b
    Examples:
      dagster-warm check -m my_project.definitions
      dagster-warm check -f definitions.py --fail-on notice --accept "environment *"
    """,
)
