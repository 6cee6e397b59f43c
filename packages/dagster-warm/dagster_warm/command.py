"""The command line: the options of `dagster api grpc` and `dagster code-server start`, and a few more."""

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
"""How the server that reloads tells the servers that it starts what the user wants."""

_FORWARDED = {
    "empty_working_directory": "DAGSTER_EMPTY_WORKING_DIRECTORY",
    "enable_metrics": "DAGSTER_ENABLE_SERVER_METRICS",
}
"""Options of `dagster api grpc` that `dagster code-server start` does not have, as its servers read them."""

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
        help="What to do about code that holds threads or connections once it is imported: launch its runs the stock "
        "way, or report an error.",
    ),
    click.Option(
        ["--accept"],
        multiple=True,
        metavar="PATTERN",
        help="A thread or connection that is known to do no harm, as the message names it; * matches anything. "
        "Repeatable.",
    ),
    click.Option(
        ["--after-fork"],
        multiple=True,
        metavar="MODULE:FUNCTION",
        help="Called first in every forked process, for instance to connect again. Repeatable.",
    ),
    click.Option(
        ["--warm-steps/--cold-steps"],
        default=True,
        show_default=True,
        help="Whether multiprocess executors fork their steps as well.",
    ),
    click.Option(["--strict"], is_flag=True, help="Refuse a Dagster that is older or newer than those tested."),
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
    """Pass everything on to a server, and replace that on a reload, as `dagster code-server start` does."""
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
    """Have Dagster's servers in this process launch their runs warm."""
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
    """End on SIGTERM also where SIGINT is ignored, as in a script's `command &`: Dagster handles both alike."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _listener(inherited: str) -> Listener:
    listening, lifeline, address = inherited.split(",", 2)
    return Listener(socket.socket(fileno=int(listening)), Path(address), int(lifeline))


def _call(dagster_command: click.Command, options: Mapping[str, Any]) -> None:
    """Call one of Dagster's commands with those of the options that it has."""
    assert dagster_command.callback is not None
    names = {parameter.name for parameter in dagster_command.params}
    dagster_command.callback(**{name: value for name, value in options.items() if name in names})


def _check_version(*, strict: bool) -> None:
    if internals.is_supported(dg.__version__):
        return
    oldest, newest = internals.TESTED[0], internals.TESTED[-1]
    message = f"The warm server was tested with Dagster {oldest} to {newest}, and this is {dg.__version__}."
    if strict:
        raise click.ClickException(message)
    click.echo(f"{message} It may not work.", err=True)


def _union() -> list[click.Parameter]:
    """Return the options of both of Dagster's commands; `dagster api grpc` defines those that both have."""
    options = {parameter.name: parameter for parameter in internals.start_command.params}
    options |= {parameter.name: parameter for parameter in internals.grpc_command.params}
    return list(options.values())


command = click.Command(
    "dagster-warm",
    callback=_serve,
    params=[*_OWN, *_union()],
    context_settings={"auto_envvar_prefix": "DAGSTER_CLI_API_GRPC"},  # as Dagster's: its Helm chart relies on that
    help="""Serve a code location and fork its runs.

    Runs and steps are forked from a process that holds the definitions. Takes the options of `dagster api grpc` and of
    `dagster code-server start`, and replaces them: in workspace.yaml it is a plain `grpc_server`.

    \b
    Examples:
      dagster-warm -m my_project.definitions -p 4000
      dagster-warm -f definitions.py -h 0.0.0.0 -p 3030 --on-hazard refuse
    """,
)


def main() -> None:
    """Run the command, or the command of Dagster's that the arguments name.

    Dagster's Helm chart gives a container such arguments, so this can be the entry point of its image. Commands that
    serve a code location serve it warm; all others are passed on to Dagster.
    """
    match sys.argv[1:]:
        case ["api", "grpc", *arguments]:  # from a server that reloads
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
