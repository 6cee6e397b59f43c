"""The sweep job, run in this process against small but real synthetic locations.

Only the webserver is a stand-in: it executes each launch in this process, where a real one would start a run worker.
"""

from math import inf
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._serdes import serialize_value
from local_launches import FakeWebserverOfThisProcess

from bench_orchestrator.defs.resources import ResultsResource, WebserverResource
from bench_orchestrator.defs.sweeps import sweep_jobs
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.tags import SWEEPS_ASSET
from bench_orchestrator.sources.instance import find_trial_runs, read_run_log
from bench_orchestrator.sweeps.harvest import harvest_sweep
from bench_orchestrator.sweeps.journal import read_journal
from bench_orchestrator.webserver import Webserver

CONFIG = {
    "locations": ["a2", "a1p3"],
    "repeats": 1,
    "warmups": 1,
    "seed": 7,
    "pause_s": 0,
    "jitter_s": 0,
    "settle_s": 0,
}


@pytest.fixture
def webserver(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> FakeWebserverOfThisProcess:
    """Return the stand-in behind the job's resource."""
    fake = FakeWebserverOfThisProcess(instance)
    monkeypatch.setattr(WebserverResource, "connect", lambda _resource: fake)
    return fake


def sweep(instance: dg.DagsterInstance, **config: Any) -> dg.ExecuteInProcessResult:
    return sweep_jobs["quick"].execute_in_process(
        instance=instance,
        run_config={"ops": {"launch_quick": {"config": CONFIG | config}}},
        resources={"webserver": WebserverResource(), "results": ResultsResource()},
        raise_on_error=False,
    )


def why(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> str:
    """Return why a sweep failed, from Dagster's messages and its own."""
    failures = [event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_FAILURE]
    own = [failure.step_failure_data.user_failure_data for failure in failures]
    return (
        " ".join(filter(None, (data.description for data in own if data)))
        or read_run_log(instance, result.run_id).failure
    )


@pytest.mark.usefixtures("webserver")
class TestASweep:
    def test_records_its_plan_launches_each_trial_and_notes_how_it_ended(self, instance: dg.DagsterInstance) -> None:
        result = sweep(instance)
        assert result.success
        journal = read_journal(instance, result.run_id)
        assert journal is not None
        plan = journal.plan
        assert plan.sweep_id == f"quick-{result.run_id[:8]}"
        assert (plan.scenario, plan.seed, len(plan.trials)) == ("quick", 7, 4)
        assert {location.name: location.partition_count for location in plan.locations} == {"a2": 0, "a1p3": 3}
        assert plan.settings["timeout_s"] == 300
        assert plan.environment["dagster"] == dg.__version__
        assert [(note.number, note.outcome) for note in journal.notes] == [(n, Outcome.OK) for n in range(1, 5)]
        assert len(find_trial_runs(instance, plan.sweep_id)) == 4

    def test_can_be_harvested_into_measurements(self, instance: dg.DagsterInstance) -> None:
        swept = harvest_sweep(instance, sweep(instance).run_id)
        assert swept is not None
        assert (swept.status, {trial.outcome for trial in swept.trials}) == ("complete", {Outcome.OK})
        assert [trial.warmup for trial in swept.trials] == [True, True, False, False]
        assert {trial.partition_key for trial in swept.trials if trial.location == "a1p3"} == {"partition_2"}
        assert all(trial.launch.step_process["build_s"] > 0 for trial in swept.trials)

    def test_shows_its_plan_and_its_trials_in_the_asset_catalog(self, instance: dg.DagsterInstance) -> None:
        sweep(instance)
        key = dg.AssetKey(SWEEPS_ASSET)
        materialization = instance.get_latest_materialization_event(key)
        assert materialization is not None
        assert len(instance.fetch_observations(key, limit=10).records) == 4

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("repeats", 0),
            ("warmups", -1),
            ("timeout_s", 0),
            ("timeout_s", -5),
            ("pause_s", -1),
            ("locations", []),
            ("timeout_s", inf),
        ],
    )
    def test_refuses_a_bad_configuration_by_the_fields_name(
        self, instance: dg.DagsterInstance, field: str, value: object
    ) -> None:
        result = sweep(instance, **{field: value})
        assert not result.success
        assert field in read_run_log(instance, result.run_id).failure
        assert read_journal(instance, result.run_id) is None

    def test_launches_nothing_where_a_location_is_missing(self, instance: dg.DagsterInstance) -> None:
        result = sweep(instance, locations=["a2", "a99"])
        assert not result.success
        assert "Nothing was launched. There is no code location 'a99'" in why(instance, result)
        assert read_journal(instance, result.run_id) is None
        assert len(instance.get_run_ids()) == 1


def test_a_sweep_whose_webserver_stays_away_fails_with_what_it_did(
    instance: dg.DagsterInstance, webserver: FakeWebserverOfThisProcess
) -> None:
    webserver.away = True
    result = sweep(instance, timeout_s=0.1)
    assert not result.success
    assert "1 of 4 trials done (1 rejected). It ended early: The webserver does not answer." in why(instance, result)
    swept = harvest_sweep(instance, result.run_id)
    assert swept is not None
    assert swept.status == "failed"
    assert [trial.outcome for trial in swept.trials] == [Outcome.REJECTED, *[Outcome.LOST] * 3]


def test_the_webserver_resource_is_configured_by_variables_whose_values_are_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert WebserverResource().connect().url == "http://127.0.0.1:3000"
    assert WebserverResource(url="http://configured").connect().url == "http://configured"
    monkeypatch.setenv("BENCH_WEBSERVER_URL", "http://from-environment:3001")
    monkeypatch.setenv("BENCH_WEBSERVER_AUTHORIZATION", "Bearer secret")
    monkeypatch.setenv("BENCH_WEBSERVER_HEADERS", "Dagster-Cloud-Api-Token: secret")
    asked: list[Webserver] = []

    @dg.op
    def ask(webserver: WebserverResource) -> None:
        asked.append(webserver.connect())

    @dg.job
    def asking() -> None:
        ask()

    resource = WebserverResource.from_environment()
    defs = dg.Definitions(jobs=[asking], resources={"webserver": resource})
    repository = defs.get_repository_def()
    shown = serialize_value(RepositorySnap.from_def(repository))
    assert "BENCH_WEBSERVER_AUTHORIZATION" in shown
    assert "BENCH_WEBSERVER_HEADERS" in shown
    assert "secret" not in shown
    assert defs.resolve_job_def("asking").execute_in_process().success
    (webserver,) = asked
    assert webserver.url == "http://from-environment:3001"
    assert webserver.headers == {"Authorization": "Bearer secret", "Dagster-Cloud-Api-Token": "secret"}
