"""How the daemon dequeues runs: at an interval, with threads, at once, or without a queue."""

from typing import Any

from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import (
    DAEMON_SHARE,
    LAG,
    Experiment,
    Remedy,
    run_coordinator,
    stage_measure,
)


def _unqueued() -> dict[str, Any]:
    return {
        "run_coordinator": {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"},
        "concurrency": None,
    }


def _sides() -> tuple[Variant, ...]:
    location = ("a10",)
    return (
        Variant("every 5 s", location, work=1, instance=run_coordinator(dequeue_interval_seconds=5)),
        Variant("every 1 s", location, work=1, instance=run_coordinator(dequeue_interval_seconds=1)),
        Variant(
            "every 5 s, with threads",
            location,
            work=1,
            instance=run_coordinator(dequeue_interval_seconds=5, dequeue_use_threads=True, dequeue_num_workers=4),
        ),
        Variant("at once", location, work=1, instance=run_coordinator(prompt=True)),
        Variant("no queue", location, work=1, instance=_unqueued()),
    )


EXPERIMENT = Experiment(
    Scenario(
        "dequeue-interval",
        "How long do runs wait in the queue for the daemon, and what does a shorter dequeue interval cost?",
        variants=_sides(),
        quick_variants=_sides(),
        repeats=8,
        holds_equal="the code location a10, one asset per launch, executor. Each side has its own deployment.",
    ),
    flat=True,
    headline=LAG,
    measures=(
        stage_measure(Stage.QUEUE_WAIT),
        DAEMON_SHARE,
    ),
    remedies=(
        Remedy(
            "Dequeue runs every second",
            "every 1 s",
            "The daemon queries the run storage five times as often.",
            "run_queue:  # in dagster.yaml; if it has a run_coordinator, in the config of that instead\n"
            "  dequeue_interval_seconds: 1",
            "yaml",
        ),
        Remedy(
            "Have the queue answer at once",
            "at once",
            "The package dagster-warm wherever the instance is opened: webserver, daemon, code locations, run pods. On "
            "PostgreSQL, one more connection.",
            "run_coordinator:  # in dagster.yaml, with the config of Dagster's QueuedRunCoordinator\n"
            "  module: dagster_warm.queue\n"
            "  class: PromptRunCoordinator",
            "yaml",
        ),
        Remedy(
            "Launch runs without a queue",
            "no queue",
            "No limits on concurrent runs and no priorities: a thousand launches are a thousand concurrent runs. "
            "Limits left in dagster.yaml are silently ignored.",
            "run_coordinator:  # in dagster.yaml\n"
            "  module: dagster.core.run_coordinator\n"
            "  class: DefaultRunCoordinator",
            "yaml",
        ),
    ),
)
