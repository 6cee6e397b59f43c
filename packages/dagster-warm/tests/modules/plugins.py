"""Modules found and loaded by name, from a folder that is put on the path."""

import importlib
import os
import sys
from pathlib import Path

FOLDER = Path(os.environ["DAGSTER_HOME"], "plugins")
FOLDER.mkdir(exist_ok=True)
(FOLDER / "a_plugin.py").write_text("ANSWER = 42\n")
sys.path.insert(0, str(FOLDER))
PLUGIN = importlib.import_module("a_plugin")


def look() -> dict[str, object]:
    return {"answer": PLUGIN.ANSWER, "again": importlib.import_module("a_plugin") is PLUGIN}
