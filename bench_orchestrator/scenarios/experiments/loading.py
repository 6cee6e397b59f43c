"""How often the definitions are built, and whether garbage collection runs meanwhile."""

from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import Experiment, Remedy, stage_measure


def _sides(size: str) -> tuple[Variant, ...]:
    return (
        Variant("a plain function", (f"{size}_rebuilt",), work=1),
        Variant("a memoised function", (size,), work=1),
        Variant("memoised, no garbage collection", (f"{size}_nogc",), work=1),
    )


EXPERIMENT = Experiment(
    Scenario(
        "loading",
        "How much time is saved by building the definitions once, and without garbage collection?",
        variants=_sides("a2k"),
        quick_variants=_sides("a20"),
        holds_equal="2,000 assets, one asset per launch, executor, deployment.",
    ),
    measures=(stage_measure(Stage.WORKER_LOAD), stage_measure(Stage.STEP_LOAD)),
    remedies=(
        Remedy(
            "Memoise the function that builds the definitions",
            "a memoised function",
            "No cost if the function has no arguments. Definitions at the top of a module are already built once.",
            "@dg.definitions\n"
            "@functools.cache  # or Dagster builds them twice in every run worker\n"
            "def defs():\n"
            "    return dg.Definitions(assets=assets)",
            "python",
        ),
        Remedy(
            "Build the definitions once, without collecting garbage",
            "memoised, no garbage collection",
            "Run workers and code servers, which execute no assets, never collect cyclic garbage; step processes "
            "keep the garbage from loading.",
            "gc.disable()  # at the top of the definitions' module\n\n"
            "@dg.asset\n"
            "def orders():\n"
            "    gc.freeze()  # and at the beginning of each asset\n"
            "    gc.enable()",
            "python",
        ),
    ),
)
