"""The command line: the options of `dagster api grpc` and `dagster code-server start`, plus dagster-warm's."""

import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
import dagster as dg

from dagster_warm import internals
from dagster_warm.servicer import LISTENER_VARIABLE, Options, WarmApiServer, Warmth
from dagster_warm.template import Listener

OPTIONS_VARIABLE = "DAGSTER_WARM_OPTIONS"
"""Passes the user's options from the reloading server to the servers that it starts."""

_FORWARDED = {
    "empty_working_directory": "DAGSTER_EMPTY_WORKING_DIRECTORY",
    "enable_metrics": "DAGSTER_ENABLE_SERVER_METRICS",
}
"""Options of `dagster api grpc` only, with the environment variables that `dagster code-server start` passes on."""

_PORT_VARIABLES = ("PORT", "SOCKET", "HOST", "MAX_WORKERS")

_OWN = (
    click.Option(
        ["--reload/--no-reload"],
        default=True,
        show_default=True,
        help="Whether a reload from the UI loads the code again, as with `dagster code-server start`, or does nothing, "
        "as with `dagster api grpc`.",
    ),
    click.Option(
        ["--on-hazard"],
        type=click.Choice(["stock", "refuse"]),
        default="stock",
        show_default=True,
        help="What to do if importing the code leaves threads or connections open: launch its runs the stock way, or "
        "report an error.",
    ),
    click.Option(
        ["--accept"],
        multiple=True,
        metavar="PATTERN",
        help="A thread or connection known to be harmless, as named in the message; * matches anything. Repeatable.",
    ),
    click.Option(
        ["--after-fork"],
        multiple=True,
        metavar="MODULE:FUNCTION",
        help="Function to call first in every forked process, for instance to reconnect. Repeatable.",
    ),
    click.Option(
        ["--warm-steps/--cold-steps"],
        default=True,
        show_default=True,
        help="Whether multiprocess executors also fork their steps.",
    ),
    click.Option(["--strict"], is_flag=True, help="Refuse Dagster releases older or newer than the tested ones."),
)


def _serve(
    reload: bool,
    on_hazard: str,
    accept: tuple[str, ...],
    after_fork: tuple[str, ...],
    warm_steps: bool,
    strict: bool,
    **dagster_options: Any,
) -> None:
    _check_version(strict=strict)
    options = Options(on_hazard == "refuse", accept, after_fork, warm_steps)
    if reload and LISTENER_VARIABLE not in os.environ:
        _serve_reloading(options, dagster_options)
    else:
        _serve_once(options)
        _call(internals.grpc_command, dagster_options)


def _serve_reloading(options: Options, dagster_options: Mapping[str, Any]) -> None:
    """Serve through a proxy that replaces its server on a reload, as `dagster code-server start` does."""
    _heed_signals()
    os.environ[OPTIONS_VARIABLE] = json.dumps(asdict(options))
    for name, variable in _FORWARDED.items():
        if dagster_options[name]:
            os.environ[variable] = "1"
    for name in _PORT_VARIABLES:
        os.environ.pop(f"DAGSTER_GRPC_{name}", None)
    internals.proxy_to(lambda executable: [executable, "-m", __package__])
    _call(internals.start_command, dagster_options)


def _serve_once(options: Options) -> None:
    """Make the Dagster server in this process launch its runs warm."""
    _heed_signals()
    inherited = os.environ.pop(LISTENER_VARIABLE, None)
    warmth = Warmth(
        options,
        command=[sys.executable, *sys.orig_argv[1:]],
        replaces=_listener(inherited) if inherited else None,
        logger=logging.getLogger("dagster.code_server"),
    )
    internals.serve_with(partial(WarmApiServer, warmth=warmth))


def _heed_signals() -> None:
    """Exit on SIGTERM even if SIGINT is ignored, as in a script's `command &`: Dagster handles both alike."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _listener(inherited: str) -> Listener:
    listening, lifeline, address = inherited.split(",", 2)
    return Listener(socket.socket(fileno=int(listening)), Path(address), int(lifeline))


def _call(dagster_command: click.Command, options: Mapping[str, Any]) -> None:
    """Call a Dagster command with the options that it supports."""
    assert dagster_command.callback is not None
    names = {parameter.name for parameter in dagster_command.params}
    dagster_command.callback(**{name: value for name, value in options.items() if name in names})


def _check_version(*, strict: bool) -> None:
    if internals.is_supported(dg.__version__):
        return
    oldest, newest = internals.TESTED[0], internals.TESTED[-1]
    message = f"The warm server was tested with Dagster {oldest} to {newest}, but this is {dg.__version__}."
    if strict:
        raise click.ClickException(message)
    click.echo(f"{message} It may not work.", err=True)


def _union() -> list[click.Parameter]:
    """Merge the options of both Dagster commands; `dagster api grpc` defines the shared ones."""
    options = {parameter.name: parameter for parameter in internals.start_command.params}
    options |= {parameter.name: parameter for parameter in internals.grpc_command.params}
    return list(options.values())


command = click.Command(
    "dagster-warm",
    callback=_serve,
    params=[*_OWN, *_union()],
    context_settings={"auto_envvar_prefix": "DAGSTER_CLI_API_GRPC"},  # Dagster's prefix; its Helm chart sets these
    help="""Serve a code location and fork its runs.

    Forks runs and steps from a process that holds the definitions. Replaces `dagster api grpc` and
    `dagster code-server start` and takes their options. In workspace.yaml it is a plain `grpc_server`.

    \b
    Examples:
      dagster-warm -m my_project.definitions -p 4000
      dagster-warm -f definitions.py -h 0.0.0.0 -p 3030 --on-hazard refuse
    """,
)


def main() -> None:
    """Run dagster-warm, or the Dagster command that the arguments name.

    Dagster's Helm chart passes full `dagster …` commands to containers, so this can be the entry point of an image.
    Commands that serve a code location serve it warm; all others go to Dagster unchanged.
    """
    match sys.argv[1:]:
        case ["check", *arguments]:
            from dagster_warm.check import command as check  # no server needs it

            check.main(args=arguments, prog_name="dagster-warm check")
        case ["api", "grpc", *arguments]:  # from a reloading server
            _serve_once(Options(**json.loads(os.environ.get(OPTIONS_VARIABLE, "{}"))))
            internals.grpc_command.main(args=arguments, prog_name="dagster api grpc")
        case ["dagster", "api", "grpc", *arguments]:
            command.main(args=["--no-reload", *arguments], prog_name="dagster api grpc")
        case ["dagster", "code-server", "start", *arguments]:
            command.main(args=["--reload", *arguments], prog_name="dagster code-server start")
        case ["dagster", *arguments]:
            os.execv(sys.executable, [sys.executable, "-m", "dagster", *arguments])
        case _:
            command.main()
