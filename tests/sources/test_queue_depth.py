"""The oldest queued run is found, however deep the queue is, and a deep one is not listed whole each time."""

import pytest
from ending_runs import EndingRuns
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.model.run_queue import RunLimits
from bench_orchestrator.sources import queue_depth
from bench_orchestrator.sources.queue_depth import QueueReader


def test_an_empty_queue_has_no_oldest_run() -> None:
    deployment = EndingRuns()
    deployment.add("runs", "STARTED", location="hr", job="report")
    depth = QueueReader(deployment.webserver).read()
    assert (depth.queued, depth.oldest_us) == (0, None)
    assert isinstance(depth.limits, RunLimits)
    assert depth.limits.max_concurrent_runs == 7
    assert [(run.location, run.job) for run in depth.in_progress] == [("hr", "report")]


def test_a_deep_queue_is_listed_whole_once() -> None:
    deployment = EndingRuns()
    for number in range(350):
        deployment.now_s = float(number)
        deployment.add(f"r{number}", "QUEUED")
    reader = QueueReader(deployment.webserver)
    asked = deployment.webserver.asked

    def listed() -> int:
        asked.clear()
        assert reader.read().oldest_us == deployment.now_us() - 349_000_000
        return sum(name == "BenchRuns" and "QUEUED" in variables["filter"]["statuses"] for name, variables in asked)

    assert listed() == 4
    assert listed() == 2


@pytest.mark.parametrize("few", [2])
@given(steps=st.lists(st.integers(-6, 6), max_size=15))
def test_the_oldest_run_is_found_while_runs_come_and_go(few: int, steps: list[int]) -> None:
    deployment = EndingRuns()
    reader, waiting, created = QueueReader(deployment.webserver), list[str](), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue_depth, "_FEW", few)
        for step in steps:
            for _ in range(step):
                created += 1
                deployment.now_s = float(created)
                deployment.add(f"r{created}", "QUEUED")
                waiting.append(f"r{created}")
            for run_id in waiting[: max(0, -step)]:
                deployment.remove(run_id)
            del waiting[: max(0, -step)]
            depth = reader.read()
            assert depth.queued == len(waiting)
            expected = deployment.now_us() - (created - int(waiting[0][1:])) * 1_000_000 if waiting else None
            assert depth.oldest_us == expected
