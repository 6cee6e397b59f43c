"""Runs read over GraphQL are the runs that the instance holds: one log, whichever way its events come."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.events import EngineEventData
from recording import Served, broken, end_run, in_milliseconds, make_run, measured

from bench_orchestrator.model.runs import LOG_MESSAGE, Run, RunEvent, RunLog, RunStatus
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sources import graphql, instance
from bench_orchestrator.sources.instance import run_event
from bench_orchestrator.timeline.run_log import LOG_TYPES, RunLogFold
from bench_orchestrator.timeline.stages import STEP_STARTS
from bench_orchestrator.webserver import Webserver, WebserverError

TWO_STEPS = ReconstructableJob.for_file(str(Path(__file__).with_name("two_steps.py")), "two_steps")

PLAIN: dict[str, dg.MetadataValue[Any]] = {
    "text": dg.MetadataValue.text("three\nlines"),
    "url": dg.MetadataValue.url("http://host/"),
    "path": dg.MetadataValue.path("/a/b"),
    "md": dg.MetadataValue.md("**b**"),
    "json": dg.MetadataValue.json({"a": [1, None, {"b": True}]}),
    "float": dg.MetadataValue.float(0.1 + 0.2),
    "endless": dg.MetadataValue.float(float("inf")),
    "int": dg.MetadataValue.int(10**15),
    "bool": dg.MetadataValue.bool(False),
    "null": dg.MetadataValue.null(),
    "timestamp": dg.MetadataValue.timestamp(1_784_021_400.5),
}
OTHER: dict[str, dg.MetadataValue[Any]] = {
    "asset": dg.MetadataValue.asset(dg.AssetKey("a")),
    "job": dg.MetadataValue.job("j", "l"),
}


@dg.asset
def eloquent(context: dg.AssetExecutionContext) -> Iterator[dg.AssetObservation | dg.MaterializeResult]:  # type: ignore[type-arg]
    """Says everything that an asset can say."""
    context.log.info("on its way")
    yield dg.AssetObservation("other", description="seen", metadata={"bench/pid": 1})
    yield dg.MaterializeResult(metadata={**PLAIN, **OTHER, "bench/work": 4})


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
def flaky(context: dg.AssetExecutionContext) -> None:
    """Succeeds when it is tried again."""
    if context.retry_number == 0:
        raise RuntimeError("not yet")


@dg.asset
def refused() -> None:
    """Fails with words of its own."""
    raise dg.Failure("three files are late", metadata={"files": 3})


def materialized(asset: dg.AssetsDefinition) -> Callable[[dg.DagsterInstance], str]:
    return lambda where: dg.materialize([asset], instance=where, raise_on_error=False).run_id


def in_processes(where: dg.DagsterInstance) -> str:
    with dg.execute_job(TWO_STEPS, instance=where) as result:
        assert result.success
        return result.run_id


def canceled(where: dg.DagsterInstance) -> str:
    return end_run(where, make_run(where, {}, RunStatus.STARTED))


def requeued_in_vain(where: dg.DagsterInstance) -> str:
    """Queued twice, starting, and then given up by the engine."""
    run = where.get_run_by_id(make_run(where, {}))
    assert run is not None
    in_a_pod: Any = EngineEventData({"Kubernetes Job name": "dagster-step-1"})
    for kind in (*("PIPELINE_ENQUEUED", "PIPELINE_STARTING") * 2, "STEP_WORKER_STARTING"):
        # Reported to the instance, it would queue the run, which has no code location.
        step, data = ("a", in_a_pod) if kind == "STEP_WORKER_STARTING" else (None, None)
        event = dg.DagsterEvent(kind, "nothing", step_key=step, event_specific_data=data, message=f"it is {kind}")
        where.event_log_storage.store_event(
            dg.EventLogEntry(None, 20, "", run.run_id, time.time(), step, "nothing", event)  # type: ignore[no-untyped-call]
        )
    job = {"Kubernetes Job name": "dagster-run-1", "Kubernetes Namespace": "bench"}
    told: dict[str, str | float] = {**job, "bench/fork_ms": 6.5}
    where.report_engine_event("no pod for it", run, EngineEventData(told))
    where.report_run_failed(run)
    return run.run_id


def failed_in_words(where: dg.DagsterInstance) -> str:
    return end_run(where, make_run(where, {}, RunStatus.STARTING), "The run worker\nwas killed.")


def unstarted(where: dg.DagsterInstance) -> str:
    return make_run(where, {"team": "a", ".dagster/hidden": "b"}, RunStatus.NOT_STARTED)


RUNS: dict[str, Callable[[dg.DagsterInstance], str]] = {
    "in process": materialized(measured),
    "everything said": materialized(eloquent),
    "a nested cause": materialized(broken),
    "a failure in words of its own": materialized(refused),
    "a step that is retried": materialized(flaky),
    "steps in processes of their own": in_processes,
    "canceled": canceled,
    "requeued in vain": requeued_in_vain,
    "killed before its first step": failed_in_words,
    "not started": unstarted,
}


@pytest.fixture(scope="module")
def runs(served: Served) -> dict[str, str]:
    """The ids of real runs, each made once."""
    return {name: make(served.instance) for name, make in RUNS.items()}


@pytest.fixture
def webserver(served: Served) -> Webserver:
    return Webserver(served.url)


@pytest.fixture
def milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the instance's events cut off to milliseconds, which is all that GraphQL has of their times."""
    monkeypatch.setattr(instance, "to_us", in_milliseconds)


