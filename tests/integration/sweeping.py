"""Helpers for tests of real sweeps: a deployment, and what must be true after any sweep, successful or not."""

import base64
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import psutil
import pytest

from bench_orchestrator import settings
from bench_orchestrator.defs.harvest import OUTCOME_CHECK
from bench_orchestrator.defs.history import DEPLOY_CHECK, LIMIT_CHECK, SLOWER_CHECK
from bench_orchestrator.deployment import (
    WARM_SERVER,
    CodeLocation,
    Deployment,
    instance_home,
    read_locations,
)
from bench_orchestrator.deployment.processes import processes_of
from bench_orchestrator.model.launch import Outcome, Sweep
from bench_orchestrator.model.plan import SweepPlan, again
from bench_orchestrator.model.runs import Run, RunStatus
from bench_orchestrator.model.stages import INIT_STAGES, QUEUE_STAGES
from bench_orchestrator.model.tags import HARVEST_SENSOR, MEASUREMENTS_ASSET, META_LOCATION, Tag
from bench_orchestrator.results.store import Store
from bench_orchestrator.scenarios.experiment import MEBIBYTE
from bench_orchestrator.sources.instance import find_runs, find_trial_runs, get_run
from bench_orchestrator.sweeps import client
from bench_orchestrator.sweeps.harvest import harvest_sweep
from bench_orchestrator.sweeps.journal import find_plan, read_journal
from bench_orchestrator.webserver import LocationAwayError, Webserver, WebserverError
from integration.leftovers import assert_nothing_left

PROJECT = Path(__file__).parent.parent.parent

FAST = "a3_sleep0ms_inprocess"
"""A location with the shortest possible launches."""

PARTITIONED = "a2p3_sleep0ms_inprocess"
ENDLESS = "a1_sleep600000ms_inprocess"
"""A location whose only asset takes ten minutes."""

RAISING = "raising"
RAISING_MODULE = """
import dagster as dg

@dg.asset(key_prefix="raising")
def table() -> None:
    raise ValueError("the warehouse is closed")

defs = dg.Definitions(assets=[table], executor=dg.in_process_executor)
"""

HURRIED: Mapping[str, Any] = {
    "repeats": 1,
    "warmups": 0,
    "pause_s": 0,
    "jitter_s": 0,
    "settle_s": 0,
    "timeout_s": 90,
}
"""The configuration of a sweep with each launch once, without pauses."""

POOLED_CONNECTIONS = 10
"""That the webserver keeps at most to each of its storages: it takes note of a cut one when it uses it."""

PATIENCE_S = 180.0
"""For what takes a few seconds on an idle machine."""

