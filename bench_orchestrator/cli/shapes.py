"""`bench shapes`: the names of synthetic code locations, and what they mean."""

import json
from dataclasses import asdict

import click
from rich.table import Table

from bench_orchestrator.cli.console import open_console
from synthetic_locations.catalog import LOCATIONS
from synthetic_locations.kinds import Dependencies, Imports, Structure
from synthetic_locations.shape import GRAMMAR, Shape, parse_shape


@click.command(name="shapes")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Explain the names of synthetic code locations.

    Without names, explains those of the catalog. Any shape can be launched without writing code:
    `bench run quick --locations a10,a750`.

    \b
    Examples:
      bench shapes
      bench shapes a500_chain a100p30_daily_checks2
      bench shapes a200_graph10 a3k_spine1k_part2of3
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
    console.print(f"\nGrammar: {GRAMMAR}")


def _options(shape: Shape) -> str:
    parts = [
        f"{shape.partitioning} partitions" if shape.partitions else "",
        _STRUCTURES[shape.structure].format(shape.pieces),
        _DEPENDENCIES[shape.dependencies].format(shape.span),
        f"part {shape.part.number} of {shape.part.of}" if shape.part else "",
        f"{shape.checks} checks per asset" if shape.checks else "",
        f"in {shape.pools} pools" if shape.pools else "",
        f"{shape.compute_ms} ms of work" + (f" × {shape.work_per_asset}" if shape.work_per_asset > 1 else ""),
        _IMPORTS[shape.imports],
        "definitions rebuilt each time" if shape.rebuilt else "",
        "no garbage collection while loading" if shape.nogc else "",
        "schedule and sensor" if shape.triggers else "",
        "single-flight schedule" if shape.singleflight else "",
        f"{shape.executor} executor",
    ]
    return ", ".join(filter(None, parts))


_STRUCTURES = {
    Structure.PLAIN: "",
    Structure.GRAPH: "graphs of {} ops",
    Structure.MULTI: "{} assets per function",
    Structure.FUSED: "{} pieces per asset",
}
_DEPENDENCIES = {
    Dependencies.NONE: "",
    Dependencies.CHAIN: "chain dependencies",
    Dependencies.CHAINS: "chains of {} assets",
    Dependencies.LAYERED: "layered dependencies",
    Dependencies.SPINE: "a spine through every {}th asset",
}
_IMPORTS = {Imports.NONE: "", Imports.TOP: "heavy imports at the top", Imports.LATE: "heavy imports in the assets"}