def all_events(webserver: Webserver, run_id: str) -> list[RunEvent]:
    page = graphql.read_page(webserver, run_id)
    assert not page.has_more
    return list(page.events)


class TestALog:
    @pytest.mark.usefixtures("milliseconds")
    @pytest.mark.parametrize("name", RUNS)
    def test_is_the_same_read_over_graphql_and_from_the_instance(
        self, served: Served, webserver: Webserver, runs: dict[str, str], name: str
    ) -> None:
        assert graphql.read_run_log(webserver, runs[name]) == instance.read_run_log(served.instance, runs[name])

    @pytest.mark.usefixtures("milliseconds")
    @pytest.mark.parametrize("name", RUNS)
    def test_is_made_of_the_same_events(
        self, served: Served, webserver: Webserver, runs: dict[str, str], name: str
    ) -> None:
        records = served.instance.get_records_for_run(runs[name]).records
        assert all_events(webserver, runs[name]) == [run_event(record.event_log_entry) for record in records]

    def test_says_of_each_run_what_happened_to_it(self, webserver: Webserver, runs: dict[str, str]) -> None:
        logs = {name: graphql.read_run_log(webserver, run_id) for name, run_id in runs.items()}
        assert {name: log.failure for name, log in logs.items() if log.failure} == {
            "a nested cause": "ConnectionError: no route to the warehouse",
            "a failure in words of its own": "three files are late",
            "requeued in vain": "no pod for it",
            "killed before its first step": "The run worker was killed.",
        }
        apart = logs["steps in processes of their own"]
        assert [step.key for step in apart.steps if step.launched_us] == ["first", "second"]
        (restarted,) = [event for event in apart.events if event.type in STEP_STARTS]
        assert (restarted.type, restarted.step_key) == ("STEP_RESTARTED", "first")
        assert restarted.time_us == apart.steps[0].started_us
        assert [step.key for step in logs["a step that is retried"].steps] == ["flaky"]
        assert logs["everything said"].work == 4
        assert logs["requeued in vain"].kubernetes_job == ("bench", "dagster-run-1")
        assert logs["requeued in vain"].step_jobs == {"a": "dagster-step-1"}
        assert logs["requeued in vain"].template == {"fork_ms": 6.5}
        assert logs["not started"] == RunLog()

    def test_has_plain_metadata_and_the_lines_of_its_code(self, webserver: Webserver, runs: dict[str, str]) -> None:
        events = all_events(webserver, runs["everything said"])
        (told,) = [event.metadata for event in events if event.type == "ASSET_MATERIALIZATION"]
        assert told == {**{name: value.value for name, value in PLAIN.items()}, "bench/work": 4}
        (seen,) = [event for event in events if event.type == "ASSET_OBSERVATION"]
        assert (seen.description, seen.metadata) == ("seen", {"bench/pid": 1})
        assert "on its way" in [event.message for event in events if event.type == LOG_MESSAGE]

    def test_of_an_unknown_run_is_empty(self, webserver: Webserver) -> None:
        assert graphql.read_run_log(webserver, "4f2a") == RunLog()
        with pytest.raises(WebserverError, match="does not know the run 4f2a"):
            graphql.read_page(webserver, "4f2a")


