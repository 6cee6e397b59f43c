"""A manifest of nodes, read from a file as dbt's is."""

import json
import os
from pathlib import Path

PATH = Path(os.environ["DAGSTER_HOME"], "manifest.json")
if not PATH.exists():
    PATH.write_text(json.dumps({"nodes": {f"model.{n}": {"depends_on": [f"model.{n // 2}"]} for n in range(500)}}))
MANIFEST = json.loads(PATH.read_text())


def look() -> dict[str, object]:
    nodes = MANIFEST["nodes"]
    return {"nodes": len(nodes), "parent": nodes["model.9"]["depends_on"][0]}
