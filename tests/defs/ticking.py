"""Ticks of the harvest sensor, and what they ask for."""

import dagster as dg

from bench_orchestrator.defs.harvest_sensor import harvest_sensor


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """Evaluate the sensor once; a skip is a result without requests."""
    answer = harvest_sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
    if isinstance(answer, dg.SkipReason):
        return dg.SensorResult(skip_reason=answer, cursor=cursor)
    assert isinstance(answer, dg.SensorResult)
    return answer


def reason(result: dg.SensorResult) -> str:
    assert not result.run_requests
    assert result.skip_reason is not None
    return result.skip_reason.skip_message or ""


def requested(result: dg.SensorResult) -> dg.RunRequest:
    assert result.run_requests is not None
    (request,) = result.run_requests
    return request
