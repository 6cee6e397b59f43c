"""The first launch after a code server was replaced or started from zero."""

from bench_orchestrator.model.plan import Scenario, ServerState, Variant
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import UNQUEUED_TIME_TO_CODE, Experiment, stage_measure

_TREATMENTS = {
    "stock": {
        "as usual": ServerState.AS_IT_IS,
        "replaced": ServerState.REPLACED,
        "from zero": ServerState.FROM_ZERO,
    },
    "warm": {"as usual": ServerState.AS_IT_IS, "replaced": ServerState.REPLACED},
}


def _sides(size: str) -> tuple[Variant, ...]:
    return tuple(
        Variant(
            f"{server}, {name}",
            (size,),
            work=1,
            warm=server == "warm",
            server=state,
            against=f"{server}, as usual",
        )
        for server, treatments in _TREATMENTS.items()
        for name, state in treatments.items()
    )


EXPERIMENT = Experiment(
    Scenario(
        "cold-start",
        "How much slower is the first launch after a code server was replaced or scaled to zero?",
        variants=_sides("a2k"),
        quick_variants=_sides("a10"),
        holds_equal="the code location, one asset per launch, executor, the deployment's settings. A replaced server "
        "is up and has loaded its location before the launch is requested. From zero, the time starts with the request "
        "to start the server.",
    ),
    measures=(UNQUEUED_TIME_TO_CODE, stage_measure(Stage.SUBMIT), stage_measure(Stage.PLAN_EVENTS)),
    headline=UNQUEUED_TIME_TO_CODE,
)
