"""The Gantt chart of an experiment with workloads: a panel for each side, of its trial with the median makespan. Pure.

The rows are the trial's runs; where each trial is one run, they are its batches, with the steps of each.
"""

from collections.abc import Iterator, Sequence

from bench_orchestrator.model.launch import Sweep, Trial
from bench_orchestrator.model.plan import again
from bench_orchestrator.timeline.batches import split_step
from bench_orchestrator.waterfall.gantt import ChartedRun, Gantt, Panel, Unit
from bench_orchestrator.waterfall.gantt_layout import run_panel, shared_environment, step_panel


def gantt_of_sides(sweep: Sweep) -> Gantt | None:
    """Return the chart of the sides that have a workload and a measured trial; None if there are none.

    The A/A arms are left out. Of an even number of trials, it is the one with the shorter makespan of the middle two.
    """
    trials = {name: trials for name, trials in _trials_of_sides(sweep) if trials}
    if not trials:
        return None
    alone = all(len(trial.launches) == 1 and trial.launch.steps for side in trials.values() for trial in side)
    unit = Unit.STEPS if alone else Unit.RUNS
    chosen = [_median([_panel(sweep, trial, unit) for trial in side]) for side in trials.values()]
    environments = [sweep.plan.environment_of(trial.deployment) for side in trials.values() for trial in side]
    return Gantt(unit, tuple(chosen), shared_environment(environments))


def _trials_of_sides(sweep: Sweep) -> Iterator[tuple[str, Sequence[Trial]]]:
    for variant in sweep.plan.variants:
        if variant.workload is not None and variant.name != again(variant.against):
            yield variant.name, [trial for trial in sweep.trials if trial.measured and trial.variant == variant.name]


def _panel(sweep: Sweep, trial: Trial, unit: Unit) -> Panel:
    subject = f"trial {trial.number} of {sweep.plan.sweep_id}"
    if unit is Unit.STEPS:
        return step_panel(ChartedRun(trial.launch, subject=subject), trial.variant, split_step, by_batch=True)
    return run_panel((ChartedRun(launch, launch.role) for launch in trial.launches), trial.variant)


def _median(panels: Sequence[Panel]) -> Panel:
    return sorted(panels, key=lambda panel: panel.makespan_us)[(len(panels) - 1) // 2]
