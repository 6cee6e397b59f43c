"""Flat rows, one per launch, as in the results database, CSV and Parquet. Their texts are legible, and so are UTF-8.

`COLUMNS` declares those of a sweep once, `OBSERVED_COLUMNS` those of observed runs; the tables' definitions, writing,
reading and the catalog's descriptions derive from them.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

from bench_orchestrator.model.launch import Launch, Trial
from bench_orchestrator.model.observed import Observed
from bench_orchestrator.model.stages import Boundary, Stage, StepWorker
from bench_orchestrator.model.text import legible, legible_data

Row = dict[str, str | int | bool | None]

_SQL_TYPES: Mapping[type, str] = {str: "VARCHAR", bool: "BOOLEAN", int: "BIGINT"}


@dataclass(frozen=True)
class Column:
    """A column: a field of a trial or an observed run, or of its launch, or an entry of such a field."""

    name: str
    description: str
    owner: type[Trial] | type[Observed] | type[Launch]
    field: str
    entry: Boundary | Stage | None = None
    """The entry of the field's mapping; None for the whole field."""

    @cached_property
    def kind(self) -> Any:
        """The type of its values, without None."""
        if self.entry is not None:
            return int
        annotation = _annotations(self.owner)[self.field]
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return kinds[0] if self._optional else annotation

    @property
    def required(self) -> bool:
        """Whether every row has a value. A launch that has not ended has its trial's outcome."""
        return self.name == "outcome" or not (self.entry is not None or self._optional)

    @cached_property
    def is_json(self) -> bool:
        """Whether it contains several values, as JSON text."""
        return not isinstance(self.kind, type) or not issubclass(self.kind, (str, int))

    @cached_property
    def sql_type(self) -> str:
        """Its type in CSV and Parquet; only the database's table marks texts as JSON."""
        if self.is_json:
            return "VARCHAR"
        return next(sql for kind, sql in _SQL_TYPES.items() if issubclass(self.kind, kind))

    def encode(self, of: Trial | Observed, launch: Launch) -> str | int | bool | None:
        """Return the column's value in the row of a launch."""
        value = getattr(launch if self.owner is Launch else of, self.field)
        if self.entry is not None:
            return value.get(self.entry)  # type: ignore[no-any-return]
        if self.name == "outcome" and value is None and isinstance(of, Trial):
            value = of.outcome
        if value is not None and self.is_json:
            return json.dumps(legible_data(self._adapter.dump_python(value)), sort_keys=self._named)
        value = value.value if isinstance(value, Enum) else value
        return legible(value) if isinstance(value, str) else value

    def decode(self, value: Any) -> Any:
        """Return the field's value, given the row's value."""
        if value is None or self.entry is not None:
            return value
        if not self.is_json:
            return self.kind(value)
        values = json.loads(value)
        return values if self._named else self._adapter.validate_python(values)

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.kind)

    @cached_property
    def _optional(self) -> bool:
        return type(None) in get_args(_annotations(self.owner)[self.field])

    @cached_property
    def _named(self) -> bool:
        """Whether it contains values by name, in any order."""
        return get_args(self.kind)[:1] == (str,) and get_origin(self.kind) is Mapping


def _trial(name: str, description: str, field: str = "") -> Column:
    return Column(name, description, Trial, field or name)


def _launch(name: str, description: str, field: str = "") -> Column:
    return Column(name, description, Launch, field or name)


