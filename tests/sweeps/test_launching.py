"""The tags of a trial's run, by which the harvest and people find it."""

import dataclasses

import dagster as dg
import pytest
from recording import make_plan, make_run

from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.plan import LaunchPath
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sources.instance import get_run
from bench_orchestrator.sweeps.launching import trial_tags


class TestTags:
    def test_a_trials_run_can_be_found_and_filtered_by_what_it_is(self) -> None:
        plan = make_plan("quick-7", locations=("a1p2k",))
        assert trial_tags(plan, plan.trials[0], 1_784_021_400_123_457) == {
            "bench/kind": "trial",
            "bench/sweep": "quick-7",
            "bench/scenario": "quick",
            "bench/variant": "default",
            "bench/trial": "1",
            "bench/warmup": "true",
            "bench/requested_at_us": "1784021400123457",
            "dagster/max_retries": "0",
            "dagster/partition": "p0",
        }

    @pytest.mark.parametrize("path", [path for path in LaunchPath if path is not LaunchPath.GRAPHQL])
    def test_whatever_else_launches_a_run_sets_its_partition_itself(self, path: LaunchPath) -> None:
        plan = make_plan(locations=("a1p2k",))
        assert "dagster/partition" not in trial_tags(plan, dataclasses.replace(plan.trials[0], path=path), 0)

    def test_without_partitions_no_partition_is_requested(self) -> None:
        plan = make_plan(locations=("a10",))
        assert "dagster/partition" not in trial_tags(plan, plan.trials[1], 0)
        assert trial_tags(plan, plan.trials[1], 0)[Tag.WARMUP] == "false"

    def test_dagster_takes_them_all(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan(locations=("a10",))
        tags = trial_tags(plan, plan.trials[0], now_us())
        run = get_run(instance, make_run(instance, tags))
        assert run is not None
        assert tags.items() <= run.tags.items()

    def test_a_range_of_partitions_is_launched_as_one_run(self) -> None:
        plan = make_plan(locations=("a1p2k",))
        trial = dataclasses.replace(plan.trials[0], partition_key="p0", last_partition_key="p9")
        tags = trial_tags(plan, trial, 0)
        assert "dagster/partition" not in tags
        assert tags["dagster/asset_partition_range_start"] == "p0"
        assert tags["dagster/asset_partition_range_end"] == "p9"
