"""Between two readings, what is new, over or different is said, and nothing else."""

from dataclasses import replace
from datetime import UTC
from typing import Any

from doctor_samples import make_reading, queued_run, read_run

from bench_orchestrator.analysis.doctor.changes import changes
from bench_orchestrator.analysis.doctor.diagnosis import diagnose
from bench_orchestrator.model.deployment_reading import QueueState, ReadLocation
from bench_orchestrator.model.run_queue import RunLimits

QUICK: dict[str, Any] = {"wait": 0.02, "boot": 0.3, "step_boot": 0.1, "step_load": 0.1}


def test_what_came_and_went_is_said() -> None:
    run = read_run(0.0, **QUICK)
    before = make_reading(run)
    after = make_reading(
        run,
        read_run(60.0, **{**QUICK, "wait": 1.02}),
        locations=(ReadLocation("sales", "error", "no"), ReadLocation("new", "loaded")),
        queue=QueueState(RunLimits(10), queued=(queued_run("q", 3_590.0),)),
    )
    there, back = diagnose(before, UTC), diagnose(after, UTC)
    assert list(changes(there, back)) == [
        "1 new run",
        "code location sales: loaded, now error",
        "code location new: not there, now loaded",
        "queued runs: 0, now 1",
        "new: 1 of 2 code locations failed to load",
        "launch lag 0.9 s [no interval], now 1.4 s [0.9, 1.9]",
    ]
    assert list(changes(back, there)) == [
        "code location sales: error, now loaded",
        "code location new: loaded, now not there",
        "queued runs: 1, now 0",
        "over: 1 of 2 code locations failed to load",
        "launch lag 1.4 s [0.9, 1.9], now 0.9 s [no interval]",
    ]


def test_what_stays_is_not_said_again() -> None:
    reading = make_reading(read_run(0.0, load=9.0, step_load=9.0))
    assert list(changes(diagnose(reading, UTC), diagnose(replace(reading, at_us=reading.at_us + 1), UTC))) == []


def test_something_urgent_is_said_again_where_more_differs_than_its_age() -> None:
    def waiting(run_id: str, seconds: float) -> QueueState:
        return QueueState(RunLimits(0), queued=(queued_run(run_id, 3_600.0 - seconds),))

    readings = [("q", 100.0), ("q", 160.0), ("r", 160.0)]
    first, older, other = [diagnose(make_reading(queue=waiting(*reading)), UTC) for reading in readings]
    assert list(changes(first, older)) == []
    assert list(changes(older, other)) == ["still: 1 run queued, the oldest for 160 s: run r, job nightly"]
