"""Whatever a webserver answers, a question ends with an answer of the right types, or with one line of text."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

import deployment_answers
import pytest
import requests
from fuzzing import JUNK, fuzz, mutated, sizes
from hypothesis import settings
from hypothesis import strategies as st
from recording import make_plan
from samples import CREATED_US

from bench_orchestrator.analysis.doctor.diagnosis import diagnose
from bench_orchestrator.model.deployment_reading import DeploymentReading
from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.tags import META_LOCATION, Tag
from bench_orchestrator.report.doctor import render_diagnosis_markdown, summarize_diagnosis
from bench_orchestrator.report.markdown import render_markdown
from bench_orchestrator.report.summary import render_table, summarize
from bench_orchestrator.results.store import Store
from bench_orchestrator.sources import graphql
from bench_orchestrator.sources.deployment_reading import DeploymentReader
from bench_orchestrator.sweeps import client
from bench_orchestrator.sweeps.entries import NOTES, PLANS
from bench_orchestrator.webserver import Webserver

URL = "http://127.0.0.1:9"
PLAN = make_plan("quick-1", ("a10",))
STARTED_S = CREATED_US / 1e6


def json_entry(label: str, data: Any) -> dict[str, Any]:
    return {"__typename": "JsonMetadataEntry", "label": label, "jsonString": json.dumps(data)}


def event(kind: str, at_s: float, **more: Any) -> dict[str, Any]:
    return {"eventType": kind, "timestamp": str(int(at_s * 1000)), "stepKey": None, "message": "said", **more}


def a_run(run_id: str, tags: Mapping[str, str]) -> dict[str, Any]:
    return {
        "__typename": "Run",
        "runId": run_id,
        "status": "SUCCESS",
        "jobName": "job",
        "tags": [{"key": str(key), "value": value} for key, value in tags.items()],
        "creationTime": STARTED_S,
        "updateTime": STARTED_S + 9,
        "startTime": STARTED_S + 2,
        "endTime": STARTED_S + 9,
    }


def a_log(*events: dict[str, Any]) -> dict[str, Any]:
    return {"__typename": "EventConnection", "cursor": "1", "hasMore": False, "events": list(events)}


TRIAL_LOG = a_log(
    event("RUN_ENQUEUED", STARTED_S),
    event("RUN_STARTING", STARTED_S + 1),
    event("ENGINE_EVENT", STARTED_S + 1.5, description="", metadataEntries=[json_entry("bench/fork_ms", 2.0)]),
    event("RUN_START", STARTED_S + 2),
    event("STEP_START", STARTED_S + 3, stepKey="a"),
    event("STEP_FAILURE", STARTED_S + 4, stepKey="a", error={"message": "m", "className": "C", "causes": []}),
    event(
        "ASSET_MATERIALIZATION",
        STARTED_S + 4,
        stepKey="a",
        description="",
        metadataEntries=[{"__typename": "IntMetadataEntry", "label": "bench/work", "intRepr": "1"}],
    ),
    event("RUN_SUCCESS", STARTED_S + 5),
)

JOURNAL = a_log(
    event(
        "ASSET_MATERIALIZATION",
        STARTED_S,
        description="planned",
        metadataEntries=[json_entry("plan", PLANS.dump_python(PLAN, mode="json"))],
    ),
    *(
        event(
            "ASSET_OBSERVATION",
            STARTED_S,
            description="done",
            metadataEntries=[
                json_entry("note", NOTES.dump_python(TrialNote(trial.number, Outcome.OK, run_id="r1"), mode="json"))
            ],
        )
        for trial in PLAN.trials
    ),
)

LOCATIONS = {
    "locationEntries": [
        {
            "name": META_LOCATION,
            "loadStatus": "LOADED",
            "displayMetadata": [{"key": "host", "value": "h"}],
            "locationOrLoadError": {
                "__typename": "RepositoryLocation",
                "serverId": "s",
                "repositories": [{"name": "__repository__"}],
            },
        },
        {
            "name": "broken",
            "loadStatus": "LOADED",
            "displayMetadata": [],
            "locationOrLoadError": {"__typename": "PythonError", "message": "m", "causes": [{"message": "c"}]},
        },
    ]
}

ANSWERS: Mapping[str, dict[str, Any]] = {
    "BenchLocations": {"workspaceOrError": LOCATIONS},
    "BenchAssets": {
        "repositoryOrError": {
            "assetNodes": [{"assetKey": {"path": ["a", "b"]}, "isMaterializable": True, "isPartitioned": False}]
        }
    },
    "BenchPartitions": {"assetNodeOrError": {"partitionKeys": ["p0", "p1"]}},
    "BenchSubmit": {"launchPipelineExecution": {"__typename": "LaunchRunSuccess", "run": {"runId": "r1"}}},
    "BenchSelection": {"pipelineOrError": {"__typename": "PythonError", "message": "m"}},
    "BenchBackfill": {"launchPartitionBackfill": {"__typename": "LaunchBackfillSuccess", "backfillId": "b"}},
    "BenchSensorTicks": {"instigator": {"state": {"ticks": [{"timestamp": 1.5, "runIds": ["r1"]}]}}},
    "BenchScheduleTicks": {"instigator": {"state": {"ticks": [{"timestamp": 1.5, "status": "SKIPPED", "runIds": []}]}}},
    "BenchStartSchedule": {"answer": {"__typename": "ScheduleStateResult", "scheduleState": {"id": "s"}}},
    "BenchStopSchedule": {"answer": {"__typename": "ScheduleStateResult"}},
    "BenchTerminate": {"terminateRun": {"__typename": "TerminateRunSuccess"}},
    "BenchRun": {"run": a_run("r1", {})},
    "BenchRuns": {
        "runs": {"__typename": "Runs", "results": [a_run(f"r{n}", {Tag.TRIAL: str(n)}) for n in (1, 2)]},
    },
    "BenchPage": {"run": {"__typename": "Run", "runId": "r1", "status": "SUCCESS"}, "log": JOURNAL},
    "BenchLogs": {"log0": TRIAL_LOG, "log1": TRIAL_LOG},
}

QUESTIONS: Mapping[str, Callable[[Webserver], object]] = {
    "BenchLocations": lambda server: sorted(server.list_locations().values(), key=lambda entry: entry.name),
    "BenchAssets": lambda server: sorted(server.list_assets("a", "r").items()),
    "BenchPartitions": lambda server: sorted(server.list_partitions("a/b")),
    "BenchSubmit": lambda server: server.submit(location="a", repository="r", job="j", tags={}),
    "BenchBackfill": lambda server: server.submit_backfill(asset_keys=["a"], partitions=["p"], tags={}),
    "BenchSensorTicks": lambda server: server.tick_times_s(location="a", repository="r", name="n", kind="sensor"),
    "BenchScheduleTicks": lambda server: server.tick_statuses(location="a", repository="r", schedule="n", since_s=1),
    "BenchStartSchedule": lambda server: server.start_schedule(location="a", repository="r", schedule="n"),
    "BenchStopSchedule": lambda server: server.stop_schedule("s"),
    "BenchTerminate": lambda server: server.terminate("r1"),
    "BenchRun": lambda server: graphql.get_run(server, "r1"),
    "BenchRuns": lambda server: graphql.find_runs(server, {}),
    "BenchPage": lambda server: graphql.read_page(server, "r1"),
    "BenchLogs": lambda server: graphql.read_run_logs(server, ["r1", "r2"]),
}


@dataclass
class FakeServer:
    """Answers each query by its name, with valid data unless told otherwise."""

    changed: dict[str, Any] = field(default_factory=dict)
    answers: Mapping[str, Any] = field(default_factory=lambda: ANSWERS)
    raw: str | None = None
    status: int = 200

    def post(self, _session: object, _url: str, *, json: Mapping[str, Any], **_: object) -> requests.Response:
        answer = requests.Response()
        answer.status_code = self.status
        answer._content = (self._text(json["query"]) if self.raw is None else self.raw).encode("utf-8", "surrogatepass")
        return answer

    def _text(self, query: str) -> str:
        name = next(name for name in self.answers if f" {name}(" in query or f" {name} {{" in query)
        return json.dumps({"data": self.changed.get(name, self.answers[name])})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer()
    monkeypatch.setattr(requests.Session, "post", lambda session, url, **more: fake.post(session, url, **more))
    monkeypatch.setattr(client, "_POLL_S", 0.0)
    monkeypatch.setattr(client, "_PATIENCE_S", 0.0)
    return fake


def ask(question: Callable[[], object]) -> object:
    """Return the answer, or None after a documented error of one line."""
    try:
        return question()
    except UnusableError as error:
        said = str(error)
    assert said.splitlines() == [said]
    said.encode()
    return None


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_is_valid_is_understood(name: str, server: FakeServer) -> None:
    assert server.status == 200
    QUESTIONS[name](Webserver(URL))


@sizes(12)
@pytest.mark.parametrize("name", QUESTIONS)
def test_any_answer_is_understood_or_refused(name: str, limits: settings, server: FakeServer) -> None:
    @fuzz(limits, mutated(ANSWERS[name]))
    def check(data: Any) -> None:
        server.changed = {name: data}
        answer = ask(lambda: QUESTIONS[name](Webserver(URL)))
        hash(repr(answer))


@sizes(40)
def test_any_text_is_understood_or_refused(limits: settings, server: FakeServer) -> None:
    whole = json.dumps({"data": ANSWERS["BenchRuns"]})
    texts = st.one_of(
        st.integers(0, len(whole)).map(lambda end: whole[:end]),
        mutated({"data": None, "errors": [{"message": "m", "locations": []}]}).map(json.dumps),
        JUNK.map(json.dumps),
        st.sampled_from(["[" * 100_000, "<html>", "\ud800", '{"data": {"runs": "\\ud800"}}', "9" * 5_000]),
    )

    @fuzz(limits, texts, st.sampled_from([200, 200, 302, 400, 401, 404, 500, 502]))
    def check(text: str, status: int) -> None:
        server.raw, server.status = text, status
        ask(lambda: graphql.find_runs(Webserver(URL), {}))
        ask(lambda: Webserver(URL).submit(location="a", repository="r", job="j", tags={}))


@sizes(5)
@pytest.mark.parametrize("name", ["BenchPage", "BenchRuns", "BenchRun", "BenchLogs", "plan", "note"])
def test_any_far_sweep_is_stored_and_reported_or_refused(
    name: str, limits: settings, server: FakeServer, tmp_path: Path
) -> None:
    store = Store.in_directory(tmp_path)
    good = ask(lambda: client.fetch_sweep(Webserver(URL), "r1", 0.0))
    assert good
    store.save(good)  # type: ignore[arg-type]

    def with_entry(number: int, data: Any) -> dict[str, Any]:
        """Return the journal with other data in one of its entries."""
        events = [dict(entry) for entry in JOURNAL["events"]]
        events[number]["metadataEntries"] = [json_entry("note" if number else "plan", data)]
        return {**ANSWERS["BenchPage"], "log": JOURNAL | {"events": events}}

    if name == "plan":
        answers = mutated(PLANS.dump_python(PLAN, mode="json")).map(lambda data: with_entry(0, data))
    elif name == "note":
        note = TrialNote(1, Outcome.OK, run_id="r1", requested_us=CREATED_US, usage={"a": 1.0})
        answers = mutated(NOTES.dump_python(note, mode="json")).map(lambda data: with_entry(1, data))
    else:
        answers = mutated(ANSWERS[name])

    @fuzz(limits, answers)
    def check(answer: Any) -> None:
        server.changed = {name if name in ANSWERS else "BenchPage": answer}
        ask(lambda: list(client.follow(Webserver(URL), "r1")))
        sweep = ask(lambda: client.fetch_sweep(Webserver(URL), "r1", 0.0))
        if sweep is not None:
            store.save(sweep)  # type: ignore[arg-type]
            stored = store.load(sweep.plan.sweep_id)  # type: ignore[attr-defined]
            json.dumps(summarize(stored))
            render_table(stored)
            render_markdown(stored, []).encode()
        assert store.list_sweeps()


@sizes(6)
@pytest.mark.parametrize("name", deployment_answers.ANSWERS)
def test_any_deployment_is_diagnosed_or_refused(name: str, limits: settings, server: FakeServer) -> None:
    server.answers = deployment_answers.ANSWERS

    @fuzz(limits, mutated(deployment_answers.ANSWERS[name]))
    def check(data: Any) -> None:
        server.changed = {name: data}
        reading = ask(lambda: DeploymentReader(Webserver(URL)).read())
        if reading is None:
            assert name == "BenchLocations"
        else:
            assert isinstance(reading, DeploymentReading)
            diagnosis = diagnose(reading, UTC)
            json.dumps(summarize_diagnosis(diagnosis, "UTC"))
            render_diagnosis_markdown(diagnosis, "UTC").encode()
