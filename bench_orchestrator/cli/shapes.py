"""`bench shapes`: how a generated code location is named, and what a name means."""

import json
from dataclasses import asdict

import click
from rich.table import Table

from bench_orchestrator.cli.console import open_console
from synthetic_locations.catalog import LOCATIONS
from synthetic_locations.shape import GRAMMAR, Shape, parse_shape


@click.command(name="shapes")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Show what the names of synthetic code locations mean; without names, those of the catalog.

    Any shape can be launched without writing code: `bench run quick --locations a10,a750`.

    \b
    Examples:
      bench shapes
      bench shapes a500_chain a100p30_daily_checks2
    """
    try:
        shapes = [parse_shape(name) for name in names or LOCATIONS]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        click.echo(json.dumps([{"name": shape.name} | asdict(shape) for shape in shapes]))
        return
    table = Table("shape", "assets", "partitions", "", box=None, header_style="dim")
    for shape in shapes:
        table.add_row(shape.name, f"{shape.assets:,}", f"{shape.partitions:,}", _options(shape))
    console = open_console()
    console.print(table)
    console.print(f"\nGrammar: {GRAMMAR}", markup=False)


def _options(shape: Shape) -> str:
    parts = [
        f"{shape.partitioning} partitions" if shape.partitions else "",
        f"{shape.dependencies} dependencies" if shape.dependencies != "none" else "",
        f"{shape.checks} checks per asset" if shape.checks else "",
        f"{shape.compute_ms} ms of work",
        f"{shape.executor} executor",
    ]
    return ", ".join(filter(None, parts))
