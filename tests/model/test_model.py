"""The stages are contiguous between the boundaries, and one rule decides which trials are measured."""

from itertools import pairwise

import pytest
import samples

from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.stages import INIT_STAGES, QUEUE_STAGES, Boundary, Stage


def test_each_stage_ends_where_the_next_begins() -> None:
    assert all(earlier.end is later.start for earlier, later in pairwise(Stage))
    assert [stage.start for stage in Stage] == list(Boundary)[:-1]
    assert tuple(Stage)[-1].end is Boundary.STEP_STARTED


def test_queue_and_init_time_are_the_documented_spans() -> None:
    assert (QUEUE_STAGES[0].start, QUEUE_STAGES[-1].end) == (Boundary.ENQUEUED, Boundary.RUN_STARTED)
    assert (INIT_STAGES[0].start, INIT_STAGES[-1].end) == (Boundary.RUN_STARTED, Boundary.STEP_STARTED)
    assert (*QUEUE_STAGES, *INIT_STAGES) == tuple(Stage)[2:]


def test_a_stage_has_a_label_and_a_process() -> None:
    assert Stage.WORKER_LOAD.label == "worker load"
    assert all(stage.process and "_" not in stage.label for stage in Stage)


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("warmup", [True, False])
def test_only_a_trial_that_went_well_and_was_no_warm_up_counts(outcome: Outcome, warmup: bool) -> None:
    trial = samples.make_trial(outcome=outcome, warmup=warmup)
    assert trial.measured is (outcome is Outcome.OK and not warmup)
