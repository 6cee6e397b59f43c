"""Random kills over all processes while sweeps run and are resumed: every planned trial is in the table once.

BENCH_TEST_KILLS is the number of kills, BENCH_TEST_SEED repeats their choice; what they hit depends on the moment.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import psutil
import pytest

from bench_orchestrator.deployment.ports import HeldPort
from bench_orchestrator.deployment.processes import processes_of
from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.launch import REPEATED
from bench_orchestrator.model.runs import IN_PROGRESS, UNFINISHED, Run, RunStatus
from bench_orchestrator.model.tags import MEASUREMENTS_ASSET, META_LOCATION, Tag
from bench_orchestrator.results.store import Store
from bench_orchestrator.sources.instance import end_as_failed, find_runs, find_trial_runs, last_sign_us
from bench_orchestrator.sweeps.journal import read_journal
from bench_orchestrator.sweeps.resuming import find_resumable
from bench_orchestrator.webserver import Webserver, WebserverError
from integration.leftovers import assert_nothing_left
from integration.sweeping import FAST, PROJECT, instance_of, wait_for

KILLS = int(os.environ.get("BENCH_TEST_KILLS", "200"))
SEED = int(os.environ.get("BENCH_TEST_SEED", "0")) or random.randrange(1, 1_000_000)

FORKING = "a2_sleep0ms"
"""A location whose steps are processes of their own."""

LIMIT_S = 600.0 + 20.0 * KILLS
"""For the whole test: 10 to 20 s per kill with the restarts after it, and what they left is resumed."""

IDLE_SHARE = 0.25
"""The share of kills that are carried out while no sweep is in progress: most are to hit one."""

DEAD_AFTER_S = 30.0
"""A bench's run without a process counts as dead after this silence; the sensor waits for ten minutes and a trial."""

SWEEP = ("--repeats", "3", "--warmups", "0", "--pause", "0", "--jitter", "0", "--settle", "0", "--timeout", "45")

WEIGHTS = {"supervisor": 0.3, "client": 0.4, "sweep's run worker": 2.0, "trial's run worker": 3.0, "step": 4.0}
"""How often each kind is killed while it lives, against 1 for a server: runs and steps live for moments only."""


