"""The command line: the options of `dagster api grpc` and `dagster code-server start`, plus dagster-warm's."""

import json
import logging
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict
from functools import partial
from typing import Any

import click
import dagster as dg

from dagster_warm import exits, internals
from dagster_warm.proxy import WarmProxy
from dagster_warm.servicer import WarmApiServer
from dagster_warm.template import SUCCESSION_VARIABLE, Succession
from dagster_warm.warmth import Options, Warmth

OPTIONS_VARIABLE = "DAGSTER_WARM_OPTIONS"
"""Passes the user's options from the reloading server to the servers that it starts."""

_FORWARDED = {
    "empty_working_directory": "DAGSTER_EMPTY_WORKING_DIRECTORY",
    "enable_metrics": "DAGSTER_ENABLE_SERVER_METRICS",
}
"""Options of `dagster api grpc` only, with the environment variables that `dagster code-server start` passes on."""

_PORT_VARIABLES = ("PORT", "SOCKET", "HOST", "MAX_WORKERS")

_CODE_SERVER_VARIABLES = "DAGSTER_CLI_CODE_SERVER_START"
"""Prefix of the variables that Dagster derives from `dagster code-server start`."""


def _duration(text: str) -> float:
    """Parse a time span, such as `90`, `90s`, `15m`, `12h` or `1d`; return it in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([smhd]?)", text, re.ASCII)
    if match is None or not float(match[1]):
        raise click.BadParameter(f"{text!r} is not a number of seconds, nor one with s, m, h or d.")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}[match[2]]


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
    click.Option(
        ["--grace", "grace_s"],
        type=click.FloatRange(min=0),
        default=Options.grace_s,
        show_default=True,
        metavar="SECONDS",
        help="How long runs may go on after SIGTERM. Then they are ended with a reason that names the deploy, which "
        "takes up to 10 seconds more.",
    ),
    click.Option(
        ["--max-age", "max_age_s"],
        type=_duration,
        metavar="DURATION",
        help="Renew the template when it is this old, in the background: seconds, or a number with s, m, h or d. The "
        "code is loaded again, and later runs get what it works out at import, such as dates and tokens.",
    ),
    click.Option(["--strict"], is_flag=True, help="Refuse Dagster releases older or newer than the tested ones."),
)
for _option in _OWN:
    _option.envvar = "DAGSTER_WARM_" + _option.opts[0].removeprefix("--").replace("-", "_").upper()

_LOAD_LIMIT = click.Option(
    ["--startup-timeout"],
    type=click.IntRange(min=0),
    default=int(Options.load_limit_s or 0),
    show_default=True,
    envvar="DAGSTER_CODE_SERVER_STARTUP_TIMEOUT",
    metavar="SECONDS",
    help="How long the code may take to load or reload, and a template to be prepared; 0 does not limit it.",
)
"""In place of the option of `dagster code-server start`, which by default waits without limit."""


def _serve(
    reload: bool,
    on_hazard: str,
    accept: tuple[str, ...],
    after_fork: tuple[str, ...],
    warm_steps: bool,
    grace_s: float,
    max_age_s: float | None,
    strict: bool,
    **dagster_options: Any,
) -> None:
    _check_version(strict=strict)
    load_limit_s = dagster_options["startup_timeout"] or None
    options = Options(on_hazard == "refuse", accept, after_fork, warm_steps, grace_s, max_age_s, load_limit_s)
    if reload and SUCCESSION_VARIABLE not in os.environ:
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
    internals.proxy_to(lambda executable: [executable, "-m", __package__], partial(WarmProxy, grace_s=options.grace_s))
    _call(internals.start_command, dagster_options)


def _serve_once(options: Options) -> None:
    """Make the Dagster server in this process launch its runs warm."""
    _heed_signals()
    inherited = os.environ.pop(SUCCESSION_VARIABLE, None)
    warmth = Warmth(
        options,
        command=[sys.executable, *sys.orig_argv[1:]],
        succession=Succession.parse(inherited) if inherited else None,
        logger=logging.getLogger("dagster.code_server"),
    )
    internals.serve_with(partial(WarmApiServer, warmth=warmth))


def _heed_signals() -> None:
    """Exit on SIGTERM even if SIGINT is ignored, as in a script's `command &`: Dagster handles both alike."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _call(dagster_command: click.Command, options: Mapping[str, Any]) -> None:
    """Call a Dagster command with the options that it supports."""
    assert dagster_command.callback is not None
    names = {parameter.name for parameter in dagster_command.params}
    with exits.in_time():
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
    for parameter in internals.grpc_command.params:
        other = options.get(parameter.name)
        if other is not None and other.envvar != parameter.envvar:
            parameter = copy(parameter)
            parameter.envvar = [*_variables(parameter), *_variables(other)]
        options[parameter.name] = parameter
    options["startup_timeout"] = _LOAD_LIMIT
    return list(options.values())


def _variables(parameter: click.Parameter) -> Sequence[str]:
    return [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or []


command = click.Command(
    "dagster-warm",
    callback=_serve,
    params=[*_OWN, *_union()],
    context_settings={"auto_envvar_prefix": internals.GRPC_VARIABLES},
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
    Commands that serve a code location serve it warm; all others run unchanged.
    """
    match sys.argv[1:]:
        case ["check", *arguments]:
            from dagster_warm.check import command as check  # no server needs it

            check.main(args=arguments, prog_name="dagster-warm check")
        case ["api", "grpc", *arguments]:  # from a reloading server
            _serve_once(Options(**json.loads(os.environ.get(OPTIONS_VARIABLE, "{}"))))
            with exits.in_time():
                internals.grpc_command.main(args=arguments, prog_name="dagster api grpc")
        case ["dagster", "api", "grpc", *arguments]:
            command.main(args=["--no-reload", *arguments], prog_name="dagster api grpc")
        case ["dagster", "code-server", "start", *arguments]:
            for name in _PORT_VARIABLES:
                os.environ.pop(f"DAGSTER_GRPC_{name}", None)  # Dagster's command does not read them
            command.main(
                args=["--reload", *arguments],
                prog_name="dagster code-server start",
                auto_envvar_prefix=_CODE_SERVER_VARIABLES,
            )
        case ["dagster", *arguments]:
            os.execv(sys.executable, [sys.executable, "-m", "dagster", *arguments])
        case [other, *_] if not other.startswith("-") and shutil.which(other):
            os.execvp(other, sys.argv[1:])
        case _:
            command.main()
