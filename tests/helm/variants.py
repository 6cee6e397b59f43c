"""The variants of the chart that its tests inspect, each as values and as rendered."""

import functools
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import yaml
from helms import CHART, Objects, Values, render

_PLACEMENT: Values = {
    "labels": {"team": "data"},
    "annotations": {"example.com/scrape": "true"},
    "nodeSelector": {"pool": "bench"},
    "tolerations": [{"key": "bench", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}]
            }
        }
    },
    "priorityClassName": "low",
}


DIGEST = f"sha256:{'0123456789abcdef' * 4}"


def containers_of(where: str) -> Values:
    """Return the settings of containers, each naming where it was set."""
    return {
        "env": {"SHARED": where, f"OF_{where.upper()}": {"secretKeyRef": {"name": where, "key": "token"}}},
        "envFrom": [
            {"secretRef": {"name": where}},
            {"prefix": "P_", "configMapRef": {"name": where, "optional": True}},
        ],
        "volumes": [{"name": where, "secret": {"secretName": where}}],
        "volumeMounts": [{"name": where, "mountPath": f"/mnt/{where}", "readOnly": True}],
    }


def _with_comments() -> Values:
    """Return the chart's own values, with its commented-out locations."""
    text = (CHART / "values.yaml").read_text()
    values: Values = yaml.safe_load(re.sub(r"^  # (- .*)$", r"  \1", text, flags=re.MULTILINE))
    return values


# Few locations suffice: more would only repeat the same.
VARIANTS: Mapping[str, Values] = MappingProxyType(
    {
        "default": {},
        "external PostgreSQL": {
            "locations": ["a10"],
            "postgresql": {
                "enabled": False,
                "host": "db.example.com",
                "port": 6432,
                "existingSecret": "db",
                "params": {"sslmode": "require"},
            },
        },
        "existing secret": {"locations": ["a10"], "postgresql": {"existingSecret": "db"}},
        "ReadWriteMany": {
            "locations": ["a10"],
            "results": {"accessMode": "ReadWriteMany", "storageClassName": "shared", "size": "10Gi"},
        },
        "existing claim": {"locations": ["a10"], "results": {"existingClaim": "kept"}},
        "warm": {
            "locations": ["a10", {"name": "a250", "warm": False}],
            "locationDefaults": {"warm": True},
        },
        "cold": {"locations": ["a10"], "meta": {"warm": False}, "runLauncher": {"warm": False}},
        "pod per step": {"locations": ["a10", "a10_pods"]},
        "network policy": {
            "locations": ["a10"],
            "networkPolicy": {
                "enabled": True,
                "webserverFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
            },
        },
        "pull secrets": {"locations": ["a10"], "imagePullSecrets": [{"name": "registry"}]},
        "placement": {
            "locations": ["a10", {"name": "a250", "nodeSelector": {"disk": "fast"}}],
            "pod": _PLACEMENT,
            "webserver": {"nodeSelector": {"pool": "servers"}},
            "runs": {"tolerations": [], "annotations": {"example.com/scrape": "false"}},
        },
        "CPU limits": {
            "locations": [
                "a250",
                {
                    "name": "a250_slow",
                    "shape": "a250",
                    "resources": {"limits": {"cpu": "500m"}},
                    "runResources": {"limits": {"cpu": 0.5, "memory": "1Gi"}},
                    "env": {"MALLOC_ARENA_MAX": "2"},
                },
                {"name": "spare", "shape": "a10", "replicas": 0},
            ],
        },
        "experiments": {
            "locations": _with_comments()["locations"],
            "coldStart": {"enabled": True},
        },
        "long names": {"locations": ["a100p30_daily_checks2_sleep500ms_importlate_inprocess"]},
        "egress": {
            "locations": ["a10", "a10_pods"],
            "postgresql": {"enabled": False, "host": "db.example.com", "port": 6432, "existingSecret": "db"},
            "networkPolicy": {
                "enabled": True,
                "apiServerTo": [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
                "apiServerPorts": [6443],
                "egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443}]}],
            },
        },
        "production": {
            "locations": ["a10"],
            "image": {"repository": "registry.example.com/bench", "tag": "ignored", "digest": DIGEST},
            "pod": {"runAsUser": 10001, "fsGroup": 2000},
            "webserver": {
                "pathPrefix": "/data/dagster",
                "strategy": "RollingUpdate",
                "ingress": {
                    "enabled": True,
                    "className": "nginx",
                    "annotations": {"example.com/auth": "on"},
                    "host": "dagster.example.com",
                    "tlsSecret": "dagster-tls",
                },
            },
            "postgresql": {"image": {"digest": DIGEST}},
            "migration": {"enabled": True},
            "podDisruptionBudget": {"enabled": True},
            "serviceAccountAnnotations": {
                "unprivileged": {"example.com/role": "reader"},
                "meta": {"example.com/role": "writer"},
            },
        },
        "ids of the platform": {"locations": ["a10"], "pod": {"runAsUser": None, "fsGroup": None}},
        "environment": {
            "locations": ["a10", {"name": "a250", **containers_of("location")}],
            "pod": containers_of("pod"),
            "daemon": containers_of("daemon"),
        },
        "own code": {
            "locations": [
                "a10",
                {
                    "name": "sales",
                    "code": ["--module-name=synthetic_locations.catalog", "--attribute=a20"],
                    "image": {"repository": "registry.example.com/sales", "tag": "7", "pullPolicy": "Always"},
                    "database": False,
                    "runAsUser": 1001,
                    "fsGroup": 1001,
                },
                {"name": "steps", "code": ["--package-name=synthetic_locations"], "podPerStep": True},
            ],
            "coldStart": {"enabled": True},
        },
        "rolling": {
            "locations": ["a10"],
            "locationDefaults": {"strategy": "RollingUpdate", "terminationGracePeriodSeconds": 30},
            "meta": {"warm": False, "strategy": "RollingUpdate"},
            "runLauncher": {"warm": False},
            "results": {"accessMode": "ReadWriteMany"},
        },
        "exporter": {
            "locations": ["a10"],
            "webserver": {"pathPrefix": "/dagster"},
            "exporter": {
                "enabled": True,
                "everySeconds": 30,
                "env": {"BENCH_WEBSERVER_HEADERS": {"secretKeyRef": {"name": "proxy", "key": "headers"}}},
                "serviceMonitor": {"labels": {"release": "prometheus"}, "interval": "30s"},
            },
            "networkPolicy": {
                "enabled": True,
                "exporterFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
            },
        },
        "service": {"locations": ["a10"], "webserver": {"service": {"type": "NodePort", "port": 8080}}},
    }
)


COLD = ("cold", "rolling")
"""The variants whose runs all have separate pods; in the others, the meta location forks its own."""


@functools.cache
def rendered(variant: str) -> Objects:
    """Return what Helm 3 renders for a variant."""
    return render(VARIANTS[variant])


def pods(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the pods that the chart starts itself, by name, as pods or as templates."""
    for (kind, name), found in objects.items():
        if kind in ("Deployment", "StatefulSet", "Job"):
            yield name, found["spec"]["template"]
        elif kind == "Pod":
            yield name, found


def container(template: Mapping[str, Any]) -> dict[str, Any]:
    """Return the only container of a pod."""
    (only,) = template["spec"]["containers"]
    return dict(only)


def environment(template: Mapping[str, Any]) -> dict[str, Any]:
    """Return its environment variables: values as strings, references as maps."""
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(template)["env"]}
