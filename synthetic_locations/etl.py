"""An extract–transform–load job in three forms that do the same work, in different orders.

`split` writes the orders to a CSV file and hands out the batches. Each batch then goes through its stages: `extract`
reads its rows, each `transform_<n>` computes, and `load` checks the sum and reports a materialization.

- `etl_static`: an op for every stage of every batch, wired when the job is defined.
- `etl_dynamic`: the stages are mapped over a dynamic output.
- `etl_prioritised`: the same, and each stage has a higher `dagster/priority` than the one before.

How Dagster 1.13 orders the steps (`dagster/_core/execution/plan/active.py`): whenever an executor can start steps, it
sorts those that are ready by the op tag `dagster/priority`, highest first. Among equals, the step that became ready
first is first. All batches become ready with the end of `split`. Without priorities, all of them have therefore begun
before the first one is transformed. With priorities, a step that ends makes its batch's next stage ready before its own
slot is free, and that stage is preferred to beginning another batch. So no more batches are under way than steps run at
once.

All executors ask the same code for their next steps: the multiprocess executor, whose steps the warm server may fork,
for as many as it has free slots, the in-process executor for one. Only an op's tags count here: the same tag of a run
is its priority in the run queue.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from synthetic_locations.kinds import Etl
from synthetic_locations.orders import expected_sum, orders_of, print_orders, read_amounts, transform_amounts
from synthetic_locations.work import Work

PRIORITY_TAG = "dagster/priority"


@dataclass(frozen=True)
class Source:
    """A batch that has not been extracted yet."""

    file: dg.FileHandle
    batch: int
    """Numbers start at 0."""


@dataclass(frozen=True)
class Batch:
    """A batch between two of its stages."""

    number: int
    cents: Sequence[int]


def loaded_key(location: str) -> dg.AssetKey:
    """Return the key of the asset that every loaded batch materializes."""
    return dg.AssetKey([location, "loaded"])


def build_etl_jobs(etl: Etl, location: str, work: Work) -> list[dg.JobDefinition]:
    """Return the three forms of the job, which the location's executor executes.

    The file is kept with Dagster's local files, where every step of a run can read it, whatever its process. It is
    never removed: a run can be executed again from its failed step, and a step that removes it would be measured too.
    3,000 rows are 30 kB.

    `load` fails with `dg.Failure` where a batch's sum is wrong. The metadata of a loaded batch are those of
    `Work.perform` with `bench/work` = 1, and `bench/batch`, `bench/rows` and `bench/sum` (cents).
    """
    names = [f"batch_{number:03}" for number in range(etl.batches)]
    stages = _stages(etl, location, work)

    def write(context: dg.OpExecutionContext) -> list[Source]:
        data = print_orders(etl.rows).encode()
        file = context.resources.file_manager.write_data(data, ext="csv")
        return [Source(file, number) for number in range(etl.batches)]

    @dg.op(out={name: dg.Out(Source) for name in names}, required_resource_keys={"file_manager"})
    def split_statically(context: dg.OpExecutionContext) -> Iterator[Any]:
        for name, source in zip(names, write(context), strict=True):
            yield dg.Output(source, output_name=name)

    @dg.op(out=dg.DynamicOut(Source), required_resource_keys={"file_manager"})
    def split_dynamically(context: dg.OpExecutionContext) -> Iterator[dg.DynamicOutput[Source]]:
        for name, source in zip(names, write(context), strict=True):
            yield dg.DynamicOutput(source, mapping_key=name)

    def chain(batch: Any, suffix: str = "", prioritised: bool = False) -> Any:
        for number, (stage, op) in enumerate(stages):
            tags = {PRIORITY_TAG: str(number)} if prioritised else {}
            batch = op.alias(stage + suffix).tag(tags)(batch)
        return batch

    def job(name: str, description: str) -> Callable[[Callable[[], None]], dg.JobDefinition]:
        return dg.job(name=name, description=description, resource_defs={"file_manager": dg.local_file_manager})

    @job("etl_static", "An op for every stage of every batch.")
    def static() -> None:
        split = split_statically.alias("split")()
        for name, batch in zip(names, split if len(names) > 1 else [split], strict=True):
            chain(batch, suffix=f"_{name}")

    @job("etl_dynamic", "Stages mapped over the batches.")
    def dynamic() -> None:
        split_dynamically.alias("split")().map(chain)

    @job("etl_prioritised", "Stages mapped over the batches; a batch that has begun is finished first.")
    def prioritised() -> None:
        split_dynamically.alias("split")().map(lambda batch: chain(batch, prioritised=True))

    return [static, dynamic, prioritised]


def _stages(etl: Etl, location: str, work: Work) -> list[tuple[str, dg.OpDefinition]]:
    """Return the name and op of each stage, in order."""

    @dg.op(required_resource_keys={"file_manager"})
    def extract(context: dg.OpExecutionContext, source: Source) -> Batch:
        work.perform(1)
        with context.resources.file_manager.read(source.file, "r") as file:
            return Batch(source.batch, read_amounts(file, orders_of(etl, source.batch)))

    @dg.op
    def transform(batch: Batch) -> Batch:
        work.perform(1)
        return Batch(batch.number, transform_amounts(batch.cents))

    @dg.op(out=dg.Out(dg.Nothing))
    def load(context: dg.OpExecutionContext, batch: Batch) -> None:
        report = work.perform(1)
        total, expected = sum(batch.cents), expected_sum(etl, batch.number)
        if total != expected:
            raise dg.Failure(f"Batch {batch.number} sums to {total} cents in place of {expected}.", allow_retries=False)
        report |= {"bench/batch": batch.number, "bench/rows": len(batch.cents), "bench/sum": total}
        context.log_event(dg.AssetMaterialization(loaded_key(location), metadata=report))

    transforms = [(f"transform_{number}", transform) for number in range(1, etl.stages - 1)]
    return [("extract", extract), *transforms, ("load", load)]
