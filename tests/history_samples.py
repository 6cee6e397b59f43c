"""Hand-made histories: a point every quarter of an hour, with 4 % noise, as the monitor's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from samples import CREATED_US, ENVIRONMENT, make_sweep, make_trial

from bench_orchestrator.analysis.history import CODE_SERVER, LocationHistory, Point
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.stages import LAG_STAGES, Stage

INTERVAL_US = 15 * 60 * MICROSECONDS
STAGES_S: Mapping[Stage, float] = {
    Stage.WORKER_BOOT: 1.4,
    Stage.WORKER_LOAD: 0.5,
    Stage.EXECUTOR_START: 0.1,
    Stage.STEP_BOOT: 1.2,
    Stage.STEP_LOAD: 0.3,
    Stage.STEP_INIT: 0.1,
}
"""The medians of a location of 250 assets: 3.6 s in total, without the queue wait."""

CIRCUMSTANCES: Mapping[str, str] = {
    **{name: str(ENVIRONMENT[name]) for name in ("dagster", "bench", "python", "cpu_count", "storage")},
    "scenario": "monitor",
    "assets": "250",
}

Part = tuple[int, Mapping[Stage, float], Mapping[str, str]]
"""Points, with these stages in seconds, and these circumstances, other than usual."""


def make_history(location: str = "a250", parts: Sequence[Part] = ((60, {}, {}),), *, seed: int = 1) -> LocationHistory:
    """Return the history of a location that consists of these parts."""
    rng = np.random.default_rng(seed)
    points: list[Point] = []
    for count, stages_s, circumstances in parts:
        for _ in range(count):
            drawn_s = {
                stage: float(seconds * rng.lognormal(sigma=0.04)) for stage, seconds in {**STAGES_S, **stages_s}.items()
            }
            wait_s = float(rng.uniform(0, 5))
            points.append(
                Point(
                    sweep_id=f"monitor-{len(points)}",
                    at_us=CREATED_US + len(points) * INTERVAL_US,
                    lag_s=wait_s + sum(drawn_s.values()),
                    startup_s=sum(drawn_s.values()),
                    stages_s={stage: ({Stage.QUEUE_WAIT: wait_s} | drawn_s)[stage] for stage in LAG_STAGES},
                    circumstances={**CIRCUMSTANCES, **circumstances},
                )
            )
    return LocationHistory(location, tuple(points))


GROWN: Part = (40, {Stage.WORKER_LOAD: 2.9, Stage.STEP_LOAD: 1.5}, {"assets": "2,000"})
"""The location has grown from 250 assets to 2,000: 3.6 s more."""

DEPLOYED: Part = (6, GROWN[1], {"assets": "2,000", CODE_SERVER: "5e6f7a8b"})
"""The same, six sweeps behind a new code server."""

UPGRADED: Part = (60, {Stage.STEP_BOOT: 0.7}, {"dagster": "1.13.29"})
"""A release of Dagster with which step processes start sooner: 0.5 s less."""

USUAL: Part = (60, {}, {})


def as_sweeps(history: LocationHistory) -> list[Sweep]:
    """Return a sweep of one launch for each point, as the results database holds them."""
    sweeps = []
    for point in history.points:
        stages_us = {stage: round(point.stages_s.get(stage, 0.0) * MICROSECONDS) for stage in Stage}
        assets = int(point.circumstances["assets"].replace(",", ""))
        trial = make_trial(1, history.location, stages_us=stages_us, size=(assets, 0))
        sweep = make_sweep([trial], scenario=point.circumstances["scenario"])
        environment = {**ENVIRONMENT, **{name: point.circumstances[name] for name in ("dagster", "python")}}
        server_id = point.circumstances.get(CODE_SERVER, "")
        plan = replace(
            sweep.plan,
            sweep_id=point.sweep_id,
            created_us=point.at_us,
            environment=environment,
            locations=tuple(replace(location, server_id=server_id) for location in sweep.plan.locations),
        )
        trials = (replace(trial, sweep_id=plan.sweep_id, scenario=plan.scenario),)
        sweeps.append(Sweep(plan, "complete", trials))
    return sweeps
