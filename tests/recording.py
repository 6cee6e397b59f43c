"""Trials and sweeps that Dagster executes and records in the test's process, for tests to read back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from logging import getLogger
from pathlib import Path

import dagster as dg
import pytest
import samples
import sqlalchemy as sa
import yaml
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable
from dagster._daemon.monitoring.run_monitoring import monitor_started_run
from dagster_k8s import K8sRunLauncher
from kubernetes.client import Configuration

from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sweeps.journal import note_event, plan_event
from bench_orchestrator.sweeps.launching import trial_tags

PROCESS: dict[str, float | str] = {"import_s": 1.25, "location": "a10"}
"""What `measured` reports about its process."""


@dataclass(frozen=True)
class Served:
    """A Dagster webserver and its instance, to which tests add runs."""

    url: str
    instance: dg.DagsterInstance


@dg.asset
def measured() -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Report metadata as a synthetic asset does, plus an unrelated entry."""
    return dg.MaterializeResult(metadata={"rows": 3, **{f"bench/{name}": value for name, value in PROCESS.items()}})


@dg.asset
def broken() -> None:
    """Fail like user code: with a cause behind the exception, and several lines."""
    try:
        raise ConnectionError("no route\n   to the warehouse")
    except ConnectionError as error:
        raise RuntimeError("the load failed") from error


@dg.job
def nothing() -> None:
    """The job of runs that are recorded but never executed."""


@dg.op(out=dg.DynamicOut(int))
def plan_batches() -> Iterator[dg.DynamicOutput[int]]:
    """Plan two batches."""
    for number in range(2):
        yield dg.DynamicOutput(number, mapping_key=f"batch_{number}")


@dg.op
def extract(batch: int) -> int:
    """Return a batch."""
    return batch


@dg.op
def load(batch: int) -> None:
    """Do nothing with a batch."""


@dg.job
def in_batches() -> None:
    """Extract and load batches with a dynamic map: five steps."""
    plan_batches().map(lambda batch: load(extract(batch)))


def in_milliseconds(timestamp_s: float) -> int:
    """Convert an event's time to microseconds as GraphQL has it: `int(timestamp * 1000)` in dagster-graphql."""
    return int(timestamp_s * 1_000) * 1_000


def make_plan(sweep_id: str = "quick-1", locations: Sequence[str] = ("a10", "a250"), repeats: int = 1) -> SweepPlan:
    """Return a plan with one warm-up and `repeats` measured trials in each location."""
    return replace(samples.measured_sweep(locations, repeats).plan, sweep_id=sweep_id, scenario="quick")


def other_release(plan: SweepPlan) -> SweepPlan:
    """Return the plan with a setting that this release cannot read once it is recorded."""
    return replace(plan, settings={**plan.settings, "timeout_s": None})


def damage_log(instance: dg.DagsterInstance, run_id: str) -> None:
    """Cut off every event of a run's log, as a full disk may."""
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    table = SqlEventLogStorageTable
    with storage.run_connection(run_id) as connection:
        cut = sa.update(table).where(table.c.run_id == run_id).values(event=sa.func.substr(table.c.event, 1, 40))
        connection.execute(cut)


def run_trial(instance: dg.DagsterInstance, plan: SweepPlan, number: int, *, ok: bool = True) -> str:
    """Execute the run of one trial, to success or failure, and return its id."""
    tags = trial_tags(plan, plan.trials[number - 1], now_us())
    result = dg.materialize([measured if ok else broken], instance=instance, tags=tags, raise_on_error=False)
    assert result.success is ok
    return result.run_id


def make_run(instance: dg.DagsterInstance, tags: Mapping[str, str], status: RunStatus = RunStatus.SUCCESS) -> str:
    """Record a run with that status that was never executed and has an empty log."""
    plain = {str(key): value for key, value in tags.items()}
    run = instance.create_run_for_job(nothing, tags=plain, status=dg.DagsterRunStatus(status))
    return run.run_id


def end_run(instance: dg.DagsterInstance, run_id: str, failure: str = "") -> str:
    """Report a run as failed, if there is a failure message, or else as canceled; return its id."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    if failure:
        instance.report_run_failed(run, failure)
    else:
        instance.report_run_canceled(run)
    return run_id


def lose_sight_of(instance: dg.DagsterInstance, run_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Dagster's run monitoring check a started run's worker while Kubernetes is unreachable."""
    cluster = {"name": "away", "cluster": {"server": "https://127.0.0.1:9"}}
    context = {"name": "away", "context": {"cluster": "away", "user": "bench"}}
    users = [{"name": "bench", "user": {}}]
    config = {"clusters": [cluster], "contexts": [context], "current-context": "away", "users": users}
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(Configuration, "_default", None)
    launcher = K8sRunLauncher(
        "bench", "bench", dagster_home="/", load_incluster_config=False, kubeconfig_file=str(folder / "kubeconfig")
    )
    launcher.register_instance(instance)
    monkeypatch.setattr(instance, "_run_launcher", launcher)
    record = instance.get_run_record_by_id(run_id)
    assert record is not None
    monitor_started_run(instance, None, record, getLogger())  # type: ignore[arg-type]  # only a resumed run needs a workspace


def run_sweep(
    instance: dg.DagsterInstance,
    plan: SweepPlan | None,
    notes: Sequence[TrialNote] = (),
    ending: type[BaseException] | None = None,
    meanwhile: Callable[[str], None] | None = None,
) -> str:
    """Execute a sweep's run, which records its plan (if any) and its notes and then ends; return its id.

    Args:
        meanwhile: called with the id before the run ends.
    """

    @dg.op(out=dg.Out(dagster_type=str))
    def launch(
        context: dg.OpExecutionContext,
    ) -> Iterator[dg.AssetMaterialization | dg.AssetObservation | dg.Output[str]]:
        run_ids.append(context.run_id)
        if plan:
            yield plan_event(plan)
        for note in notes:
            yield note_event(note, f"trial {note.number}: {note.outcome}")
        if meanwhile:
            try:
                meanwhile(context.run_id)
            except Exception as failure:  # would only fail the run
                failures.append(failure)
        if ending is KeyboardInterrupt:
            # Without a cancellation request, Dagster marks an interrupted run as failed.
            instance.report_run_canceling(context.run)
        if ending:
            raise ending("for the test")
        yield dg.Output("over")

    @dg.job(tags={Tag.KIND: "sweep", Tag.SCENARIO: plan.scenario if plan else "quick"})
    def sweep() -> None:
        launch()

    run_ids: list[str] = []
    failures: list[Exception] = []
    try:
        sweep.execute_in_process(instance=instance, raise_on_error=False)
    except KeyboardInterrupt:
        assert ending is KeyboardInterrupt
    for failure in failures:
        raise failure
    (run_id,) = run_ids
    return run_id


def record_sweep(instance: dg.DagsterInstance, plan: SweepPlan) -> str:
    """Record a sweep whose trials all succeeded: the trials' runs and the sweep's, whose id is returned."""
    notes = [
        TrialNote(trial.number, Outcome.OK, run_id=run_trial(instance, plan, trial.number), requested_us=now_us())
        for trial in plan.trials
    ]
    return run_sweep(instance, plan, notes)
