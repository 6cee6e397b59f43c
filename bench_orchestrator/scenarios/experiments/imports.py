"""Placement of a heavy import: at the top of a module, every process that loads the code pays for it."""

from bench_orchestrator.model.launch import Trial
from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.scenarios.experiment import Experiment, Measure, Remedy


def _import_s(trial: Trial) -> float | None:
    value = trial.launch.step_process.get("heavy_import_s")
    return None if value is None else float(value)


def _sides(size: str) -> tuple[Variant, ...]:
    return (
        Variant("at the top", (f"{size}_importtop",), work=1),
        Variant("inside the asset", (f"{size}_importlate",), work=1),
        Variant("none", (size,), work=1),
    )


EXPERIMENT = Experiment(
    Scenario(
        "imports",
        "What does a heavy import at the top of a module cost each launch?",
        variants=_sides("a250"),
        quick_variants=_sides("a10"),
        holds_equal="250 assets, the libraries, one asset per launch, executor, deployment.",
    ),
    flat=True,
    measures=(Measure("heavy_import_s", "importing in the step's process", "s", _import_s),),
    remedies=(
        Remedy(
            "Import heavy libraries inside the assets that use them",
            "inside the asset",
            "Steps that use the library pay for the import; a failing import fails only when the asset runs.",
            "@dg.asset\ndef chart():\n    import matplotlib.pyplot as plt",
            "python",
        ),
    ),
)
