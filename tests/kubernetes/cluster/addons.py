"""Adds what a cluster needs besides Kubernetes' own programs: names for its services, and volumes for its claims.

Polls the API server's objects twice a second and
- writes the addresses of all services to dnsmasq's file;
- creates a folder and a persistent volume for each pending claim of the storage class, and removes released ones.
  The folder belongs to root, like a new disk: pods of other users need an fsGroup, as elsewhere.
"""

import http.client
import json
import shutil
import ssl
import sys
import time
from collections.abc import Iterator
from typing import Any

from node import ADDRESS, DOMAIN, HOSTS, KEYS, NAME, VOLUMES

CLASS = "bench-local"
PROVISIONER = "dagster-bench/local"

Object = dict[str, Any]


class Api:
    """A connection to the API server."""

    def __init__(self) -> None:
        self._token = (KEYS / "admin.token").read_text()
        context = ssl.create_default_context(cafile=str(KEYS / "apiserver.crt"))
        self._connection = http.client.HTTPSConnection(ADDRESS, 6443, timeout=10, context=context)

    def call(self, method: str, path: str, body: Object | None = None) -> Object:
        """Return the API server's answer; raise an HTTPException if it refuses."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        self._connection.request(method, path, json.dumps(body) if body else None, headers)
        response = self._connection.getresponse()
        answer: Object = json.loads(response.read())
        if response.status >= 400:
            raise http.client.HTTPException(f"{method} {path}: {answer.get('message')}")
        return answer

    def items(self, path: str) -> list[Object]:
        """Return the objects of a kind, from the API server's memory rather than from etcd."""
        items: list[Object] = self.call("GET", f"{path}?resourceVersion=0")["items"]
        return items


def host_lines(services: list[Object], endpoints: list[Object]) -> Iterator[str]:
    """Yield the lines of a hosts file: a service's address or, without one, those of its pods."""
    ready = {
        _key(item): [address for subset in item.get("subsets", []) for address in subset.get("addresses", [])]
        for item in endpoints
    }
    for service in services:
        namespace, name = _key(service)
        domain = f"{name}.{namespace}.svc.{DOMAIN}"
        match service["spec"].get("clusterIP"):
            case "None":
                for address in ready.get((namespace, name), []):
                    yield f"{address['ip']} {domain}"
                    if "hostname" in address:
                        yield f"{address['ip']} {address['hostname']}.{domain}"
            case str(address) if address:
                yield f"{address} {domain}"


def write_hosts(api: Api) -> None:
    """Update dnsmasq's services."""
    lines = sorted(host_lines(api.items("/api/v1/services"), api.items("/api/v1/endpoints")))
    text = "".join(f"{line}\n" for line in lines)
    file = HOSTS / "services"
    if not file.exists() or file.read_text() != text:
        file.write_text(text)


def volume_for(claim: Object) -> Object:
    """Return a persistent volume on this node for the claim."""
    namespace, name = _key(claim)
    uid = claim["metadata"]["uid"]
    return {
        "metadata": {"name": f"pvc-{uid}", "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": claim["spec"]["resources"]["requests"],
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": CLASS,
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": namespace,
                "name": name,
                "uid": uid,
            },
            "local": {"path": str(VOLUMES / f"pvc-{uid}")},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {"key": "kubernetes.io/hostname", "operator": "In", "values": [NAME]},
                            ]
                        }
                    ]
                }
            },
        },
    }


def serve_claims(api: Api) -> None:
    """Create the requested volumes, and remove the released ones."""
    volumes = api.items("/api/v1/persistentvolumes")
    names = {volume["metadata"]["name"] for volume in volumes}
    for claim in api.items("/api/v1/persistentvolumeclaims"):
        asked = claim["status"].get("phase") == "Pending" and claim["spec"].get("storageClassName") == CLASS
        if asked and f"pvc-{claim['metadata']['uid']}" not in names:
            volume = volume_for(claim)
            (VOLUMES / volume["metadata"]["name"]).mkdir(exist_ok=True)
            api.call("POST", "/api/v1/persistentvolumes", volume)
    for volume in volumes:
        metadata = volume["metadata"]
        ours = (metadata.get("annotations") or {}).get("pv.kubernetes.io/provisioned-by") == PROVISIONER
        if ours and volume["status"].get("phase") == "Released" and "deletionTimestamp" not in metadata:
            shutil.rmtree(VOLUMES / metadata["name"], ignore_errors=True)
            api.call("DELETE", f"/api/v1/persistentvolumes/{metadata['name']}")


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def main() -> None:
    """Poll and act; reconnect whenever the API server refuses or is unreachable."""
    while True:
        try:
            api = Api()
            while True:
                write_hosts(api)
                serve_claims(api)
                time.sleep(0.5)
        except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
            print(error, file=sys.stderr, flush=True)
            time.sleep(1)


if __name__ == "__main__":
    main()