@dataclass
class Chaos:
    """A local deployment under fire: `bench up`, one `bench run` at a time, and the processes that they started."""

    home: Path
    port: int
    instance: dg.DagsterInstance
    rng: random.Random
    kills: list[str] = field(default_factory=list)
    up: subprocess.Popen[bytes] | None = None
    client: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The webserver's URL, the same after each restart."""
        return f"http://127.0.0.1:{self.port}"

    def keep_up(self) -> None:
        """Start `bench up`, again if it was killed."""
        if self.up is None or self.up.poll() is not None:
            self.up = self._bench("up", "--port", str(self.port), "--locations", f"{FAST},{FORKING}")

    def run(self, *arguments: str) -> None:
        """Start `bench run` like a user."""
        self.client = self._bench("run", "quick", "--url", self.url, *arguments)

    def _bench(self, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
        with (self.home / f"{command}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "bench_orchestrator", command, *arguments],
                cwd=PROJECT,
                env={**inherited, "DAGSTER_HOME": str(self.home), "PYTHONUNBUFFERED": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill_one(self) -> None:
        """Kill a process of a random kind, if there is any."""
        victims = dict(self._victims())
        if victims:
            kinds = sorted(victims)
            (kind,) = self.rng.choices(kinds, [WEIGHTS.get(kind, 1.0) for kind in kinds])
            with suppress(psutil.NoSuchProcess):
                psutil.Process(victims[kind]).kill()
                self.kills.append(kind)

    def _victims(self) -> Iterator[tuple[str, int]]:
        """Yield the kinds of living processes, each with the id of one."""
        for kind, process in (("supervisor", self.up), ("client", self.client)):
            if process is not None and process.poll() is None:
                yield kind, process.pid
        living: dict[int, list[str]] = {}
        for server in processes_of(home=self.home):
            with suppress(psutil.Error):
                living[server.pid] = server.cmdline()
                if self.up is not None and server.ppid() == self.up.pid:
                    yield _server_kind(living[server.pid]), server.pid
        for run in find_runs(self.instance, {}, statuses=IN_PROGRESS):
            kind, worker = run.tags.get(Tag.KIND, "other"), self._worker(run)
            if worker in living:
                yield f"{kind}'s run worker", worker
                if kind == "trial":
                    with suppress(psutil.Error):
                        yield from (("step", step.pid) for step in psutil.Process(worker).children(recursive=True))

    def _worker(self, run: Run) -> int:
        """Return the id of a run worker's process, which may have ended; 0 if there is none yet."""
        for entry in self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            if found := re.search(r"Started process for run \(pid: (\d+)\)", entry.message):
                return int(found[1])
        return 0

    def end_the_dead(self) -> None:
        """Report what the sensor reports after ten minutes, and what a user cancels who sees that it never starts."""
        living = {process.pid for process in processes_of(home=self.home)}
        for run in [*self.unfinished("sweep"), *self.unfinished("harvest")]:
            silence_us = now_us() - last_sign_us(self.instance, run)
            silent = run.status is not RunStatus.QUEUED and silence_us > DEAD_AFTER_S * MICROSECONDS
            if silent and self._worker(run) not in living:
                end_as_failed(self.instance, run.run_id, "its process counts as dead")

    def is_quiet(self) -> bool:
        """End the dead; return whether no run of any kind is in progress."""
        self.end_the_dead()
        return not find_runs(self.instance, {}, statuses=UNFINISHED)

    def unfinished(self, kind: str) -> list[Run]:
        """Return the runs of a kind that are not over."""
        return find_runs(self.instance, {Tag.KIND: kind}, statuses=UNFINISHED)

    def plans(self) -> dict[str, str]:
        """Return the latest run of each sweep that has a plan, by sweep id."""
        runs = find_runs(self.instance, {Tag.KIND: "sweep"})
        journals = {run.run_id: read_journal(self.instance, run.run_id) for run in runs}
        return {journal.plan.sweep_id: run_id for run_id, journal in journals.items() if journal is not None}

    def incomplete(self) -> list[str]:
        """Return the ids of the sweeps that can be resumed."""
        return [sweep_id for sweep_id in self.plans() if self._is_incomplete(sweep_id)]

    def _is_incomplete(self, sweep_id: str) -> bool:
        try:
            find_resumable(self.instance, "quick", sweep_id)
        except PreflightError:  # it is complete
            return False
        return True

    def is_usable(self) -> bool:
        """Keep it up; return whether the webserver has loaded the locations."""
        self.keep_up()
        try:
            return {entry.state for entry in Webserver(self.url).list_locations().values()} == {"loaded"}
        except WebserverError:
            return False

    def harvest(self, run_id: str) -> None:
        """Harvest a sweep by hand, without waiting for the sensor."""
        submitted = Webserver(self.url).submit(
            location=META_LOCATION,
            repository="__repository__",
            job="harvest",
            asset_keys=[MEASUREMENTS_ASSET],
            run_config={"ops": {MEASUREMENTS_ASSET: {"config": {"sweep_runs": [run_id]}}}},
            tags={Tag.HARVEST_OF.value: run_id},
        )
        wait_for("the harvest", lambda: self.instance.get_run_by_id(submitted).is_finished)  # type: ignore[union-attr]
        assert self.instance.get_run_by_id(submitted).is_success  # type: ignore[union-attr]


def _server_kind(command: Sequence[str]) -> str:
    for module in ("dagster_webserver", "dagster._daemon"):
        if module in command:
            return module
    return (
        f"code server of {command[command.index('--location-name') + 1]}" if "--location-name" in command else "other"
    )


@contextmanager
def chaos(home: Path) -> Iterator[Chaos]:
    """Yield a deployment that is up; stop it like a user afterwards."""
    subprocess.run(
        [sys.executable, "-m", "dagster", "instance", "info"],
        env={**os.environ, "DAGSTER_HOME": str(home)},
        check=True,
    )
    with instance_of(home) as instance, closing(HeldPort()) as port:
        under_fire = Chaos(home, port.number, instance, random.Random(SEED))
        try:
            wait_for("the deployment", under_fire.is_usable, every_s=1)
            yield under_fire
            assert under_fire.up is not None
            under_fire.up.send_signal(signal.SIGINT)
            assert under_fire.up.wait(60) == 0
        finally:
            for process in (under_fire.client, under_fire.up):
                if process is not None:
                    process.kill()
                    process.wait()
    wait_for("the end of all processes", lambda: not processes_of(home=home))
    assert_nothing_left(home)


@pytest.mark.thorough
@pytest.mark.timeout(LIMIT_S + 300)
def test_whatever_is_killed_each_planned_trial_is_in_the_table_once(new_home: Callable[..., Path]) -> None:
    print(f"seed {SEED}, {KILLS} kills")
    began = time.monotonic()
    with chaos(new_home()) as under_fire:
        sweeps = 0
        while len(under_fire.kills) < KILLS or under_fire.incomplete():
            assert time.monotonic() - began < LIMIT_S, f"{under_fire.incomplete()} after {under_fire.kills}"
            left = under_fire.incomplete()
            sweeps += not left
            under_fire.run(*(("--resume", left[0]) if left else ("--locations", f"{FAST},{FORKING}", *SWEEP)))
            _fire_until_it_is_over(under_fire)
        print(f"{sweeps} sweeps: {under_fire.kills}")
        wait_for("what was restarted", under_fire.is_usable, every_s=1)
        assert under_fire.plans()
        for sweep_id, run_id in under_fire.plans().items():
            _assert_each_trial_once(under_fire, sweep_id, run_id)
        wait_for("the end of the last runs", under_fire.is_quiet, every_s=1)


def _fire_until_it_is_over(under_fire: Chaos) -> None:
    """Kill process after process until a sweep, or what became of it, is over and its client has ended."""
    client = under_fire.client
    assert client is not None
    harvest_since = None
    while client.poll() is None or under_fire.unfinished("sweep"):
        time.sleep(under_fire.rng.uniform(2, 8))
        busy = under_fire.unfinished("sweep") or under_fire.unfinished("harvest")
        if len(under_fire.kills) < KILLS and (busy or under_fire.rng.random() < IDLE_SHARE):
            under_fire.kill_one()
        under_fire.keep_up()
        under_fire.end_the_dead()
        if under_fire.unfinished("sweep"):
            harvest_since = None
        else:  # the pauses between failed harvests grow
            harvest_since = harvest_since or time.monotonic()
            if time.monotonic() - harvest_since > 60:
                client.kill()


def _assert_each_trial_once(under_fire: Chaos, sweep_id: str, run_id: str) -> None:
    under_fire.harvest(run_id)
    store = Store.in_directory(under_fire.home / "results")
    sweep = store.load(sweep_id)
    assert [trial.number for trial in sweep.trials] == [planned.number for planned in sweep.plan.trials]
    assert [trial.location for trial in sweep.trials] == [planned.location for planned in sweep.plan.trials]
    with store.open(read_only=True) as connection:
        rows = connection.execute("select trial from launch_measurements where sweep_id = ?", [sweep_id]).fetchall()
    assert sorted(number for (number,) in rows) == [planned.number for planned in sweep.plan.trials]
    measured = [trial.launch.run_id for trial in sweep.trials if trial.launch.run_id is not None]
    assert len(measured) == len(set(measured))
    assert set(measured) <= {run.run_id for run in find_trial_runs(under_fire.instance, sweep_id)}
    for trial in sweep.trials:
        assert trial.outcome not in REPEATED, f"{sweep_id}, trial {trial.number}: {trial.reason}"
        assert bool(trial.reason) is (trial.outcome != "ok")
    print(sweep_id, [trial.outcome.value for trial in sweep.trials])
