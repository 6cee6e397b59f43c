"""Asks a real Dagster webserver without code locations, and a small HTTP server for answers that are hard to provoke.

Real launches are tested under tests/integration.
"""

import json
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from recording import Served, make_run
from small_server import LAUNCH, small_server, uses

from bench_orchestrator.access import Access
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.sources.instance import get_run
from bench_orchestrator.webserver import (
    AccessDeniedError,
    DatabaseTroubleError,
    LaunchRejectedError,
    LocationAwayError,
    LocationEntry,
    Webserver,
    WebserverError,
)

UNAVAILABLE = "<_InactiveRpcError of RPC that terminated with: status = StatusCode.UNAVAILABLE>"


class TestARealWebserver:
    def test_without_code_locations_lists_none(self, served: Served) -> None:
        assert Webserver(served.url).list_locations() == {}

    def test_may_be_named_with_a_slash_at_the_end(self, served: Served) -> None:
        assert Webserver(f"{served.url}/").url == served.url
        assert Webserver(f"{served.url}/").list_locations() == {}

    def test_rejects_a_launch_in_a_location_that_it_does_not_have(self, served: Served) -> None:
        with pytest.raises(LaunchRejectedError, match=r"PipelineNotFoundError.*__ASSET_JOB") as raised:
            Webserver(served.url).submit(**LAUNCH)
        assert "\n" not in str(raised.value)

    def test_rejects_the_launch_of_one_asset_likewise(self, served: Served) -> None:
        with pytest.raises(LaunchRejectedError, match="Location a10 does not exist in workspace"):
            Webserver(served.url).submit(**LAUNCH, asset_keys=["a10/asset_0"])

    def test_cannot_list_the_assets_of_a_location_that_it_does_not_have(self, served: Served) -> None:
        with pytest.raises(WebserverError, match="a10 cannot list its assets"):
            Webserver(served.url).list_assets("a10", "__repository__")

    def test_knows_no_partitions_of_an_unknown_asset(self, served: Served) -> None:
        assert Webserver(served.url).list_partitions("a10/asset_0") == []

    def test_cannot_terminate_a_run_that_it_does_not_have(self, served: Served) -> None:
        with pytest.raises(WebserverError, match="4f2a"):
            Webserver(served.url).terminate("4f2a")

    def test_marks_a_run_canceled_whose_process_is_gone(self, served: Served) -> None:
        run_id = make_run(served.instance, {}, RunStatus.STARTED)
        Webserver(served.url).force_terminate(run_id)
        run = get_run(served.instance, run_id)
        assert run is not None
        assert run.status is RunStatus.CANCELED

    def test_lists_the_backfills_that_may_launch_runs_until_they_are_canceled(self, served: Served) -> None:
        for name, status in (("open", BulkActionStatus.REQUESTED), ("over", BulkActionStatus.COMPLETED_SUCCESS)):
            served.instance.add_backfill(
                PartitionBackfill(
                    backfill_id=name,
                    status=status,
                    from_failure=False,
                    tags={"bench/sweep": "quick-1", "bench/trial": "1"},
                    backfill_timestamp=1_784_021_400.0,
                    asset_selection=[dg.AssetKey("a")],
                    serialized_asset_backfill_data="",
                )
            )
        webserver = Webserver(served.url)
        (backfill,) = webserver.open_backfills({"bench/sweep": "quick-1"})
        assert (backfill.backfill_id, backfill.tags["bench/trial"]) == ("open", "1")
        assert webserver.open_backfills({"bench/sweep": "quick-2"}) == []
        webserver.cancel_backfill("open")
        assert webserver.open_backfills({}) == []
        canceled = served.instance.get_backfill("open")
        assert canceled is not None
        assert canceled.status is BulkActionStatus.CANCELING
        with pytest.raises(WebserverError, match="No backfill found for id: none"):
            webserver.cancel_backfill("none")

    def test_cannot_switch_a_schedule_that_it_does_not_have(self, served: Served) -> None:
        webserver = Webserver(served.url)
        with pytest.raises(WebserverError, match="single_flight"):
            webserver.start_schedule(location="a10", repository="__repository__", schedule="single_flight")
        with pytest.raises(WebserverError, match="nothing"):
            webserver.stop_schedule("nothing")
        with pytest.raises(WebserverError, match="There is no schedule single_flight in a10"):
            webserver.tick_statuses(location="a10", repository="__repository__", schedule="single_flight", since_s=0)

    def test_says_what_is_wrong_with_a_question(self, served: Served) -> None:
        with pytest.raises(WebserverError, match="Cannot query field 'nonsense'"):
            Webserver(served.url).query("query { nonsense }")


