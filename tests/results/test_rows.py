"""A record is flat, typed, and loses nothing of its launch."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from samples import SIZES, make_launch

from bench_orchestrator.model.launch import Launch, Outcome
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.results.rows import LAUNCH_COLUMNS, launch_record


@given(
    st.builds(
        make_launch,
        location=st.sampled_from(sorted(SIZES)),
        outcome=st.sampled_from(Outcome),
        warmup=st.booleans(),
    )
)
def test_a_record_is_flat_and_typed(launch: Launch) -> None:
    record = launch_record(launch)
    assert list(record) == list(LAUNCH_COLUMNS)
    sql_types = {str: "VARCHAR", int: "BIGINT", bool: "BOOLEAN"}
    assert all(value is None or sql_types[type(value)] == LAUNCH_COLUMNS[name] for name, value in record.items())


def test_a_record_loses_nothing() -> None:
    launch = replace(make_launch(3, "a1p2k"), warnings=("clocks, differ", "two"), step_process={"b": 1.5, "a": None})
    record = launch_record(launch)
    assert json.loads(str(record["warnings"])) == ["clocks, differ", "two"]
    assert json.loads(str(record["step_process"])) == {"a": None, "b": 1.5}
    assert record["worker_load_us"] == launch.stages_us[Stage.WORKER_LOAD]
    assert record["step_started_at_us"] == max(v for v in launch.at_us.values() if v is not None)
    assert (record["outcome"], record["partition_key"], record["lag_us"]) == ("ok", "p0", launch.lag_us)
