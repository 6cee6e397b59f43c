"""Measures, prints the table, and writes it with its rows."""

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console

from bench_orchestrator.model.instants import MICROSECONDS
from benchmarks.click_to_code import __doc__ as about
from benchmarks.click_to_code.arms import USER_TAG, open_arms
from benchmarks.click_to_code.clicks import Click, Execution
from benchmarks.click_to_code.location import CLICKED
from benchmarks.warm_server.measuring import describe_machine
from benchmarks.warm_server.sides import Side
from synthetic_locations.shape import Shape

REST_S, INTERVAL_S = 2.0, 5.0
"""The pause before each request: until what ran before is at rest, and up to one interval of the daemon."""


@click.command(help=f"\b\n{about}")
@click.option("--assets", default=10_000, show_default=True, help="Assets of the code location.")
@click.option("--blocks", default=12, show_default=True, help="Launches in each deployment.")
@click.option("--seed", default=1, show_default=True, help="Seed of the orders and of the pauses.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the rows and the table to this folder.",
)
def main(assets: int, blocks: int, seed: int, output: Path | None) -> None:
    console = Console(stderr=True, highlight=False)
    machine, begun_s = describe_machine(), time.monotonic()
    measured = []
    for one in measure(assets, blocks, random.Random(seed)):
        measured.append(one)
        took = f"{one.to_code_s:.2f} s, {one.queue_wait_s:.2f} s of that in the queue"
        console.print(f"{time.monotonic() - begun_s:5.0f} s  block {one.block}/{blocks}: {one.arm} {took}")
    execution = Execution(machine, tuple(measured))
    if output:
        execution.write(output)
    click.echo(execution)
    for claim in execution.missed:
        click.echo(f"missed: {claim}", err=True)
    sys.exit(1 if execution.missed else 0)


def measure(assets: int, blocks: int, rng: random.Random) -> Iterator[Click]:
    """Launch in blocks, after a warm-up of each deployment."""
    location = Shape(assets).name
    with open_arms(location) as sides:
        for block in range(blocks + 1):
            for side in rng.sample(sides, len(sides)):
                time.sleep(REST_S + rng.uniform(0, INTERVAL_S))
                stages_s = _launch(side, location)
                if block:
                    yield Click(side.name, block, assets, stages_s)


def _launch(side: Side, location: str) -> dict[str, float]:
    """Launch the asset; return the seconds of all stages until its code.

    Raises:
        RuntimeError: the run did not succeed, or its log lacks a stage.
    """
    run_id = side.submit_assets(location, [CLICKED], {USER_TAG: "somebody"})
    side.wait(run_id)
    times = side.times(run_id)
    if times.time_to_code_us is None:
        raise RuntimeError(f"{side.name}: run {run_id} is not complete: {times.warnings}")
    return {
        stage: duration_us / MICROSECONDS for stage, duration_us in times.stages_us.items() if duration_us is not None
    }


if __name__ == "__main__":
    main()
