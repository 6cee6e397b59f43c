"""Hand-made sweeps of `bench try`: a probe launched behind Dagster's code server and behind the warm one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from samples import ENVIRONMENT, make_sweep, make_trial, relaunched, unmeasured

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Launch, Outcome, Sweep, Trial
from bench_orchestrator.model.plan import Variant
from bench_orchestrator.model.stages import Stage, StepWorker
from bench_orchestrator.scenarios.trying import BASE, SCENARIO, STOCK, WARM
from dagster_warm.findings import FAULT, NOTICE, Finding
from dagster_warm.loading import Outcome as Checked

CODE = "shop.definitions"

_STAGES_S = {
    STOCK: (0.1, 0.01, 0.5, 1.0, 4.0, 0.1, 1.0, 3.0, 0.1),
    WARM: (0.1, 0.01, 0.5, 0.02, 0.01, 0.1, 0.02, 0.01, 0.1),
}
_STAGES_S[BASE] = _STAGES_S[STOCK]
"""Seconds of each stage in the middle: a startup time of 9.2 s and of 0.26 s, of which 7 s and 0.02 s load."""

FINDING = Finding(NOTICE, "environment", "environment TOKEN", "Read it in the run.", "shop/definitions.py", 7, None)
CHECKED = Checked([FINDING])
COLD = Checked(
    [Finding(FAULT, "thread", "thread 'poller'", "Start it in the run.", "shop/client.py", 3, None), FINDING]
)


def stages_us(side: str, factor: float = 1.0) -> dict[Stage, int]:
    """Return the stages of a launch that takes `factor` times as long as one in the middle."""
    return {stage: round(factor * s * MICROSECONDS) for stage, s in zip(Stage, _STAGES_S[side], strict=True)}


def in_process(launch: Launch) -> Launch:
    """Return the launch as the in-process executor would have made it."""
    stages = {**launch.stages_us, Stage.STEP_BOOT: 0, Stage.STEP_LOAD: 0}
    gone_us = sum(launch.stages_us[stage] or 0 for stage in (Stage.STEP_BOOT, Stage.STEP_LOAD))
    return replace(
        launch,
        executor=StepWorker.IN_PROCESS,
        stages_us=stages,
        init_us=(launch.init_us or 0) - gone_us,
        lag_us=(launch.lag_us or 0) - gone_us,
    )


def try_sweep(
    sides: Sequence[str] = (STOCK, WARM),
    *,
    assets: int = 3_000,
    blocks: int = 8,
    failing: Sequence[str] = (),
    factors: Mapping[str, float] = MappingProxyType({}),
) -> Sweep:
    """Return a sweep with one warm-up block; launches of the blocks take 0.96, 0.97, … times as long as the middle.

    Args:
        failing: sides of which each launch fails.
        factors: how many times as long those of a side take.
    """
    trials = [
        _trial(number, side, block, assets, failing, factors.get(side, 1.0))
        for number, (block, side) in enumerate(
            ((block, side) for block in range(blocks + 1) for side in sides), start=1
        )
    ]
    sweep = make_sweep(trials, scenario=SCENARIO.name)
    variants = tuple(Variant(side, (f"{CODE}_{side}",), work=1, warm=side == WARM, against=STOCK) for side in sides)
    return replace(sweep, plan=replace(sweep.plan, variants=variants, environments={SCENARIO.name: ENVIRONMENT}))


def _trial(number: int, side: str, block: int, assets: int, failing: Sequence[str], factor: float) -> Trial:
    trial = make_trial(
        number,
        f"{CODE}_{side}",
        stages_us=stages_us(side, factor * (0.96 + 0.01 * block)),
        variant=side,
        block=block + 1,
        warmup=block == 0,
        size=(assets, 0),
    )
    trial = replace(trial, deployment=SCENARIO.name, scenario=SCENARIO.name)
    if side in failing:
        return unmeasured(trial, Outcome.FAILED, "RuntimeError: no token")
    return relaunched(trial, template={"fork_ms": 5.0} if side == WARM else {}, step_process={})
