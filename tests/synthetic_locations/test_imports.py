"""Heavy libraries are imported in the process and at the time that the shape's name says."""

import json
import os
import subprocess
import sys
from typing import Any

from synthetic_locations.imports import HEAVY_LIBRARIES, installed_libraries

CODE = """
import json, sys, warnings
import dagster as dg
from synthetic_locations import catalog
from synthetic_locations.imports import installed_libraries

def imported():
    return [name for name in installed_libraries() if name in sys.modules]

for name in sys.argv[1:]:
    definitions = getattr(catalog, name)()
    built = imported()
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=dg.DagsterInstance.ephemeral()
    )
    (event,) = result.get_asset_materialization_events()
    metadata = {name: value.value for name, value in event.materialization.metadata.items()}
    print(json.dumps({"built": built, "computed": imported(), "metadata": metadata}))
"""


def in_new_process(*names: str, **environment: str) -> list[dict[str, Any]]:
    """Return which libraries were imported when in a new process, and the report of each location's only asset."""
    command = [sys.executable, "-c", CODE, *names]
    output = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ).stdout
    return [json.loads(line) for line in output.splitlines()]


def test_the_projects_own_libraries_are_among_the_heavy_ones() -> None:
    assert {"matplotlib.pyplot", "scipy.stats"} <= set(installed_libraries()) <= set(HEAVY_LIBRARIES)


def test_at_the_top_they_are_imported_when_the_definitions_are_built() -> None:
    # Any backend: none is used.
    (seen,) = in_new_process("a1_sleep0ms_importtop", MPLBACKEND="module://no.such.backend")
    assert seen["built"] == seen["computed"] == list(installed_libraries())
    assert seen["metadata"]["bench/imported"] == ", ".join(installed_libraries())
    assert seen["metadata"]["bench/heavy_import_s"] > 0.05
    assert seen["metadata"]["bench/build_s"] < seen["metadata"]["bench/heavy_import_s"]


def test_late_they_are_imported_when_an_asset_computes_and_otherwise_not_at_all() -> None:
    other, seen = in_new_process("a1_sleep0ms", "a1_sleep0ms_importlate")
    assert other["computed"] == []
    assert not {"bench/imported", "bench/heavy_import_s"} & other["metadata"].keys()
    assert (seen["built"], seen["computed"]) == ([], list(installed_libraries()))
    assert seen["metadata"]["bench/imported"] == ", ".join(installed_libraries())
    assert seen["metadata"]["bench/heavy_import_s"] > 0.05
