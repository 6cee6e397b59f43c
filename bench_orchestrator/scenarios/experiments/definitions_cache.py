"""Definitions loaded by each process of a run, or held by a code server that forks these processes."""

from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import Experiment, Remedy, stage_measure


def _sides(*sizes: str) -> tuple[Variant, ...]:
    return tuple(
        Variant(f"{server}, {size}", (size,), work=1, warm=server == "warm", against=f"stock, {size}")
        for size in sizes
        for server in ("stock", "warm")
    )


EXPERIMENT = Experiment(
    Scenario(
        "definitions-cache",
        "How much time is saved by forking runs and steps from a process that holds the definitions?",
        variants=_sides("a10", "a250", "a2k", "a10k"),
        quick_variants=_sides("a10", "a20"),
        holds_equal="the code location, one asset per launch, executor, the deployment's settings. Each server has its "
        "own deployment (on Kubernetes: its own location).",
    ),
    measures=(
        stage_measure(Stage.WORKER_BOOT),
        stage_measure(Stage.WORKER_LOAD),
        stage_measure(Stage.STEP_BOOT),
        stage_measure(Stage.STEP_LOAD),
    ),
    remedies=(
        Remedy(
            "Fork runs from a server that holds the definitions",
            "warm, a10k",
            "One more process per code location, which holds its definitions. Runs share the code server container's "
            "CPU and memory. Code that starts threads or opens connections on import is launched as before.",
            "# replaces `dagster api grpc` and `dagster code-server start`, with the same options\n"
            'command: [python, -m, dagster_warm, -m, my_project.definitions, -p, "4000"]',
            "yaml",
        ),
    ),
)
