"""Measures, prints the table, and writes it with its rows."""

import random
import sys
import time
from pathlib import Path

import click
from rich.console import Console

from benchmarks.warm_server import __doc__ as about
from benchmarks.warm_server.measuring import FIGURES, FULL, TINY, Measuring, describe_machine
from benchmarks.warm_server.samples import Execution, Sample


@click.command(help=f"\b\n{about}")
@click.option("--blocks", default=6, show_default=True, help="Samples of each server.")
@click.option("--figure", "names", type=click.Choice(list(FIGURES)), multiple=True, help="Repeatable. Default: all.")
@click.option("--seed", default=1, show_default=True, help="Seed of the orders and of the launched assets.")
@click.option("--tiny", is_flag=True, help="Small locations, to see whether the benchmark works.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the rows and the table to this folder, after each figure.",
)
def main(blocks: int, names: tuple[str, ...], seed: int, tiny: bool, output: Path | None) -> None:
    measuring = Measuring(TINY if tiny else FULL, blocks, random.Random(seed))
    console = Console(stderr=True, highlight=False)
    machine, begun = describe_machine(), time.monotonic()
    samples: list[Sample] = []
    for name in names or FIGURES:
        for sample in FIGURES[name](measuring):
            samples.append(sample)
            took = f"{sample.server} {sample.quantity} {sample.value:.2f}"
            console.print(f"{time.monotonic() - begun:5.0f} s  {name}, block {sample.block}/{blocks}: {took}")
        if output:
            Execution(machine, tuple(samples)).write(output)
    execution = Execution(machine, tuple(samples))
    click.echo(execution)
    for claim in execution.missed:
        click.echo(f"missed: {claim}", err=True)
    sys.exit(1 if execution.missed else 0)


if __name__ == "__main__":
    main()
