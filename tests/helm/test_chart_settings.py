"""What can be set for pods and their code: images, environment, volumes, rollouts, accounts, locations of one's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from click.testing import CliRunner
from dagster._cli.instance import migrate_command
from helms import RELEASE, RejectedError, render
from launched import launched_job
from test_chart_objects import rights
from variants import DIGEST, VARIANTS, container, containers_of, environment, pods, rendered


def deployment(variant: str, name: str) -> dict[str, Any]:
    """Return the specification of a Deployment."""
    found: dict[str, Any] = rendered(variant)["Deployment", f"{RELEASE}-{name}"]["spec"]
    return found


def assert_contained(pod: dict[str, Any], where: Sequence[str]) -> None:
    """Check that a container has the variables of these places, the last of which wins, and the lists of the last."""
    variables, last = environment(pod), containers_of(where[-1])
    assert variables["SHARED"] == where[-1]
    assert {name for name in variables if name.startswith("OF_")} == {f"OF_{one.upper()}" for one in where}
    for one in where:
        assert variables[f"OF_{one.upper()}"] == {"secretKeyRef": {"name": one, "key": "token"}}
    assert container(pod)["envFrom"] == last["envFrom"]
    assert [volume for volume in pod["spec"]["volumes"] if "secret" in volume] == last["volumes"]
    assert [mount for mount in container(pod)["volumeMounts"] if mount["mountPath"].startswith("/mnt/")] == (
        last["volumeMounts"]
    )


class TestTheEnvironment:
    def test_all_pods_have_that_of_all_pods_unless_a_part_has_its_own(self) -> None:
        own = {f"{RELEASE}-daemon": ["pod", "daemon"], f"{RELEASE}-a250": ["pod", "location"]}
        found = dict(pods(rendered("environment")))
        assert found.keys() >= own.keys()
        for name, pod in found.items():
            assert_contained(pod, own.get(name, ["pod"]))

    def test_a_location_s_is_also_its_runs(self) -> None:
        for component in ("run_worker", "step_worker"):
            for server, where in (("a10", ["pod"]), ("a250", ["pod", "location"]), ("meta", ["pod"])):
                assert_contained(launched_job(rendered("environment"), server, component)["spec"]["template"], where)

    def test_runs_can_have_another(self) -> None:
        objects = render(
            {"locations": [{"name": "a10", **containers_of("location")}], "runs": dict(containers_of("runs"))}
        )
        assert_contained(launched_job(objects, "a10")["spec"]["template"], ["location", "runs"])
        assert_contained(dict(pods(objects))[f"{RELEASE}-a10"], ["location"])

    def test_no_variable_is_there_twice_and_the_chart_s_own_win(self) -> None:
        objects = render({"locations": ["a10"], "pod": {"env": {"DAGSTER_HOME": "/elsewhere", "BENCH_SHAPE": "a1"}}})
        for name, pod in pods(objects):
            names = [one["name"] for one in container(pod)["env"]]
            assert len(names) == len(set(names))
            if "postgresql" not in name:
                assert environment(pod)["DAGSTER_HOME"] == "/opt/dagster/home"
        assert environment(dict(pods(objects))[f"{RELEASE}-a10"])["BENCH_SHAPE"] == "a10"


class TestTheDatabasesPassword:
    @pytest.mark.parametrize(
        ("variant", "code_servers"),
        [
            ("default", {"meta"}),
            ("cold", {"meta"}),  # its sensor harvests
            ("warm", {"meta", "a10"}),  # they fork runs
            ("own code", {"meta", "steps"}),  # unless it says that it needs none
            ("production", {"meta", "migration"}),
        ],
    )
    def test_the_password_is_where_the_instance_is_opened(self, variant: str, code_servers: set[str]) -> None:
        with_it = {name for name, pod in pods(rendered(variant)) if "DAGSTER_PG_PASSWORD" in environment(pod)}
        assert with_it == {f"{RELEASE}-{name}" for name in {"webserver", "daemon", *code_servers}}

    @pytest.mark.parametrize(
        ("shape", "needs_it"),
        [("a10", False), ("a10_triggers", True), ("a10_singleflight", True), ("a2p3_dynamic", True)],
    )
    def test_a_synthetic_location_has_it_if_its_sensors_read_the_instance(self, shape: str, needs_it: bool) -> None:
        objects = render({"locations": [shape]})
        (server,) = [pod for name, pod in pods(objects) if name == f"{RELEASE}-{shape}".replace("_", "-")]
        assert ("DAGSTER_PG_PASSWORD" in environment(server)) is needs_it


class TestImages:
    def test_a_digest_takes_the_place_of_the_tag(self) -> None:
        objects = rendered("production")
        for name, pod in pods(objects):
            repository = "docker.io/library/postgres" if name.endswith("postgresql") else "registry.example.com/bench"
            for one in (container(pod), *pod["spec"].get("initContainers", [])):
                assert one["image"] == f"{repository}@{DIGEST}"
        assert container(launched_job(objects, "a10")["spec"]["template"])["image"].endswith(f"@{DIGEST}")


class TestRollouts:
    def test_the_old_pod_ends_first_by_default_and_is_given_time(self) -> None:
        for name, seconds in (("a10", 300), ("meta", 60)):
            spec = deployment("default", name)
            assert spec["strategy"] == {"type": "Recreate"}
            assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == seconds

    @pytest.mark.parametrize(("given", "left"), [(300, "285"), (10, "0")])
    def test_a_warm_server_lets_its_runs_finish_and_has_time_left_to_end_the_others(
        self, given: int, left: str
    ) -> None:
        location = {"name": "a10", "warm": True, "terminationGracePeriodSeconds": given}
        pod = render({"locations": [location]})["Deployment", f"{RELEASE}-a10"]["spec"]["template"]
        assert environment(pod)["DAGSTER_WARM_GRACE"] == left
        assert "DAGSTER_WARM_GRACE" not in environment(deployment("default", "a10")["template"])

    def test_or_the_new_one_is_up_first(self) -> None:
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        assert deployment("rolling", "a10")["strategy"] == rolling
        assert deployment("rolling", "meta")["strategy"] == rolling
        assert deployment("rolling", "a10")["template"]["spec"]["terminationGracePeriodSeconds"] == 30
        assert deployment("production", "webserver")["strategy"] == rolling
        assert deployment("production", "daemon")["strategy"] == {"type": "Recreate"}

    def test_a_server_that_ends_is_still_found_by_those_who_ask_for_its_runs(self) -> None:
        for name, forks in (("meta", True), ("a10", True), ("a250", False)):
            service = rendered("warm")["Service", f"{RELEASE}-{name}"]["spec"]
            assert service.get("publishNotReadyAddresses", False) is forks

    def test_a_server_that_is_up_before_the_old_one_ends_gets_all_requests(self) -> None:
        location = {"name": "a10", "warm": True, "strategy": "RollingUpdate"}
        service = render({"locations": [location]})["Service", f"{RELEASE}-a10"]["spec"]
        assert "publishNotReadyAddresses" not in service

    def test_two_pods_cannot_share_the_volume_of_one_node(self) -> None:
        with pytest.raises(RejectedError, match=r"RollingUpdate needs results\.accessMode ReadWriteMany"):
            render({"locations": ["a10"], "meta": {"strategy": "RollingUpdate"}})


class TestDisruptionBudgets:
    def test_there_is_none_by_default(self) -> None:
        assert not [kind for kind, _ in rendered("default") if kind == "PodDisruptionBudget"]

    @pytest.mark.parametrize(("kubernetes", "version"), [("1.20.2", "policy/v1beta1"), ("1.31.0", "policy/v1")])
    def test_each_is_about_the_pods_of_one_server(self, kubernetes: str, version: str) -> None:
        objects = render(VARIANTS["production"], kubernetes=kubernetes)
        budgets = {name: found for (kind, name), found in objects.items() if kind == "PodDisruptionBudget"}
        started = dict(pods(objects))
        assert budgets.keys() == {f"{RELEASE}-{name}" for name in ("webserver", "daemon", "meta", "a10", "postgresql")}
        for name, budget in budgets.items():
            assert budget["apiVersion"] == version
            assert budget["spec"]["maxUnavailable"] == 0
            wanted = budget["spec"]["selector"]["matchLabels"].items()
            assert [one for one, pod in started.items() if wanted <= pod["metadata"]["labels"].items()] == [name]
            run = launched_job(objects, "a10")["spec"]["template"]
            assert not wanted <= run["metadata"]["labels"].items()


class TestMigration:
    def test_there_is_none_by_default(self) -> None:
        assert not [kind for kind, _ in rendered("default") if kind == "Job"]

    def test_it_upgrades_the_schema_before_helm_does_anything_else(self, tmp_path: Path) -> None:
        objects = rendered("production")
        job = objects["Job", f"{RELEASE}-migration"]
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
        pod = job["spec"]["template"]
        settings = yaml.safe_load(objects["ConfigMap", f"{RELEASE}-instance"]["data"]["dagster.yaml"])
        del settings["storage"]  # SQLite in place of PostgreSQL
        (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
        assert container(pod)["command"] == ["dagster", "instance", "migrate"]
        with mock.patch("kubernetes.config.load_incluster_config") as token:
            done = CliRunner().invoke(migrate_command, env={"DAGSTER_HOME": str(tmp_path)})
        assert done.exit_code == 0, done.output
        assert token.called
        assert pod["spec"]["automountServiceAccountToken"]
        (mount,) = [one for one in container(pod)["volumeMounts"] if one["name"] == "instance"]
        assert mount["mountPath"] == f"{environment(pod)['DAGSTER_HOME']}/dagster.yaml"


class TestAccounts:
    def test_each_can_have_annotations(self) -> None:
        found = {
            name.removeprefix(f"{RELEASE}-"): account["metadata"].get("annotations")
            for (kind, name), account in rendered("production").items()
            if kind == "ServiceAccount"
        }
        assert found == {"launcher": None, **VARIANTS["production"]["serviceAccountAnnotations"]}


class TestLocationsOfOnesOwn:
    def test_they_are_served_beside_the_synthetic_ones_from_their_own_image(self) -> None:
        objects = rendered("own code")
        pod = deployment("own code", "sales")["template"]
        assert container(pod)["command"] == [
            *("dagster", "api", "grpc", "--host=0.0.0.0", "--port=4000"),
            *("--module-name=synthetic_locations.catalog", "--attribute=a20", "--location-name=sales"),
        ]
        image = "registry.example.com/sales:7"
        assert (container(pod)["image"], container(pod)["imagePullPolicy"]) == (image, "Always")
        assert environment(pod)["DAGSTER_CURRENT_IMAGE"] == image
        assert not [name for name in environment(pod) if name.startswith("BENCH_")]
        run = launched_job(objects, "sales")["spec"]["template"]
        assert (container(run)["image"], container(run)["imagePullPolicy"]) == (image, "Always")
        workspace = yaml.safe_load(objects["ConfigMap", f"{RELEASE}-workspace"]["data"]["workspace.yaml"])
        names = [entry["grpc_server"]["location_name"] for entry in workspace["load_from"]]
        assert names == ["bench_orchestrator", "a10", "sales", "steps"]

    def test_their_runs_may_start_pods_if_they_say_so(self) -> None:
        objects = rendered("own code")
        accounts = {
            server: launched_job(objects, server)["spec"]["template"]["spec"]["serviceAccountName"]
            for server in ("sales", "steps")
        }
        assert accounts == {"sales": f"{RELEASE}-unprivileged", "steps": f"{RELEASE}-steps"}

    def test_they_can_be_warm(self) -> None:
        objects = render({"locations": [{"name": "sales", "code": ["--module-name=sales"], "warm": True}]})
        command = container(objects["Deployment", f"{RELEASE}-sales"]["spec"]["template"])["command"]
        assert command[:3] == ["python", "-m", "dagster_warm"]

    def test_sweeps_neither_scale_nor_try_out_what_is_not_theirs(self) -> None:
        objects = rendered("own code")
        (scaled,) = [
            rule["resourceNames"]
            for rule in objects["Role", f"{RELEASE}-meta"]["rules"]
            if rule["resources"] == ["deployments/scale"]
        ]
        assert scaled == [f"{RELEASE}-a10"]
        assert "deployments/scale" in rights(objects, "meta")
        test = objects["Pod", f"{RELEASE}-test-quick-sweep"]
        assert "--locations=a10" in container(test)["command"]
        alone = render(
            {"locations": [{"name": "sales", "code": ["--module-name=sales"]}], "coldStart": {"enabled": True}}
        )
        assert ("Pod", f"{RELEASE}-test-quick-sweep") not in alone
        assert "deployments/scale" not in rights(alone, "meta")