class TestWhatIsSentToASmallHttpServer:
    def test_the_authorization_goes_with_every_request(self) -> None:
        with small_server(401, "no") as (url, requests):
            for use in uses(Webserver(url, Access({"Authorization": "Bearer 4f2a"}))):
                with pytest.raises(AccessDeniedError):
                    use()
        assert [request["headers"]["Authorization"] for request in requests] == ["Bearer 4f2a"] * len(requests)
        assert len(requests) == 6

    @pytest.mark.parametrize(
        ("entry", "reason"),
        [
            ({"__typename": "PythonError", "message": UNAVAILABLE}, r"had no code server: .*StatusCode\.UNAVAILABLE"),
            (None, "had no code server: it loads"),
        ],
    )
    def test_a_refusal_for_lack_of_a_code_server_is_recognized(self, entry: dict[str, Any] | None, reason: str) -> None:
        broken = {"__typename": "PythonError", "message": "ImportError: no pandas"}
        for found, kind in ((entry, LocationAwayError), (broken, LaunchRejectedError)):
            listed: dict[str, Any] = {
                "name": "a10",
                "loadStatus": "LOADED",
                "displayMetadata": [],
                "locationOrLoadError": found,
            }
            answer = {
                "launchPipelineExecution": {"__typename": "PipelineNotFoundError", "message": "no job"},
                "workspaceOrError": {"locationEntries": [listed]},
            }
            with (
                small_server(200, json.dumps({"data": answer})) as (url, _),
                pytest.raises(LaunchRejectedError, match=reason if found is entry else "no job") as raised,
            ):
                Webserver(url).submit(**LAUNCH)
            assert type(raised.value) is kind

    @pytest.mark.parametrize(
        ("selection", "kind", "said"),
        [
            ({"message": "no such\nasset"}, LaunchRejectedError, "^no such asset$"),
            ({"message": UNAVAILABLE}, LocationAwayError, "had no code server: <_Inactive"),
            ({}, LocationAwayError, "had no code server: for a moment"),
        ],
    )
    def test_a_selection_that_is_refused_without_a_word_is_asked_about(
        self, selection: dict[str, Any], kind: type[Exception], said: str
    ) -> None:
        answer = {
            "launchPipelineExecution": {"__typename": "InvalidSubsetError"},
            "pipelineOrError": selection,
            "workspaceOrError": {"locationEntries": []},
        }
        with (
            small_server(200, json.dumps({"data": answer})) as (url, requests),
            pytest.raises(LaunchRejectedError, match=said) as raised,
        ):
            Webserver(url).submit(**LAUNCH, asset_keys=["a10/asset_0"])
        assert type(raised.value) is kind
        assert requests[1]["variables"]["selector"]["assetSelection"] == [{"path": ["a10", "asset_0"]}]

    @pytest.mark.parametrize(
        ("message", "kind", "said"),
        [
            ("sqlalchemy.exc.OperationalError: server closed", DatabaseTroubleError, "has trouble with its database"),
            ("DagsterPostgresException: too many retries for DB connection", DatabaseTroubleError, "with its database"),
            ("KeyError: 'a'", WebserverError, "answered with an error: .*KeyError: 'a'"),
        ],
    )
    def test_an_error_within_an_answer_is_an_error(self, message: str, kind: type[Exception], said: str) -> None:
        answer = {"runOrError": {"status": "STARTED"}, "logsForRun": {"__typename": "PythonError", "message": message}}
        with (
            small_server(200, json.dumps({"data": answer})) as (url, _),
            pytest.raises(WebserverError, match=said) as raised,
        ):
            Webserver(url).query("query { logsForRun { ... on PythonError { __typename message } } }")
        assert type(raised.value) is kind

    def test_a_launch_names_the_location_the_asset_and_the_tags(self) -> None:
        answer = {"__typename": "LaunchRunSuccess", "run": {"runId": "4f2a"}}
        with small_server(200, json.dumps({"data": {"launchPipelineExecution": answer}})) as (url, requests):
            assert Webserver(url).submit(**LAUNCH, asset_keys=["a10/asset_0"]) == "4f2a"
        (request,) = requests
        parameters = request["variables"]["executionParams"]
        assert parameters["selector"]["repositoryLocationName"] == "a10"
        assert parameters["selector"]["pipelineName"] == "__ASSET_JOB"
        assert parameters["selector"]["assetSelection"] == [{"path": ["a10", "asset_0"]}]
        assert {"key": "a", "value": "b"} in parameters["executionMetadata"]["tags"]


def test_locations_are_loaded_loading_or_broken_as_a_small_http_server_says() -> None:
    entries: list[dict[str, Any]] = [
        {
            "name": "good",
            "loadStatus": "LOADED",
            "displayMetadata": [{"key": "port", "value": "4000"}, {"key": "host", "value": "bench-good"}],
            "locationOrLoadError": {
                "__typename": "RepositoryLocation",
                "serverId": "4f2a",
                "repositories": [{"name": "__repository__"}],
            },
        },
        {
            "name": "broken",
            "loadStatus": "LOADED",
            "displayMetadata": [{"key": "socket", "value": "/tmp/1.sock"}],
            "locationOrLoadError": {"__typename": "PythonError", "message": "ImportError: no pandas"},
        },
        {"name": "slow", "loadStatus": "LOADING", "displayMetadata": [], "locationOrLoadError": None},
        {"name": "unknown", "loadStatus": "LOADED", "displayMetadata": [], "locationOrLoadError": None},
    ]
    with small_server(200, json.dumps({"data": {"workspaceOrError": {"locationEntries": entries}}})) as (url, _):
        locations = Webserver(url).list_locations()
    assert locations == {
        "good": LocationEntry("good", "loaded", ("__repository__",), server_id="4f2a", host="bench-good"),
        "broken": LocationEntry("broken", "error", error="ImportError: no pandas"),
        "slow": LocationEntry("slow", "loading"),
        "unknown": LocationEntry("unknown", "loading"),
    }


def test_only_assets_that_can_be_launched_are_listed_of_what_a_small_http_server_says() -> None:
    nodes = [
        {"assetKey": {"path": ["a", "one"]}, "isMaterializable": True, "isPartitioned": False},
        {"assetKey": {"path": ["two"]}, "isMaterializable": True, "isPartitioned": True},
        {"assetKey": {"path": ["external"]}, "isMaterializable": False, "isPartitioned": False},
    ]
    with small_server(200, json.dumps({"data": {"repositoryOrError": {"assetNodes": nodes}}})) as (url, _):
        assert Webserver(url).list_assets("a", "r") == {"a/one": False, "two": True}
