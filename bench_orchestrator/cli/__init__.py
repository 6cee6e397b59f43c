"""The `bench` command: its subcommands and exit codes.

A subcommand is the object `command` of the module of its name in this package, `try_` for `try`. It is imported on
use, so `bench --help` and `bench up` do not load what other commands need.
"""

from collections.abc import Mapping
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click

from bench_orchestrator.cli.failures import ending_in_one_line

COMMANDS: Mapping[str, str] = {
    "try": "Measure launches of your own code, stock and warm.",
    "up": "Start the local deployment and keep it running.",
    "run": "Launch a scenario's trials and report what they took.",
    "gate": "Fail if launches are over a limit or slower than before, for CI.",
    "report": "Print a sweep's table and write its report.",
    "timeline": "Show the launch of a run, stage by stage.",
    "compare": "Compare two sweeps: what got faster or slower.",
    "doctor": "Say where the seconds go in a deployment, and what to do.",
    "exporter": "Serve a deployment's launches as metrics for Prometheus.",
    "advise": "Predict the launch lag at a size and rank the remedies.",
    "sweeps": "List the measured sweeps.",
    "locations": "List the code locations of a deployment.",
    "shapes": "Explain the names of synthetic code locations.",
    "warm-server": "Serve a code location and fork its runs.",
}
"""Each subcommand and its line in `bench --help`, which is also its line in README."""


class LazyGroup(click.Group):
    """A group that imports a subcommand only to run it or to show its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = cmd_name.replace("-", "_") + "_" * iskeyword(cmd_name)
        command: click.Command = import_module(f"{__name__}.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever it raises ends it with one line and an exit code."""
        with ending_in_one_line(ctx):
            return super().invoke(ctx)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure how long Dagster takes from the click to the first line of your code.

    \b
    Examples:
      bench try                       measure launches of the project in this folder
      bench run quick                 measure this machine and write a report
      bench up                        start the deployment of workspace.yaml, for the UI
      bench report                    show the latest sweep again

    \b
    Exit codes:
      0  done
      1  trials failed; gate: over the limit
      2  bad usage
      3  the deployment, its results or a file cannot be used
      4  gate: cannot tell
      130  interrupted
    """
