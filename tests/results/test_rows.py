"""A record is flat, typed, and contains everything about its launch."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from samples import SIZES, make_trial, relaunched

from bench_orchestrator.model.launch import Outcome, Trial
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.results.rows import COLUMNS, launch_rows, read_trial


@given(
    st.builds(
        make_trial,
        location=st.sampled_from(sorted(SIZES)),
        outcome=st.sampled_from(Outcome),
        warmup=st.booleans(),
    )
)
def test_a_record_is_flat_and_typed(trial: Trial) -> None:
    record = next(launch_rows(trial))
    assert list(record) == [column.name for column in COLUMNS]
    sql_types = {str: "VARCHAR", int: "BIGINT", bool: "BOOLEAN"}
    for column, value in zip(COLUMNS, record.values(), strict=True):
        assert column.sql_type == sql_types[type(value)] if value is not None else not column.required
    assert read_trial([record]) == trial


def test_a_record_loses_nothing() -> None:
    trial = relaunched(make_trial(3, "a1p2k"), warnings=("clocks, differ", "two"), step_process={"b": 1.5, "a": None})
    record = next(launch_rows(trial))
    assert json.loads(str(record["warnings"])) == ["clocks, differ", "two"]
    assert json.loads(str(record["step_process"])) == {"a": None, "b": 1.5}
    assert record["worker_load_us"] == trial.launch.stages_us[Stage.WORKER_LOAD]
    assert record["step_started_at_us"] == max(v for v in trial.launch.at_us.values() if v is not None)
    assert (record["outcome"], record["partition_key"], record["lag_us"]) == ("ok", "p0", trial.launch.lag_us)


def test_each_launch_of_a_trial_has_its_own_row() -> None:
    trial = make_trial()
    both = replace(trial, launches=(trial.launch, replace(trial.launch, run_id=None, outcome=Outcome.REJECTED)))
    rows = list(launch_rows(both))
    assert rows[0] == next(launch_rows(trial))
    assert [(row["trial"], row["run_id"], row["outcome"]) for row in rows] == [
        (1, trial.launch.run_id, "ok"),
        (1, None, "rejected"),
    ]