SERVED_EXPERIMENTS = ("imports", "loading", "partition-kinds", "dependencies", "checks", "selection-size")
"""The experiments whose locations the deployment serves; the others need separate deployments."""
LONGEST_EXPERIMENT_S = 600.0
"""For an experiment with many sides, on a busy machine."""

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T | None], timeout_s: float = PATIENCE_S, every_s: float = 0.2) -> T:
    """Call `look` until it returns something; return that."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(every_s)
    return found


@dataclass(frozen=True)
class Bench:
    """A running deployment, and the three ways into it: its webserver, its instance, its results."""

    deployment: Deployment
    webserver: Webserver
    instance: dg.DagsterInstance

    @property
    def results(self) -> Path:
        """Where the meta location stores its results."""
        return self.deployment.home / "results"

    @property
    def store(self) -> Store:
        """The results database."""
        return Store.in_directory(self.results)

    def start(self, locations: Sequence[str], scenario: str = "quick", **config: Any) -> str:
        """Launch a sweep like `bench run`, without pauses by default; return its run id."""
        return client.start_sweep(self.webserver, scenario, {**HURRIED, "locations": list(locations), **config})

    def start_experiment(self, name: str, **config: Any) -> str:
        """Launch an experiment at its quick size, without pauses; return its run id."""
        return client.start_sweep(self.webserver, name, {**HURRIED, "quick": True, **config})

    def run(self, run_id: str) -> Run:
        """Return the run's current state."""
        run = get_run(self.instance, run_id)
        assert run is not None
        return run

    def wait_for_status(self, run_id: str, *statuses: RunStatus) -> None:
        """Wait until the run has one of these statuses."""
        wait_for(f"run {run_id} {statuses}", lambda: self.run(run_id).status in statuses)

    def wait_for_end(self, run_id: str, timeout_s: float = PATIENCE_S) -> RunStatus:
        """Wait for the run's end; return its status."""
        wait_for(f"the end of run {run_id}", lambda: self.run(run_id).finished, timeout_s, every_s=0.5)
        return self.run(run_id).status

    def wait_for_trial(self, run_id: str, number: int, *statuses: RunStatus) -> Run:
        """Wait until a sweep's trial is launched, or has one of these statuses; return its run."""

        def look() -> Run | None:
            journal = read_journal(self.instance, run_id)
            runs = find_trial_runs(self.instance, journal.plan.sweep_id, number) if journal else []
            return next((run for run in runs if not statuses or run.status in statuses), None)

        return wait_for(f"trial {number} {statuses or 'launched'}", look)

    def wait_for_notes(self, run_id: str, count: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until a sweep is done with that many trials."""

        def look() -> bool:
            journal = read_journal(self.instance, run_id)
            return journal is not None and len(journal.notes) >= count

        wait_for(f"{count} notes", look, timeout_s)

    def planned(self, run_id: str) -> SweepPlan:
        """Return a sweep's plan."""
        plan = find_plan(self.instance, run_id)
        assert plan is not None
        return plan

    def harvests(self, run_id: str) -> list[Run]:
        """Return the runs that harvest a sweep, oldest first."""
        return find_runs(self.instance, {Tag.HARVEST_OF: run_id})

    def harvest(self, run_id: str) -> Sweep:
        """Wait for the sensor's harvest of a sweep; return its stored rows, checked against all rules."""
        wait_for(
            "the harvest",
            lambda: any(run.status is RunStatus.SUCCESS for run in self.harvests(run_id)),
        )
        return self.recorded(run_id)

    def harvest_now(self, run_id: str) -> Sweep:
        """Harvest at once, without the sensor and without charts."""
        self.wait_until_usable()

        def submit() -> str | None:
            try:
                return self.submit(
                    "harvest",
                    asset_keys=[MEASUREMENTS_ASSET],
                    run_config={"ops": {MEASUREMENTS_ASSET: {"config": {"sweep_runs": [run_id]}}}},
                    tags={Tag.HARVEST_OF.value: run_id},
                )
            except LocationAwayError:  # the webserver does not know yet that its code server was killed
                return None

        assert self.wait_for_end(wait_for("the meta location", submit)) is RunStatus.SUCCESS
        return self.recorded(run_id)

    @contextmanager
    def harvesting(self) -> Iterator[None]:
        """Switch the harvest sensor on within the block."""
        self._ask_for_sensor("mutation", "startSensor")
        try:
            yield
        finally:
            self.stop_harvests()

    def stop_harvests(self) -> None:
        """Switch the harvest sensor off: its charts take seconds of CPU, and `harvest_now` needs none."""
        answer = self.webserver.query(
            "mutation Stop($id: String!) { stopSensor(id: $id) { __typename } }",
            {"id": self._ask_for_sensor("query", "sensorOrError")["sensorState"]["id"]},
        )
        assert answer["stopSensor"]["__typename"] == "StopSensorMutationResult"

    def _ask_for_sensor(self, kind: str, field: str) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self.webserver.query(
            f"""{kind} Ask($selector: SensorSelector!) {{
                {field}(sensorSelector: $selector) {{ ... on Sensor {{ sensorState {{ id }} }} }}
            }}""",
            {
                "selector": {
                    "repositoryLocationName": META_LOCATION,
                    "repositoryName": "__repository__",
                    "sensorName": HARVEST_SENSOR,
                }
            },
        )[field]
        return answer

    def submit(self, job: str, **how: Any) -> str:
        """Launch a job of the meta location like a click in the UI; return its run id."""
        selected = {"location": META_LOCATION, "repository": "__repository__", "job": job, "tags": {}}
        return self.webserver.submit(**(selected | how))

    def wait_until_usable(self) -> None:
        """Wait until killed processes are back."""

        def look() -> bool:
            try:
                for _ in range(POOLED_CONNECTIONS):
                    self.webserver.query("{ runsOrError(limit: 1) { __typename } assetsOrError { __typename } }")
                return self.webserver.list_locations()[META_LOCATION].state == "loaded"
            except WebserverError:
                return False

        wait_for("the webserver and the meta location", look)

    def recorded(self, run_id: str) -> Sweep:
        """Return the stored rows of a sweep, checked against all rules."""
        journal = read_journal(self.instance, run_id)
        assert journal is not None
        sweep = self.store.load(journal.plan.sweep_id)
        self._assert_recorded_once(run_id, sweep)
        return sweep

    def _assert_recorded_once(self, run_id: str, sweep: Sweep) -> None:
        """Check the rules, and that a new harvest agrees."""
        assert self.run(run_id).finished
        assert_recorded_once(sweep, find_trial_runs(self.instance, sweep.plan.sweep_id))
        again = harvest_sweep(self.instance, run_id)
        assert again is not None
        self.store.save(again)
        assert self.store.load(sweep.plan.sweep_id) == sweep

    def outcomes(self, sweep: Sweep) -> list[str]:
        """Return the trials' outcomes, in order."""
        return [trial.outcome.value for trial in sweep.trials]

    def log(self, run_id: str) -> list[str]:
        """Return a run's messages and failures from its log."""
        lines = [entry.user_message for entry in self.instance.all_logs(run_id) if entry.dagster_event is None]
        failure = "".join(progress.failure for progress in client.follow(self.webserver, run_id))
        return [*lines, failure] if failure else lines

    def server(self, name: str) -> psutil.Process:
        """Return the webserver, the daemon, or the code server of a location, but not its forks."""
        words = {
            "webserver": {"dagster_webserver"},
            "daemon": {"dagster._daemon"},
        }.get(name, {"--location-name", name})
        found = [
            process
            for process in processes_of(self.deployment.id)
            if words <= set(_command(process)) and process.ppid() == os.getpid()
        ]
        assert len(found) == 1
        return found[0]

    def worker(self, run_id: str) -> psutil.Process:
        """Return the process that executes a run, from the run's log."""

        def look() -> psutil.Process | None:
            for entry in self.instance.all_logs(run_id):
                found = re.search(r"Started process for run \(pid: (\d+)\)", entry.message)
                if found:
                    return psutil.Process(int(found[1]))
            return None

        return wait_for(f"the worker of run {run_id}", look)


def assert_recorded_once(sweep: Sweep, runs: Sequence[Run]) -> None:
    """Check that every planned trial is stored exactly once, explained, and adds up.

    Args:
        runs: the runs of the sweep's trials in the instance.
    """
    assert [trial.number for trial in sweep.trials] == list(range(1, len(sweep.plan.trials) + 1))
    assert len({run.tags[Tag.TRIAL] for run in runs}) == len(runs), "a trial was launched twice"
    # Runs in the sweep's separate deployments are deleted with these; the journal keeps them.
    here = {trial.launch.run_id for trial in sweep.trials if not trial.deployment} - {None}
    assert {run.run_id for run in runs} == here
    for planned, trial in zip(sweep.plan.trials, sweep.trials, strict=True):
        assert (trial.block, trial.location, trial.asset_key) == (
            planned.block,
            planned.location,
            planned.asset_keys[0],
        )
        assert trial.partition_key == planned.partition_key
        assert (trial.reason == "") is (trial.outcome is Outcome.OK)
        assert "\n" not in trial.reason
        if trial.outcome is Outcome.OK:
            stages = {stage: us for stage, us in trial.launch.stages_us.items() if us is not None and us >= 0}
            assert trial.launch.stages_us.keys() == stages.keys()
            assert sum(stages.values()) == trial.launch.time_to_code_us
            assert sum(stages[stage] for stage in QUEUE_STAGES) == trial.launch.queue_us
            assert sum(stages[stage] for stage in INIT_STAGES) == trial.launch.init_us
            assert trial.launch.queue_us + trial.launch.init_us == trial.launch.lag_us


def sweep_well(bench: Bench) -> None:
    """Carry out a sweep without failures, and check its rows, log, charts and asset check."""
    run_id = bench.start([FAST, PARTITIONED], repeats=2)
    assert bench.wait_for_end(run_id) is RunStatus.SUCCESS

    sweep = bench.harvest(run_id)
    assert sweep.status == "complete"
    assert bench.outcomes(sweep) == ["ok"] * 4
    assert [trial.block for trial in sweep.trials] == [1, 1, 2, 2]
    for block in (sweep.trials[:2], sweep.trials[2:]):
        assert {trial.location for trial in block} == {FAST, PARTITIONED}
    for trial in sweep.trials:
        assert trial.launch.executor == "in_process"
        assert trial.launch.warnings == ()
        assert trial.launch.step_process["rss_bytes"] > 0
        assert trial.partition_key == ("partition_2" if trial.location == PARTITIONED else None)
    assert {(place.name, place.asset_count, place.partition_count) for place in sweep.plan.locations} == {
        (FAST, 3, 0),
        (PARTITIONED, 2, 3),
    }

    lines = bench.log(run_id)
    progress = [line for line in lines if line.startswith("trial")]
    assert len(progress) == 4
    told = re.compile(r"trial \d/4 \S+ \(block \d\): ok, its run started after .* s and ended after .* s")
    assert all(map(told.match, progress))
    assert f"Sweep {sweep.plan.sweep_id} is over: 4 of 4 trials done (4 ok)" in lines

    (harvest,) = bench.harvests(run_id)
    for of_meta_location in (run_id, harvest.run_id):
        assert any(entry.message.startswith("Launched warm") for entry in bench.instance.all_logs(of_meta_location))
    charted = []
    checks = []
    for entry in bench.instance.all_logs(harvest.run_id):
        if entry.dagster_event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            checks.append(entry.get_dagster_event().asset_check_evaluation_data)
        materialization = entry.asset_materialization
        if materialization and "chart" in materialization.metadata:
            metadata = materialization.metadata
            charted.append(materialization.asset_key.to_user_string())
            # Remedies and the history need several sweeps, and a timeline needs a run.
            assert (
                charted[-1] in ("remedies", "lag_over_time", "launch_timeline")
                or metadata["sweep"].value == sweep.plan.sweep_id
            )
            assert Path(str(metadata["png"].value)).read_bytes().startswith(b"\x89PNG")
            assert Path(str(metadata["svg"].value)).read_text().startswith("<?xml")
            image = str(metadata["chart"].value).partition("base64,")[2].rstrip(")")
            assert base64.b64decode(image).startswith(b"\x89PNG")
    assert {"stage_breakdown", "trial_outcomes"} <= set(charted)
    assert {check.check_name: check.passed for check in checks} == {
        OUTCOME_CHECK: True,
        SLOWER_CHECK: True,
        LIMIT_CHECK: True,
        DEPLOY_CHECK: True,
    }

    again = bench.submit("harvest", asset_keys=[MEASUREMENTS_ASSET])
    assert bench.wait_for_end(again) is RunStatus.SUCCESS
    assert bench.recorded(run_id) == sweep


def carry_out(bench: Bench, name: str) -> None:
    """Run an experiment at its quick size and check its measurements against its sides."""
    run_id = bench.start_experiment(name)
    assert bench.wait_for_end(run_id, LONGEST_EXPERIMENT_S) is RunStatus.SUCCESS, bench.log(run_id)
    sweep = bench.harvest_now(run_id)
    assert [(trial.outcome, trial.reason) for trial in sweep.trials] == [(Outcome.OK, "")] * len(sweep.trials)
    sides = {variant.name: variant for variant in sweep.plan.variants}
    assert {trial.variant for trial in sweep.trials} == set(sides)
    assert again(sweep.plan.variants[0].name) in sides
    for trial in sweep.trials:
        side = sides[trial.variant]
        assert (trial.launch.work, trial.assets, trial.path) == (side.work, side.assets, side.path)
        assert trial.location in side.locations
        assert bool(trial.deployment) is (name not in SERVED_EXPERIMENTS)
        assert trial.launch.work_us is not None
        assert trial.launch.work_us > 0
        assert trial.launch.steps
        assert trial.usage["code_server_bytes"] > 10 * MEBIBYTE
        assert (trial.launch.template.get("fork_ms", 0) > 0) is bool(side.warm)
    assert not (bench.deployment.home / ".bench" / "experiments").exists()


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@contextmanager
def bench_in(home: Path, locations: Sequence[CodeLocation], postgres_url: str | None = None) -> Iterator[Bench]:
    """Start a deployment and stop it afterwards."""
    with Deployment(home, locations, on_event=print, postgres_url=postgres_url) as deployment:
        deployment.wait_until_loaded(timeout_s=PATIENCE_S)
        with instance_of(home, postgres_url) as instance:
            yield Bench(deployment, Webserver(deployment.url), instance)
    assert_nothing_left(home)


@contextmanager
def instance_of(home: Path, postgres_url: str | None = None) -> Iterator[dg.DagsterInstance]:
    """Yield a home's instance, outside of its deployment."""
    with pytest.MonkeyPatch.context() as patch:
        if postgres_url:
            patch.setenv(settings.POSTGRES_URL, postgres_url)
        instance = dg.DagsterInstance.from_config(str(instance_home(home, postgres_url)))
    with instance:
        yield instance


def project_locations(
    *names: str, server: tuple[str, ...] = WARM_SERVER, **meta_environment: str
) -> list[CodeLocation]:
    """Return the meta location with additional variables, and generated ones; warm, unless launches are the subject.

    Its charts are blank pictures; `test_mechanisms` has them drawn.
    """
    found = read_locations(PROJECT / "workspace.yaml", [META_LOCATION, *names])
    meta, *others = (location for location in found if isinstance(location, CodeLocation))
    meta = replace(
        meta, target="integration.undrawn", working_directory=PROJECT / "tests", environment=meta_environment
    )
    return [meta, *(replace(other, server=server) for other in others)]


def raising_location(directory: Path) -> CodeLocation:
    """Return a location whose only asset fails."""
    (directory / f"{RAISING}.py").write_text(RAISING_MODULE)
    return CodeLocation(RAISING, RAISING, working_directory=directory, server=WARM_SERVER)


def seed_for(order: Sequence[str], locations: Sequence[str]) -> int:
    """Return a seed with which the first block launches in that order."""
    return next(
        seed for seed in range(1, 1000) if random.Random(seed).sample(list(locations), len(locations)) == list(order)
    )


def bench_command(
    home: Path, *arguments: str, postgres_url: str | None = None, **environment: str
) -> "subprocess.Popen[str]":
    """Start a `bench` command like a user in the project's folder."""
    if postgres_url:
        environment[settings.POSTGRES_URL] = postgres_url
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
    return subprocess.Popen(
        [sys.executable, "-m", "bench_orchestrator", *arguments],
        cwd=PROJECT,
        env={**inherited, **environment, "DAGSTER_HOME": str(home), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """Yield a process, and kill it if the test did not end it."""
    with process:
        try:
            yield process
        finally:
            process.kill()