COLUMNS: Sequence[Column] = (
    _trial("sweep_id", "The sweep"),
    _trial("trial", "The trial's number in its sweep, from 1", "number"),
    _trial("scenario", "What the sweep is about"),
    _trial("variant", "The side of the comparison"),
    _trial("location", "The code location launched in"),
    _trial("asset_count", "Assets in the location"),
    _trial("partition_count", "Partitions of the chosen assets; 0 if they have none"),
    _trial("block", "Blocks launch each variant once; warm-up blocks come first"),
    _trial("warmup", "Whether the statistics leave it out"),
    _trial("asset_key", "The first of the assets selected"),
    _trial("partition_key", "The partition, or the first partition of a range"),
    _launch("outcome", "ok, rejected, failed, canceled, timed_out, lost"),
    _launch("reason", "The reason for an outcome other than ok, in one line"),
    _launch("run_id", "The run; null if there was none"),
    _launch("executor", ", ".join(StepWorker)),
    *(
        Column(f"{boundary}_at_us", f"Instant in the run's log: {boundary}", Launch, "at_us", boundary)
        for boundary in Boundary
    ),
    _launch("ended_us", "When the run ended"),
    *(Column(f"{stage}_us", f"Stage of the launch: {stage.label}", Launch, "stages_us", stage) for stage in Stage),
    _launch("queue_us", "Queue time: RUN_ENQUEUED to RUN_START"),
    _launch("init_us", "Init time: RUN_START to the first STEP_START"),
    _launch("lag_us", "Launch lag: queue time and init time"),
    _launch("time_to_code_us", "From the request to the first STEP_START"),
    _launch("warnings", "Doubts about the measurement"),
    _launch("step_process", "Values that the asset reported about its own process"),
    _trial("deployment", "Empty: the deployment that the sweep ran in"),
    _trial("path", "graphql, schedule, sensor, backfill"),
    _trial("assets", "Number of assets selected"),
    _launch("work", "Units of work materialized"),
    _launch("materialized_us", "When the last asset was materialized"),
    _launch("work_us", "From the request until the last asset was materialized"),
    _launch("steps", "When each step was launched, started and ended"),
    _trial("usage", "CPU and memory of the deployment's processes"),
    _launch("template", "The process that a warm run was forked from"),
    _launch("boot", "The pieces of worker boot on Kubernetes, in microseconds", "boot_us"),
    _launch("pod", "Kubernetes' status of the run worker's pod"),
    _launch("role", "What the run is in a trial with several runs"),
)
"""All columns in order. Instants (`_at_us`) and durations (`_us`) are integer microseconds, so sums are exact."""


def _observed(name: str, description: str) -> Column:
    return Column(name, description, Observed, name)


_OF_OBSERVED: Sequence[Column] = (
    _observed("location", "The code location; empty if the run has none"),
    _observed("job", "The job"),
    _observed("partition_key", "The partition"),
    _observed("updated_us", "When the run's record last changed"),
    _launch("origin", "request, schedule, sensor, backfill"),
    _launch("run_worker", "What ran it: pod, container, ecs_task, celery; null if its launcher does not say so"),
)

_NOT_OBSERVED = frozenset({"step_process", "work", "materialized_us", "work_us", "steps", "pod", "role"})
"""What a launch did, not how it started: long for runs with many steps."""

_RUN_ID, *_OF_LAUNCH = sorted(
    (column for column in COLUMNS if column.owner is Launch and column.name not in _NOT_OBSERVED),
    key=lambda column: column.name != "run_id",
)

OBSERVED_COLUMNS: Sequence[Column] = (_RUN_ID, *_OF_OBSERVED, *_OF_LAUNCH)
"""All columns of observed runs in order."""


def observed_row(observed: Observed) -> Row:
    """Return the flat row of an observed run."""
    return {column.name: column.encode(observed, observed.launch) for column in OBSERVED_COLUMNS}


def launch_rows(trial: Trial) -> Iterator[Row]:
    """Yield a flat row for each of a trial's launches, in order."""
    return ({column.name: column.encode(trial, launch) for column in COLUMNS} for launch in trial.launches)


def read_trial(rows: Sequence[Mapping[str, Any]]) -> Trial:
    """Return the trial whose launches, in order, are these rows."""
    launches = tuple(Launch(**_fields(Launch, row)) for row in rows)
    return Trial(**_fields(Trial, rows[0]), launches=launches)


def _fields(owner: type[Trial] | type[Launch], row: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for column in COLUMNS:
        if column.owner is owner:
            value = column.decode(row[column.name])
            if column.entry is None:
                fields[column.field] = value
            else:
                fields.setdefault(column.field, {})[column.entry] = value
    return fields


_annotations: Callable[[type], dict[str, Any]] = cache(get_type_hints)
