"""Does a generated code location load as fast as a hand-written one of the same size?

    python -m benchmarks.build_locations [--json] [--sizes 100,1000]

Three arms build the same definitions: a hand-written loop of `@dg.asset`, the same loop again (the A/A arm, whose ratio
to the first shows the noise), and `build_definitions`, whose ratio is to the two loops combined. Building covers the
cost of a run worker: the assets, the Definitions, the repository and the implicit asset job. Every build has its own
process; a block is one build of every arm in random order. The figure is the ratio over the blocks with its 95 %
interval. Time is CPU time, which other load affects less. Exits with 1 if even the lower end of an interval exceeds the
limit.
"""

import json
import math
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import click
import dagster as dg
from rich.console import Console
from rich.table import Table

from bench_orchestrator.statistics import paired_ratio
from synthetic_locations.build import build_definitions
from synthetic_locations.process import measure_process
from synthetic_locations.shape import Shape

LIMIT = 1.1
"""The maximum CPU time of a generated location, as a multiple of the hand-written one's."""

BLOCKS = {100: 51, 1_000: 15, 5_000: 11, 20_000: 11}
"""Size (assets) to blocks; the 95 % interval of a median needs at least 6."""
DEFAULT_BLOCKS = 11


def hand_written(assets: int) -> dg.Definitions:
    """Return what a user would write by hand for the default shape."""
    location = f"hand{assets}"
    definitions = []
    for number in range(assets):

        @dg.asset(
            name=f"asset_{number:04}",
            key_prefix=location,
            description=f"Synthetic asset {number} of {assets} in {location}.",
            group_name=f"{location}_{number // 100:03}",
            kinds={"python"},
            tags={"bench/shape": location},
        )
        def synthetic() -> dg.MaterializeResult:  # type: ignore[type-arg]
            measured = measure_process()
            time.sleep(0.1)
            return dg.MaterializeResult(metadata={f"bench/{name}": value for name, value in measured.items()})

        definitions.append(synthetic)
    return dg.Definitions(assets=definitions)


def generated(assets: int) -> dg.Definitions:
    """Return the same location from its shape."""
    return build_definitions(Shape(assets))


ARMS: Mapping[str, Callable[[int], dg.Definitions]] = {
    "hand_written": hand_written,
    "hand_again": hand_written,
    "generated": generated,
}


@dataclass(frozen=True)
class Comparison:
    """An arm compared with the hand-written loops, for one number of assets."""

    assets: int
    arm: str
    blocks: int
    cpu_s: float
    """The arm's median."""
    ratio: float
    low: float
    high: float
    """The ratio's 95 % interval."""


def build_cpu_s(arm: str, assets: int) -> float:
    """Return the CPU seconds that this process takes to build the arm's location, including the asset job."""
    started_s = time.process_time()
    ARMS[arm](assets).resolve_implicit_global_asset_job_def()
    return time.process_time() - started_s


def build_in_new_process_cpu_s(arm: str, assets: int) -> float:
    """Return `build_cpu_s` of a new process.

    Raises:
        subprocess.CalledProcessError: the process failed; its messages are on standard error.
    """
    command = [sys.executable, "-m", "benchmarks.build_locations", "--build", arm, str(assets)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def compare(assets: int, blocks: int, order: random.Random) -> list[Comparison]:
    """Compare the A/A arm with the hand-written loop, and the generated location with both loops."""
    samples_s: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for _ in range(blocks):
        for arm in order.sample(list(ARMS), len(ARMS)):
            samples_s[arm].append(build_in_new_process_cpu_s(arm, assets))
    by_hand = samples_s["hand_written"]
    both = [math.sqrt(one_s * other_s) for one_s, other_s in zip(by_hand, samples_s["hand_again"], strict=True)]
    comparisons = []
    for arm, baseline in (("hand_again", by_hand), ("generated", both)):
        ratio = paired_ratio(samples_s[arm], baseline)
        assert ratio.low is not None
        assert ratio.high is not None
        cpu_s = statistics.median(samples_s[arm])
        comparisons.append(Comparison(assets, arm, blocks, cpu_s, ratio.value, ratio.low, ratio.high))
    return comparisons


def as_table(comparisons: list[Comparison]) -> Table:
    """Return the comparisons as a table for display."""
    table = Table(title=f"CPU time to build a code location, as a multiple of hand-written (limit {LIMIT})")
    for column in ("assets", "arm", "blocks", "CPU s", "ms/asset", "ratio", "95 % interval"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for row in comparisons:
        table.add_row(
            f"{row.assets:,}",
            row.arm.replace("_", " "),
            str(row.blocks),
            f"{row.cpu_s:.3f}",
            f"{row.cpu_s / row.assets * 1000:.2f}",
            f"{row.ratio:.3f}",
            f"{row.low:.3f} to {row.high:.3f}",
        )
    return table


def _sizes(_context: click.Context, _parameter: click.Parameter, text: str) -> list[int]:
    try:
        return [Shape(int(size)).assets for size in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{error}; expected numbers of assets such as 100,1000") from None


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--sizes", default=",".join(map(str, BLOCKS)), callback=_sizes, help="Numbers of assets.")
@click.option("--seed", default=1, help="Seed of the random order.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--build", type=(click.Choice(list(ARMS)), int), hidden=True)
def main(sizes: list[int], seed: int, as_json: bool, build: tuple[str, int] | None) -> None:
    if build is not None:
        click.echo(build_cpu_s(*build))
        return
    order = random.Random(seed)
    comparisons = []
    for assets in sizes:
        comparisons += compare(assets, BLOCKS.get(assets, DEFAULT_BLOCKS), order)
        click.echo(f"{assets:,} assets measured", err=True)
    if as_json:
        click.echo(json.dumps([asdict(comparison) for comparison in comparisons], indent=2))
    else:
        Console().print(as_table(comparisons))
    if any(row.arm == "generated" and row.low > LIMIT for row in comparisons):
        sys.exit(1)


if __name__ == "__main__":
    main()
