"""Where steps run: in a new process each, in a fork of a prepared process, or in the run worker."""

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Trial
from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.scenarios.experiment import Experiment, Measure, Remedy

_KINDS = (
    ("spawn", ""),
    ("forkserver, module", "_forkserver"),
    ("forkserver, job", "_preloaded"),
    ("in-process", "_inprocess"),
)


def _step_s(trial: Trial) -> float | None:
    """Return the seconds per step, from the launch of the first step to the end of the last."""
    begun = [us for step in trial.launch.steps if (us := step.launched_us or step.started_us) is not None]
    ended = [step.ended_us for step in trial.launch.steps if step.ended_us is not None]
    if not begun or len(ended) < len(trial.launch.steps):
        return None
    return (max(ended) - min(begun)) / len(trial.launch.steps) / MICROSECONDS


def _sides(assets: int, most: int) -> tuple[Variant, ...]:
    """Return the sides with one step, and with `most` serial steps: a chain of as many assets."""
    several = f"spawn, {most} steps"
    return tuple(
        Variant(
            f"{kind}, {steps} step{'s' if steps > 1 else ''}",
            (f"a{assets}_chains{most}{suffix}",),
            assets=steps,
            work=steps,
            against=several if steps == most else "",
        )
        for steps in (1, most)
        for kind, suffix in _KINDS
    )


EXPERIMENT = Experiment(
    Scenario(
        "executors",
        "How much of a launch do its step processes cost, and what avoids it?",
        variants=_sides(2_004, 6),
        quick_variants=_sides(6, 2),
        holds_equal="2,004 assets in chains of six, the same assets per launch, deployment.",
    ),
    measures=(Measure("step_s", "per step, its process included", "s", _step_s),),
    remedies=(
        Remedy(
            "Run the steps in the run worker's own process",
            "in-process, 1 step",
            "Steps share one process: there are no parallel steps, memory is shared, and a crash of one ends all.",
            "defs = dg.Definitions(assets=assets, executor=dg.in_process_executor)",
            "python",
        ),
        Remedy(
            "Fork step processes from one that has imported the code",
            "forkserver, module, 1 step",
            "One more process per run, which holds the code; importing it must not start threads or open connections. "
            "A module that cannot be imported from the run's working directory is silently ignored.",
            'forkserver = {"forkserver": {"preload_modules": ["my_project.definitions"]}}\n'
            'executor = dg.multiprocess_executor.configured({"start_method": forkserver})\n'
            "defs = dg.Definitions(assets=assets, executor=executor)",
            "python",
        ),
        Remedy(
            "Fork step processes from one that has built the job as well",
            "forkserver, job, 1 step",
            "As for a process that has imported the code; in addition, the preloaded module calls an undocumented "
            "method of Dagster.",
            "# my_project/preload.py, named in preload_modules instead of the definitions' module\n"
            "from my_project.definitions import defs\n\n"
            "defs.resolve_implicit_global_asset_job_def()",
            "python",
        ),
    ),
)
