"""Both Helms accept the chart, and every Kubernetes would accept the result."""

import json
import subprocess

import helm_python
import pytest
from helms import CHART, RELEASE, RejectedError, Values, files_of_helm4, helm3, render, render_with_helm4, validate
from variants import VARIANTS, container, pods, rendered

KUBERNETES = ("1.20.2", "1.23.17", "1.31.0", "1.37.0")
"""The oldest version that the chart supports, the last without gRPC probes, a recent and the newest one."""

SCHEMAS = ("1.25", "1.31", "1.37")
"""The oldest version with a schema, a recent and the newest one."""


@pytest.mark.parametrize("strict", [False, True])
def test_helm_3_finds_nothing_to_complain_about(strict: bool) -> None:
    command = [str(helm3()), "lint", str(CHART), *(["--strict"] if strict else [])]
    linted = subprocess.run(command, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout
    assert "WARNING" not in linted.stdout


@pytest.mark.parametrize("variant", VARIANTS)
def test_helm_4_finds_nothing_to_complain_about(variant: str) -> None:
    report = helm_python.lint(CHART, dict(VARIANTS[variant]), strict=True)
    assert report["errors"] == []
    assert {message["error"] for message in report["messages"]} <= {"icon is recommended"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_kubernetes_takes_everything(variant: str) -> None:
    for version in SCHEMAS:
        for manifest in rendered(variant).values():
            validate(manifest, version)


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_supported_kubernetes_gets_what_it_knows(version: str) -> None:
    objects = render(kubernetes=version)
    for manifest in objects.values():
        validate(manifest, max(SCHEMAS[0], ".".join(version.split(".")[:2])))
    knows_grpc_probes = version not in ("1.20.2", "1.23.17")
    probe = container(objects["Deployment", f"{RELEASE}-a10"]["spec"]["template"])["readinessProbe"]
    assert ("grpc" in probe, "tcpSocket" in probe) == (knows_grpc_probes, not knows_grpc_probes)


def test_a_kubernetes_that_is_too_old_is_refused() -> None:
    with pytest.raises(RejectedError, match=r"chart requires kubeVersion: >=1\.20"):
        render(kubernetes="1.19.0")


@pytest.mark.parametrize("variant", VARIANTS)
def test_both_helms_make_the_same(variant: str) -> None:
    by_helm3, by_helm4 = dict(rendered(variant)), render_with_helm4(VARIANTS[variant])
    generated = "Secret", f"{RELEASE}-postgresql"
    passwords = [objects.pop(generated, {}).get("data") for objects in (by_helm3, by_helm4)]
    assert [bool(password) for password in passwords] == [generated in rendered(variant)] * 2
    assert by_helm3 == by_helm4


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_name_is_short_enough_and_every_object_is_the_releases(variant: str) -> None:
    for (_, name), manifest in rendered(variant).items():
        assert len(name) <= 52
        assert manifest["metadata"]["labels"]["app.kubernetes.io/instance"] == RELEASE
    for _, pod in pods(rendered(variant)):
        assert pod["metadata"]["labels"]["app.kubernetes.io/instance"] == RELEASE


def test_a_long_release_name_is_accepted() -> None:
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render({}, name="a" * 53, namespace="dagster")
    names = [line.split()[1] for text in files.values() for line in text.splitlines() if line.startswith("  name: ")]
    assert names
    assert all(len(name) <= 52 for name in names)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicaCount": 3}, "replicaCount"),
        ({"locations": ["b250"]}, "locations"),
        ({"locations": []}, "locations"),
        ({"locations": [{"shape": "a250"}]}, "name"),
        ({"locations": [{"name": "a250", "memory": "1Gi"}]}, "memory"),
        ({"locations": ["a250_warm"]}, '"a250_warm" is reserved for limited or warm locations'),
        ({"locations": [{"name": "slow", "shape": "a2k_500m"}]}, '"a2k_500m" is reserved for limited or warm'),
        ({"locations": [{"name": "slow", "shape": "a2k", "cpu": "half"}]}, "cpu"),
        ({"coldStart": {"enabled": "yes"}}, "coldStart"),
        ({"locations": [{"name": "small"}]}, '"small" is not the name of a shape'),
        ({"locations": ["a10", "a10"]}, '"a10" and the location "a10" would both be called bench-a10'),
        ({"locations": ["a10_chain", {"name": "a10-chain", "shape": "a10"}]}, "would both be called bench-a10-chain"),
        ({"locations": [{"name": "webserver", "shape": "a10"}]}, "the webserver would both be called bench-webserver"),
        ({"locations": [{"name": "a250", "resources": {"limits": {"cpu": "half"}}}]}, "cpu"),
        ({"locations": [{"name": "a250", "replicas": 2}]}, "replicas"),
        ({"runLauncher": {"warm": None, "cold": True}}, "cold"),
        ({"meta": {"resources": {"request": {"cpu": "1"}}}}, "request"),
        (
            {"postgresql": {"enabled": False, "existingSecret": "db"}},
            "postgresql.host is required if postgresql.enabled is false",
        ),
        ({"postgresql": {"enabled": False, "host": "db"}}, "postgresql.existingSecret is required"),
        ({"postgresql": {"runAsUser": 0}}, "runAsUser"),
        ({"results": {"accessMode": "ReadWriteOncePod"}}, "accessMode"),
        ({"results": {"size": "big"}}, "size"),
        ({"image": {"tag": 20250101}}, "tag"),
        ({"queue": {"maxConcurrentRuns": "many"}}, "maxConcurrentRuns"),
        ({"queue": {"dequeueIntervalSeconds": 0}}, "dequeueIntervalSeconds"),
        ({"webserver": {"service": {"port": 0}}}, "port"),
        ({"exporter": {"everySeconds": 0}}, "everySeconds"),
        ({"exporter": {"serviceMonitor": {"interval": "often"}}}, "interval"),
        ({"locations": [{"name": "exporter", "shape": "a10"}]}, "the exporter would both be called bench-exporter"),
        ({"imagePullSecrets": ["registry"]}, "imagePullSecrets"),
        ({"pod": {"labels": {"team": 7}}}, "team"),
        ({"locationDefaults": {"env": {"not a name": "x"}}}, "not a name"),
        ({"pod": {"env": {"TOKEN": {"secret": {"name": "s"}}}}}, "secret"),
        ({"pod": {"env": {"TOKEN": 5}}}, "TOKEN"),
        ({"pod": {"envFrom": [{"secretRef": "mine"}]}}, "secretRef"),
        ({"pod": {"volumes": [{"emptyDir": {}}]}}, "volumes"),
        ({"runs": {"volumeMounts": [{"name": "data"}]}}, "mountPath"),
        ({"pod": {"runAsUser": 0}}, "runAsUser"),
        ({"meta": {"fsGroup": "users"}}, "fsGroup"),
        ({"image": {"digest": "sha256:abc"}}, "digest"),
        ({"webserver": {"pathPrefix": "dagster"}}, "pathPrefix"),
        ({"webserver": {"pathPrefix": "/dagster/"}}, "pathPrefix"),
        ({"webserver": {"ingress": {"host": "https://dagster.example.com"}}}, "host"),
        ({"webserver": {"ingress": {"tls": True}}}, "tls"),
        ({"webserver": {"strategy": "BlueGreen"}}, "strategy"),
        ({"locationDefaults": {"terminationGracePeriodSeconds": 0}}, "terminationGracePeriodSeconds"),
        ({"podDisruptionBudget": {"maxUnavailable": "50%"}}, "maxUnavailable"),
        ({"networkPolicy": {"apiServerPorts": []}}, "apiServerPorts"),
        ({"networkPolicy": {"egress": "all"}}, "egress"),
        ({"migration": True}, "migration"),
        ({"serviceAccountAnnotations": {"webserver": {}}}, "webserver"),
        ({"locations": [{"name": "sales", "code": "sales.definitions"}]}, "code"),
        ({"locations": [{"name": "sales", "code": ["sales.definitions"]}]}, "code"),
        (
            {"locations": [{"name": "sales", "code": ["-m=sales"], "shape": "a10"}]},
            '"sales" has both `code` and `shape`',
        ),
        ({"locations": [{"name": "sales", "code": ["-m=sales"], "image": {"tag": "7"}}]}, "needs a repository"),
        ({"locations": [{"name": "sales", "code": ["-m=sales"], "image": {"repository": "r"}}]}, "a tag or a digest"),
        ({"locations": [{"name": "a10", "image": {"repository": "r", "tag": "7"}}]}, "for locations with `code`"),
        (
            {"locations": [{"name": "a10", "database": True}]},
            '"a10" has `database`, which is for locations with `code`',
        ),
    ],
    ids=json.dumps,
)
def test_invalid_values_are_refused_by_name(values: Values, said: str) -> None:
    for refuse in (render, files_of_helm4):
        with pytest.raises(RejectedError) as rejected:
            refuse(values)
        assert said in str(rejected.value)
