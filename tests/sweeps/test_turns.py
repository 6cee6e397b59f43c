"""Sweeps and harvests take turns: an earlier sweep is harvested before the next one measures."""

import time
from collections.abc import Callable

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData
from dagster._daemon.types import DaemonHeartbeat
from recording import end_run, make_plan, make_run, run_sweep

from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.tags import HARVEST_SENSOR, Tag
from bench_orchestrator.sweeps import turns
from bench_orchestrator.sweeps.turns import await_harvests, find_measuring

Status = RunStatus


def beat(instance: dg.DagsterInstance, ago_s: float = 0) -> None:
    """Record the heartbeat of a daemon that evaluates sensors."""
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - ago_s, "SENSOR", "4f2a"))


def switch(instance: dg.DagsterInstance, status: InstigatorStatus, name: str = HARVEST_SENSOR) -> None:
    """Record that a sensor was switched on or off."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("bench_orchestrator"), "__repository__")
    origin = RemoteInstigatorOrigin(repository, name)
    instance.add_instigator_state(
        InstigatorState(origin, InstigatorType.SENSOR, status, SensorInstigatorData(min_interval=10))
    )


@pytest.fixture
def instance(home_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """Return an instance that remembers which sensors are switched on."""
    return home_instance


class Waiting:
    """A sweep that is about to begin."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.run_id = make_run(instance, {Tag.KIND: "sweep"}, Status.STARTED)
        self.said: list[str] = []
        self.slept = 0

    def wait(self, meanwhile: Callable[[int], object] = lambda _: None) -> None:
        """Wait for its turn; `meanwhile` is called with the number of each look that was in vain."""

        def sleep(_: float) -> None:
            self.slept += 1
            meanwhile(self.slept)

        await_harvests(self.instance, self.run_id, self.said.append, sleep)


@pytest.fixture
def waiting(instance: dg.DagsterInstance) -> Waiting:
    """Return a sweep that is about to begin, beside a live sensor."""
    beat(instance)
    return Waiting(instance)


class TestASweepThatIsAboutToBegin:
    def test_does_not_wait_where_nothing_is_left_to_harvest(
        self, instance: dg.DagsterInstance, waiting: Waiting
    ) -> None:
        harvested = run_sweep(instance, make_plan("quick-1"))
        make_run(instance, {Tag.KIND: "harvest", Tag.HARVEST_OF: harvested}, Status.SUCCESS)
        run_sweep(instance, None, ending=RuntimeError)
        waiting.wait()
        assert (waiting.said, waiting.slept) == ([], 0)

    def test_waits_until_the_earlier_one_is_harvested(self, instance: dg.DagsterInstance, waiting: Waiting) -> None:
        earlier = run_sweep(instance, make_plan())
        of: dict[str, str] = {Tag.KIND: "harvest", Tag.HARVEST_OF: earlier}
        begun: list[str] = []

        def meanwhile(look: int) -> None:
            if look == 2:
                begun.append(make_run(instance, of, Status.STARTED))
            elif look == 4:
                end_run(instance, begun[0], "held")

        waiting.wait(meanwhile)
        assert (waiting.said, waiting.slept) == (["Waiting until earlier sweeps are harvested ..."], 4)

    @pytest.mark.parametrize("status", [Status.NOT_STARTED, Status.STARTED])
    def test_waits_for_a_harvest_that_a_person_launched(
        self, instance: dg.DagsterInstance, waiting: Waiting, status: Status
    ) -> None:
        run_id = make_run(instance, {Tag.KIND: "harvest"}, status)
        waiting.wait(lambda _: end_run(instance, run_id))
        assert waiting.slept == 1

    def test_does_not_wait_for_one_whose_harvest_fails(self, instance: dg.DagsterInstance, waiting: Waiting) -> None:
        earlier = run_sweep(instance, make_plan())
        make_run(instance, {Tag.KIND: "harvest", Tag.HARVEST_OF: earlier}, Status.FAILURE)
        waiting.wait()
        assert waiting.slept == 0

    def test_does_not_wait_for_ever(
        self, instance: dg.DagsterInstance, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(turns, "_PATIENCE_S", 0.01)
        run_sweep(instance, make_plan())
        waiting.wait()
        assert waiting.said[1:] == ["They are not harvested after 0.01 s; this sweep begins."]

    @pytest.mark.parametrize("ago_s", [None, 3_600])
    def test_does_not_wait_without_a_daemon(self, instance: dg.DagsterInstance, ago_s: float | None) -> None:
        if ago_s is not None:
            beat(instance, ago_s)
        run_sweep(instance, make_plan())
        waiting = Waiting(instance)
        waiting.wait()
        assert (waiting.said, waiting.slept) == ([], 0)

    @pytest.mark.parametrize(
        ("status", "name", "waits"),
        [
            (InstigatorStatus.STOPPED, HARVEST_SENSOR, False),
            (InstigatorStatus.RUNNING, HARVEST_SENSOR, True),
            (InstigatorStatus.DECLARED_IN_CODE, HARVEST_SENSOR, True),
            (InstigatorStatus.STOPPED, "another", True),
        ],
    )
    def test_does_not_wait_for_a_sensor_that_is_switched_off(
        self,
        instance: dg.DagsterInstance,
        waiting: Waiting,
        monkeypatch: pytest.MonkeyPatch,
        status: InstigatorStatus,
        name: str,
        waits: bool,
    ) -> None:
        monkeypatch.setattr(turns, "_PATIENCE_S", 0.01)
        switch(instance, status, name)
        run_sweep(instance, make_plan())
        waiting.wait()
        assert bool(waiting.said) is waits


class TestMeasuring:
    def test_a_sweep_measures_from_its_plan_to_its_end(self, instance: dg.DagsterInstance) -> None:
        seen: list[str | None] = []

        def meanwhile(_: str) -> None:
            measuring = find_measuring(instance)
            seen.append(measuring.run_id if measuring else None)

        run_sweep(instance, None, meanwhile=meanwhile)
        measured = run_sweep(instance, make_plan(), meanwhile=meanwhile)
        assert seen == [None, measured]
        assert find_measuring(instance) is None