class CountingWebserver(Webserver):
    """A webserver that keeps what it is asked."""

    def query(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self.asked = [*getattr(self, "asked", []), document]
        return super().query(document, variables)


class TestManyLogs:
    def test_come_several_a_query(self, served: Served, runs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(graphql, "_LOGS_PER_QUERY", 4)
        webserver = CountingWebserver(served.url)
        logs = graphql.read_run_logs(webserver, list(runs.values()))
        assert len(webserver.asked) == 3
        assert logs == {run_id: graphql.read_run_log(webserver, run_id) for run_id in runs.values()}

    def test_that_cannot_be_answered_with_lose_their_texts_and_no_other_does(
        self, served: Served, webserver: Webserver, runs: dict[str, str]
    ) -> None:
        @dg.asset
        def strange() -> None:
            raise RuntimeError("no such file: caf\udce9")

        run_id = dg.materialize([strange], instance=served.instance, raise_on_error=False).run_id
        other = next(iter(runs.values()))
        logs = graphql.read_run_logs(webserver, [run_id, other])
        assert logs[other] == graphql.read_run_log(webserver, other)
        there, here = logs[run_id], instance.read_run_log(served.instance, run_id)
        assert (there.failure, here.failure) == ("", "RuntimeError: no such file: caf\udce9")
        assert [event.type for event in there.events] == [event.type for event in here.events]
        assert [step.key for step in there.steps] == ["strange"]

    def test_are_the_same_read_across_pages(self, served: Served, runs: dict[str, str]) -> None:
        webserver = CountingWebserver(served.url)
        whole = graphql.read_run_logs(webserver, list(runs.values()))
        webserver.asked = []
        folds = {run_id: RunLogFold() for run_id in runs.values()}
        assert graphql.read_events(webserver, folds, page=3) == set()
        assert {run_id: fold.log() for run_id, fold in folds.items()} == whole
        assert len(webserver.asked) > 5

    def test_are_read_no_further_than_is_enough(self, webserver: Webserver, runs: dict[str, str]) -> None:
        folds = {runs[name]: RunLogFold() for name in ("everything said", "not started")}
        cut = graphql.read_events(webserver, folds, page=3, enough=lambda _: True)
        assert cut == {runs["everything said"]}
        assert len(folds[runs["everything said"]].log().events) <= 3

    def test_come_without_metadata_if_that_is_not_asked_for(self, webserver: Webserver, runs: dict[str, str]) -> None:
        folds = {run_id: RunLogFold() for run_id in runs.values()}
        graphql.read_events(webserver, folds, metadata=False)
        for run_id, fold in folds.items():
            with_it, without = graphql.read_run_log(webserver, run_id), fold.log()
            assert (without.events, without.failure, without.steps) == (with_it.events, with_it.failure, with_it.steps)
        assert folds[runs["requeued in vain"]].log().kubernetes_job is None


class TestARun:
    @pytest.mark.parametrize("name", RUNS)
    def test_has_the_same_record(self, served: Served, webserver: Webserver, runs: dict[str, str], name: str) -> None:
        here = instance.get_run(served.instance, runs[name])
        assert here is not None
        shown = {key: value for key, value in here.tags.items() if not key.startswith(".dagster/")}
        assert graphql.get_run(webserver, runs[name]) == replace(here, tags=shown)

    def test_that_is_unknown_is_none(self, webserver: Webserver) -> None:
        assert graphql.get_run(webserver, "4f2a") is None

    def test_is_found_by_tags_statuses_and_its_last_change(
        self, served: Served, webserver: Webserver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(graphql, "_RUNS_PER_PAGE", 2)
        made = [make_run(served.instance, {Tag.SWEEP: "found"}, RunStatus.STARTED) for _ in range(4)]
        end_run(served.instance, made[1])

        def both(**how: object) -> tuple[list[str], list[str]]:
            ways: tuple[list[Run], list[Run]] = (
                graphql.find_runs(webserver, {Tag.SWEEP: "found"}, **how),  # type: ignore[arg-type]
                instance.find_runs(served.instance, {Tag.SWEEP: "found"}, **how),  # type: ignore[arg-type]
            )
            there, here = ([run.run_id for run in runs] for runs in ways)
            return there, here

        assert both() == (made, made)
        assert both(statuses=[RunStatus.CANCELED]) == ([made[1]], [made[1]])
        changed_us = graphql.find_runs(webserver, {Tag.SWEEP: "found"})[3].updated_us
        assert both(updated_after_us=changed_us) == ([made[1]], [made[1]])
        assert both(updated_after_us=changed_us + 10**12) == ([], [])
        newest = graphql.find_runs(webserver, {Tag.SWEEP: "found"}, most=3)
        assert [run.run_id for run in newest] == made[-3:]
        assert [run.run_id for run in graphql.find_runs(webserver, {}, run_ids=made[:1])] == made[:1]


def test_every_status_and_type_of_event_is_dagsters() -> None:
    assert {status.value for status in RunStatus} == {status.value for status in dg.DagsterRunStatus}
    assert {kind.value for kind in dg.DagsterEventType} >= LOG_TYPES
    names = {kind.name: kind.value for kind in dg.DagsterEventType}
    assert {name: value for name, value in names.items() if name != value} == graphql._PIPELINE_TYPES
