"""How and how often a process loads a location's definitions."""

import subprocess
import sys

from synthetic_locations import catalog
from synthetic_locations.loading import load_definitions
from synthetic_locations.shape import parse_shape


def test_definitions_are_built_once_under_each_name() -> None:
    shape = parse_shape("a3")
    assert load_definitions(shape) is load_definitions(shape) is load_definitions(shape, "a3")
    assert load_definitions(shape, "blue") is load_definitions(shape, "blue") is not load_definitions(shape)


def test_rebuilt_definitions_are_built_each_time() -> None:
    assert catalog.a3_rebuilt() is not catalog.a3_rebuilt()


def test_garbage_is_collected_unless_the_name_says_not_to_and_again_once_an_asset_computes() -> None:
    code = """
import gc, sys
import dagster as dg
from synthetic_locations import catalog
collected = []
gc.callbacks.append(lambda phase, info: collected.append(phase))
for name in sys.argv[1:]:
    collected.clear()
    job = getattr(catalog, name)().resolve_implicit_global_asset_job_def()
    loading = len(collected)
    job.execute_in_process(instance=dg.DagsterInstance.ephemeral())
    print(loading > 0, gc.isenabled(), gc.get_freeze_count() > 0)
"""
    command = [sys.executable, "-W", "error", "-c", code, "a50_sleep0ms", "a50_sleep0ms_nogc"]
    seen = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert seen.splitlines() == ["True True False", "False True True"]
