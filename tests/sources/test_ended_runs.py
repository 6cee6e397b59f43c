"""Every run that ends after an instant is found once, whatever the clocks, the webserver and later changes do."""

from collections import Counter
from collections.abc import Iterator
from unittest import mock

import pytest
from ending_runs import EndingRuns
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.sources import ended_runs
from bench_orchestrator.sources.ended_runs import EndedRuns, read_launches
from bench_orchestrator.webserver import WebserverUnreachableError

OVERLAP_S = 10


@pytest.fixture
def deployment() -> Iterator[EndingRuns]:
    runs = EndingRuns()
    with mock.patch.object(ended_runs, "now_us", runs.now_us):
        yield runs


def ended_of(deployment: EndingRuns, most_remembered: int = 50) -> EndedRuns:
    return EndedRuns(deployment.webserver, deployment.now_us(), OVERLAP_S * MICROSECONDS, most_remembered)


def found(ended: EndedRuns) -> list[str]:
    return [one.run.run_id for one in ended.look()]


class TestALook:
    def test_finds_what_ended_since_the_beginning_in_the_order_of_the_ends(self, deployment: EndingRuns) -> None:
        deployment.add("before", ended_s=-1.0)
        ended = ended_of(deployment)
        deployment.now_s = 30.0
        deployment.add("second", "FAILURE", ended_s=20.0, location="hr", job="report")
        deployment.add("first", ended_s=10.0)
        deployment.add("running", "STARTED")
        first, second = ended.look()
        assert (first.run.run_id, second.run.run_id) == ("first", "second")
        assert (second.location, second.run.job, second.run.status, second.story) == ("hr", "report", "FAILURE", None)
        assert ended.look() == []

    def test_finds_them_all_if_they_are_more_than_a_page(self, deployment: EndingRuns) -> None:
        ended = ended_of(deployment)
        deployment.now_s = 1.0
        for number in range(250):
            deployment.add(f"r{number}")
        assert len(found(ended)) == 250

    def test_that_fails_loses_nothing(self, deployment: EndingRuns) -> None:
        ended = ended_of(deployment)
        deployment.now_s = 1.0
        deployment.add("a")
        deployment.away = True
        with pytest.raises(WebserverUnreachableError):
            ended.look()
        deployment.away, deployment.now_s = False, 5_000.0
        assert found(ended) == ["a"]

    def test_begins_at_the_instant_by_the_webservers_clock(self, deployment: EndingRuns) -> None:
        ended = ended_of(deployment)
        deployment.webserver.ahead_s = 60.0
        deployment.add("before", ended_s=59.0)
        deployment.add("after", ended_s=61.0)
        assert found(ended) == ["after"]


EVENTS = st.one_of(
    st.tuples(st.just("end"), st.integers(0, OVERLAP_S - 1)),
    st.tuples(st.just("wait"), st.integers(1, 3 * OVERLAP_S)),
    st.tuples(st.sampled_from(["touch", "look", "fail"]), st.just(0)),
)


@given(st.lists(EVENTS, max_size=40), st.integers(0, 5))
def test_each_run_is_found_once(events: list[tuple[str, int]], most_remembered: int) -> None:
    """Runs appear up to the overlap after their ends, records change later, looks fail, ids are forgotten."""
    deployment, counts, since = EndingRuns(), Counter[str](), set[str]()
    deployment.add("earlier", ended_s=-1.0)
    ended = ended_of(deployment, most_remembered)
    with mock.patch.object(ended_runs, "now_us", deployment.now_us):
        for kind, number in [*events, ("look", 0)]:
            deployment.away = kind == "fail"
            if kind == "wait":
                deployment.now_s += number
            elif kind == "end":
                run_id = f"r{len(since)}{'' if deployment.now_s > number else '-early'}"
                deployment.add(run_id, ended_s=deployment.now_s - number)
                since |= {run_id} if deployment.now_s > number else set()
            elif kind == "touch":
                deployment.touch("earlier")
                for run_id in since:
                    deployment.touch(run_id)
            elif kind == "look":
                counts.update(found(ended))
            else:
                with pytest.raises(WebserverUnreachableError):
                    ended.look()
    assert counts == Counter(since)


class TestTheLaunches:
    def test_are_those_of_the_logs(self, deployment: EndingRuns) -> None:
        ended = ended_of(deployment)
        deployment.add("a", ended_s=9.0, wait=4.0, load=1.5)
        ((run, launch),) = read_launches(deployment.webserver, ended.look())
        assert (run.run.run_id, launch.run_id) == ("a", "a")
        assert launch.stages_us[Stage.QUEUE_WAIT] == 4_000_000
        assert launch.stages_us[Stage.WORKER_LOAD] == 1_500_000

    def test_of_logs_that_are_gone_or_unreadable_are_left_out(self, deployment: EndingRuns) -> None:
        ended = ended_of(deployment)
        deployment.now_s = 1.0
        for run_id in "abc":
            deployment.add(run_id)
        runs = ended.look()
        deployment.remove("a")
        deployment.unreadable = {"b"}
        assert [one.run.run_id for one, _ in read_launches(deployment.webserver, runs)] == ["c"]

    def test_are_not_given_up_if_the_webserver_is_away(self, deployment: EndingRuns) -> None:
        ended = ended_of(deployment)
        deployment.add("a", ended_s=1.0)
        runs = ended.look()
        deployment.away = True
        with pytest.raises(WebserverUnreachableError):
            read_launches(deployment.webserver, runs)
