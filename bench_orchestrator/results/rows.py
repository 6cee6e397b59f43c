"""A trial as flat rows, one for each launch: what the results database, CSV and Parquet hold of it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from bench_orchestrator.model.launch import Launch, Trial
from bench_orchestrator.model.stages import Boundary, Stage

Row = dict[str, str | int | bool | None]


def launch_rows(trial: Trial) -> Iterator[Row]:
    """One flat row for each of a trial's launches, keyed by `LAUNCH_COLUMNS`; what has several values is JSON text."""
    return (_row(trial, launch) for launch in trial.launches)


def _row(trial: Trial, launch: Launch) -> Row:
    flattened: dict[str, str | int | None] = {
        "trial": trial.number,
        "outcome": (launch.outcome or trial.outcome).value,
        "path": trial.path.value,
        **{f"{boundary}_at_us": launch.at_us.get(boundary) for boundary in Boundary},
        **{f"{stage}_us": launch.stages_us.get(stage) for stage in Stage},
        "warnings": json.dumps(launch.warnings),
        "step_process": json.dumps(dict(launch.step_process), sort_keys=True),
        "steps": json.dumps([asdict(step) for step in launch.steps]),
        "usage": json.dumps(dict(trial.usage), sort_keys=True),
        "template": json.dumps(dict(launch.template), sort_keys=True),
        "boot": json.dumps(dict(launch.boot_us)),
        "pod": json.dumps(asdict(launch.pod)) if launch.pod else None,
    }
    plain = {**vars(trial), **vars(launch)}
    return {column: flattened[column] if column in flattened else plain[column] for column in LAUNCH_COLUMNS}


LAUNCH_COLUMNS: Mapping[str, str] = {
    "sweep_id": "VARCHAR",
    "trial": "BIGINT",
    "scenario": "VARCHAR",
    "variant": "VARCHAR",
    "location": "VARCHAR",
    "asset_count": "BIGINT",
    "partition_count": "BIGINT",
    "block": "BIGINT",
    "warmup": "BOOLEAN",
    "asset_key": "VARCHAR",
    "partition_key": "VARCHAR",
    "outcome": "VARCHAR",
    "reason": "VARCHAR",
    "run_id": "VARCHAR",
    "executor": "VARCHAR",
    **{f"{boundary}_at_us": "BIGINT" for boundary in Boundary},
    "ended_us": "BIGINT",
    **{f"{stage}_us": "BIGINT" for stage in Stage},
    "queue_us": "BIGINT",
    "init_us": "BIGINT",
    "lag_us": "BIGINT",
    "time_to_code_us": "BIGINT",
    "warnings": "VARCHAR",
    "step_process": "VARCHAR",
    "deployment": "VARCHAR",
    "path": "VARCHAR",
    "assets": "BIGINT",
    "work": "BIGINT",
    "materialized_us": "BIGINT",
    "work_us": "BIGINT",
    "steps": "VARCHAR",
    "usage": "VARCHAR",
    "template": "VARCHAR",
    "boot": "VARCHAR",
    "pod": "VARCHAR",
}
"""The columns of `launch_rows`, in order, and their SQL types."""
