"""A deployment is read whole or as a sample, one request at a time, and what is not answered costs a line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from deployment_answers import ANSWERS, LOG, AnsweringWebserver, Clock, event_answer, run_answer
from doctor_samples import BEGIN_US, launch_events

from bench_orchestrator.model.deployment_reading import Contents, Daemon, FailedTick, InstanceSettings
from bench_orchestrator.model.run_queue import Granularity, Holder, RunLimits, TagLimit
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.sources import deployment_reading
from bench_orchestrator.sources.deployment_instance import read_settings
from bench_orchestrator.sources.deployment_reading import DeploymentReader
from bench_orchestrator.webserver import AccessDeniedError, WebserverError, WebserverUnreachableError


@dataclass
class Read:
    """A reader and what it asks."""

    changed: Mapping[str, Any] = field(default_factory=dict)
    takes_s: float = 0.0
    budget_s: float = 120.0
    most_runs: int = 200

    def __post_init__(self) -> None:
        clock = Clock()
        self.webserver = AnsweringWebserver({**ANSWERS, **self.changed}, clock, self.takes_s)
        self.reader = DeploymentReader(self.webserver, self.most_runs, self.budget_s, clock)

    def names(self) -> list[str]:
        return [name for name, _ in self.webserver.asked]


def only_of_sales(answer: Callable[[Mapping[str, Any]], list[dict[str, Any]]]) -> Callable[..., dict[str, Any]]:
    """Return runs for the location `sales` alone, none for others and none in the queue."""

    def runs(variables: Mapping[str, Any], _: str) -> dict[str, Any]:
        tags = variables["filter"].get("tags") or []
        found = answer(variables) if [tag["value"] for tag in tags] == ["__repository__@sales"] else []
        return {"runs": {"__typename": "Runs", "results": found}}

    return runs


TWO_RUNS = only_of_sales(lambda _: [run_answer("r2", at_s=60.0), run_answer("r1")])


def test_everything_is_read() -> None:
    reading = Read({"BenchRuns": TWO_RUNS}).reader.read()
    assert reading.version == "1.13.27"
    sales, broken = reading.locations
    assert sales.contents == Contents(assets=3, partitioned=1, partitions=2, looked_at=1, jobs=1, checks=1)
    assert (broken.state, broken.error, broken.since_us, broken.contents) == ("error", "c", BEGIN_US, Contents())
    assert reading.daemons == (
        Daemon("SENSOR", True, True, BEGIN_US, ("no",)),
        Daemon("BACKFILL", True, False, None),
    )
    assert reading.settings == InstanceSettings(
        "DefaultRunLauncher", "QueuedRunCoordinator", 2.0, shown=True, free_slots_after_s=30
    )
    assert reading.queue.limits == RunLimits(7, (TagLimit("team", 1, per_value=True),), granularity=Granularity.RUN)
    assert reading.ticks == (FailedTick("sales", "sensor", "files", BEGIN_US, "late DEADLINE_EXCEEDED"),)
    assert [(one.run.run_id, one.location) for one in reading.runs] == [("r1", "sales"), ("r2", "sales")]
    assert all(one.story is not None and one.story.planned == 1 for one in reading.runs)
    assert reading.missing == ()
    assert reading.cost.requests > 10


def test_the_queue_is_that_of_the_instance() -> None:
    def runs(variables: Mapping[str, Any], _: str) -> dict[str, Any]:
        by_status = {"QUEUED": [run_answer("q2", "QUEUED", 60.0), run_answer("q1", "QUEUED")]}
        selected = variables["filter"]
        if selected.get("runIds"):
            found = [run_answer("r1")]
        else:
            found = [one for status in selected.get("statuses") or () for one in by_status.get(status, ())]
        return {"runs": {"__typename": "Runs", "results": found}}

    queue = Read({"BenchRuns": runs}).reader.read().queue
    first, second = queue.queued
    assert (first.run_id, second.run_id, first.since_us) == ("q1", "q2", BEGIN_US)
    assert (first.location, first.pools, first.first_pools, first.begins_freely) == (
        "sales",
        frozenset({"db"}),
        {"db": 2},
        False,
    )
    pool = queue.pools["db"]
    assert pool.claims == (Holder("r1", "nightly", RunStatus.SUCCESS, step="a"),)
    assert (pool.slots, pool.waiting, pool.asked) == (1, (("r2", "b"),), 1)


def test_what_an_older_webserver_lacks_costs_a_line() -> None:
    def runs(variables: Mapping[str, Any], document: str) -> dict[str, Any]:
        if "allPools" in document:
            raise WebserverError("Cannot query field 'allPools' on type 'Run'.")
        return TWO_RUNS(variables, document)

    lacks = WebserverError("Cannot query field 'poolConfig' on type 'Instance'.")
    reading = Read({"BenchRuns": runs, "BenchPoolSettings": lacks, "BenchVersion": {"version": None}}).reader.read()
    assert [line.partition(":")[0] for line in reading.missing] == [
        "how pools limit runs",
        "the pools of the queued runs",
        "the pools of the runs in progress",
    ]
    assert reading.queue.limits == RunLimits(7, (TagLimit("team", 1, per_value=True),))
    assert reading.logs_read == 2


@pytest.mark.parametrize("name", sorted(set(ANSWERS) - {"BenchLocations"}))
def test_no_question_but_the_first_is_needed(name: str) -> None:
    read = Read({"BenchRuns": TWO_RUNS, name: WebserverUnreachableError("no answer")})
    reading = read.reader.read()
    assert any("no answer" in line for line in reading.missing)
    with pytest.raises(AccessDeniedError):
        Read({name: AccessDeniedError("no")}).reader.read()


def test_without_its_locations_nothing_is_read() -> None:
    with pytest.raises(WebserverUnreachableError):
        Read({"BenchLocations": WebserverUnreachableError("no answer")}).reader.read()


class TestTheTime:
    def test_where_it_is_over_the_logs_are_a_sample_of_all_of_it(self) -> None:
        many = [run_answer(f"r{number:03}", at_s=-10.0 * number) for number in range(100)]
        read = Read({"BenchRuns": only_of_sales(lambda _: many)}, takes_s=1.0)
        whole = Read({"BenchRuns": TWO_RUNS})
        whole.reader.read()
        read.reader.budget_s = whole.names().index("BenchLogs") + 1.5
        read.reader.most_runs = 100
        reading = read.reader.read()
        chosen = [int(one.run.run_id[1:]) for one in reading.runs if one.story is not None]
        assert len(reading.runs) == 100
        assert 25 <= len(chosen) < 100
        assert min(chosen) < 8
        assert max(chosen) > 90

    def test_where_there_is_none_only_lines_are_left(self) -> None:
        reading = Read(takes_s=10.0, budget_s=5.0).reader.read()
        assert [location.name for location in reading.locations] == ["sales", "broken"]
        assert reading.logs_read == 0
        assert all(line.endswith("the time was over") for line in reading.missing)

    def test_no_more_runs_are_listed_than_asked_for(self) -> None:
        def endless(variables: Mapping[str, Any]) -> list[dict[str, Any]]:
            begin = int((variables["cursor"] or "r0")[1:])
            return [run_answer(f"r{begin + number}") for number in range(1, variables["limit"] + 1)]

        read = Read({"BenchRuns": only_of_sales(endless)}, most_runs=150)
        assert len(read.reader.read().runs) == 150


class TestLongLogs:
    @pytest.fixture(autouse=True)
    def short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(deployment_reading, "_ENOUGH_EVENTS", 10)
        monkeypatch.setattr(deployment_reading, "_MOST_EVENTS", 40)

    @staticmethod
    def paged(events: list[dict[str, Any]], page: int) -> Callable[..., dict[str, Any]]:
        def log(variables: Mapping[str, Any], _: str) -> dict[str, Any]:
            begin = int(variables["cursor0"] or 0)
            more = begin + page < len(events)
            return {
                "log0": {**LOG, "cursor": str(begin + page), "hasMore": more, "events": events[begin : begin + page]}
            }

        return log

    def read(self, events: list[dict[str, Any]]) -> Any:
        one = only_of_sales(lambda _: [run_answer("r1")])
        (run,) = Read({"BenchRuns": one, "BenchLogs": self.paged(events, 5)}).reader.read().runs
        return run.story

    def test_are_read_until_the_code_is_reached_and_a_little_more(self) -> None:
        events = [event_answer(event) for event in launch_events(0.0)]
        chatter = [{**events[-3], "eventType": "LOG_MESSAGE"}] * 100
        story = self.read([*events[:-2], *chatter])
        assert not story.whole
        assert story.log.steps[0].started_us is not None

    def test_without_the_code_in_sight_are_given_up(self) -> None:
        assert self.read([event_answer(launch_events(0.0)[0])] * 100) is None


class TestReadingAgain:
    def test_finished_runs_and_known_contents_are_not_read_again(self) -> None:
        found = [run_answer("r2", "STARTED", 60.0), run_answer("r1")]
        read = Read({"BenchRuns": only_of_sales(lambda _: found)})
        first = read.reader.read()
        read.webserver.asked.clear()
        second = read.reader.read()
        assert second.runs == first.runs
        (logs,) = [variables for name, variables in read.webserver.asked if name == "BenchLogs"]
        assert [value for key, value in logs.items() if key.startswith("run")] == ["r2"]
        assert not {"BenchAssets", "BenchJobs", "BenchChecks", "BenchPartitions"} & set(read.names())
        assert second.cost.requests < first.cost.requests


class TestTheSettings:
    @pytest.mark.parametrize(
        ("info", "queues", "expected"),
        [
            (None, True, InstanceSettings("L", "QueuedRunCoordinator", None)),
            ("[1, 2]", True, InstanceSettings("L", "QueuedRunCoordinator", None)),
            ("a: !!python/tuple [1]", True, InstanceSettings("L", "QueuedRunCoordinator", None)),
            ("run_storage: x", True, InstanceSettings("L", "QueuedRunCoordinator", 5.0, shown=True)),
            (
                "run_queue: {max_concurrent_runs: 3}",
                True,
                InstanceSettings("L", "QueuedRunCoordinator", 5.0, "run_queue or run_coordinator", shown=True),
            ),
            (
                "run_coordinator: {module: dagster_warm.queue, class: PromptRunCoordinator}",
                True,
                InstanceSettings("L", "PromptRunCoordinator", 0.0, shown=True),
            ),
            ("run_storage: x", False, InstanceSettings("L", "", None, shown=True)),
        ],
    )
    def test_follow_from_what_is_shown(self, info: str | None, queues: bool, expected: InstanceSettings) -> None:
        answer = {"instance": {"info": info, "runQueuingSupported": queues, "runLauncher": {"name": "L"}}}
        assert read_settings(AnsweringWebserver({"BenchSettings": answer}, Clock())) == expected
