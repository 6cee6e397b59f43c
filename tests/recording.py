"""Trials and sweeps that Dagster itself executes and records, in the test's own process, for tests to read back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import dagster as dg
import samples

from bench_orchestrator.event_log import note_event, plan_event
from bench_orchestrator.model import Outcome, SweepPlan, Tag, TrialNote, now_us
from bench_orchestrator.sweep import trial_tags

PROCESS: dict[str, float | str] = {"import_s": 1.25, "location": "a10"}
"""What `measured` reports of its process."""


@dataclass(frozen=True)
class Served:
    """A Dagster webserver and the instance that it serves, to which tests add runs of their own."""

    url: str
    instance: dg.DagsterInstance


@dg.asset
def measured() -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Reports as a synthetic asset does, and something else beside it."""
    return dg.MaterializeResult(metadata={"rows": 3, **{f"bench/{name}": value for name, value in PROCESS.items()}})


@dg.asset
def broken() -> None:
    """Fails as user code does: with a cause behind what it raises, and several lines."""
    try:
        raise ConnectionError("no route\n   to the warehouse")
    except ConnectionError as error:
        raise RuntimeError("the load failed") from error


@dg.job
def nothing() -> None:
    """The job of runs that are only said to have happened."""


def make_plan(sweep_id: str = "quick-1", locations: Sequence[str] = ("a10", "a250"), repeats: int = 1) -> SweepPlan:
    """A plan with one warm-up and `repeats` measured trials in each location."""
    return replace(samples.measured_sweep(locations, repeats).plan, sweep_id=sweep_id, scenario="quick")


def run_trial(instance: dg.DagsterInstance, plan: SweepPlan, number: int, *, ok: bool = True) -> str:
    """Execute the run of one trial, to success or failure, and return its id."""
    tags = trial_tags(plan, plan.trials[number - 1], now_us())
    result = dg.materialize([measured if ok else broken], instance=instance, tags=tags, raise_on_error=False)
    assert result.success is ok
    return result.run_id


def make_run(
    instance: dg.DagsterInstance, tags: Mapping[str, str], status: dg.DagsterRunStatus = dg.DagsterRunStatus.SUCCESS
) -> str:
    """A run of that status which nothing executed and whose log is empty."""
    run = instance.create_run_for_job(nothing, tags={str(key): value for key, value in tags.items()}, status=status)
    return run.run_id


def end_run(instance: dg.DagsterInstance, run_id: str, failure: str = "") -> str:
    """Report a run as failed, where there is a reason, or as canceled; return its id."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    if failure:
        instance.report_run_failed(run, failure)
    else:
        instance.report_run_canceled(run)
    return run_id


def run_sweep(
    instance: dg.DagsterInstance,
    plan: SweepPlan | None,
    notes: Sequence[TrialNote] = (),
    ending: type[BaseException] | None = None,
) -> str:
    """Execute a sweep's run, which records the plan (where it has one) and the notes and then ends; return its id."""

    @dg.op(out=dg.Out(dagster_type=str))
    def launch(
        context: dg.OpExecutionContext,
    ) -> Iterator[dg.AssetMaterialization | dg.AssetObservation | dg.Output[str]]:
        if plan:
            yield plan_event(plan)
        for note in notes:
            yield note_event(note, f"trial {note.number}: {note.outcome}")
        if ending is KeyboardInterrupt:
            # Without a request for its cancellation, Dagster counts an interrupted run as failed.
            instance.report_run_canceling(context.run)
        if ending:
            raise ending("for the test")
        yield dg.Output("over")

    @dg.job(tags={Tag.KIND: "sweep", Tag.SCENARIO: plan.scenario if plan else "quick"})
    def sweep() -> None:
        launch()

    known = set(instance.get_run_ids())
    try:
        sweep.execute_in_process(instance=instance, raise_on_error=False)
    except KeyboardInterrupt:
        assert ending is KeyboardInterrupt
    (run_id,) = set(instance.get_run_ids()) - known
    return run_id


def record_sweep(instance: dg.DagsterInstance, plan: SweepPlan) -> str:
    """A sweep in which every trial went well: its trials' runs and its own, whose id is returned."""
    notes = [
        TrialNote(trial.number, Outcome.OK, run_id=run_trial(instance, plan, trial.number), requested_us=now_us())
        for trial in plan.trials
    ]
    return run_sweep(instance, plan, notes)
