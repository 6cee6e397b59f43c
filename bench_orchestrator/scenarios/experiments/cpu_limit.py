"""A CPU quota on the code location, as in a container."""

from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.scenarios.experiment import Experiment, Remedy, usage_measure


def _sides(location: str, limits: tuple[float, ...]) -> tuple[Variant, ...]:
    return tuple(Variant(f"{cpus:g} CPU{'s' if cpus > 1 else ''}", (location,), work=1, cpus=cpus) for cpus in limits)


EXPERIMENT = Experiment(
    Scenario(
        "cpu-limit",
        "How much slower are launches if the code location's CPUs are limited?",
        variants=_sides("a2k", (2, 1, 0.5, 0.25)),
        quick_variants=_sides("a10", (2, 0.5)),
        holds_equal="the code location, one asset per launch, executor. Each side has its own deployment (on "
        "Kubernetes: its own location), where the code server and its runs are limited.",
    ),
    measures=(usage_measure("throttled_s", "throttled"),),
    remedies=(
        Remedy(
            "Give the run at least two CPUs",
            "2 CPUs",
            "Uses two CPUs while a run starts; with a request well below the limit, runs share them.",
            "resources:  # of the run's container: Helm's runLauncher.config.k8sRunLauncher\n"
            '  requests: {cpu: 500m}\n  limits: {cpu: "2"}',
            "yaml",
        ),
    ),
)
