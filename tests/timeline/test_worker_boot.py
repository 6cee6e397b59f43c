"""The pieces of worker boot sum to it, whatever the clocks say, and lie where Kubernetes reports them."""

from collections.abc import Sequence
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.runs import Pod, RunEvent
from bench_orchestrator.model.stages import BootStage
from bench_orchestrator.timeline.worker_boot import boot_stages

STARTING_US = 1_800_000_000 * MICROSECONDS + 250_000

instants = st.none() | st.integers(-20, 20).map(lambda s: STARTING_US - 250_000 + s * MICROSECONDS)


def created(*at_us: int) -> Sequence[RunEvent]:
    return [
        RunEvent("PIPELINE_STARTING", STARTING_US),
        *(RunEvent("ENGINE_EVENT", us, None, "[K8sRunLauncher] Kubernetes run worker job created") for us in at_us),
        RunEvent("ENGINE_EVENT", STARTING_US + 9, None, "Started process for run (pid: 1)."),
    ]


def after(seconds: float) -> int:
    return STARTING_US + round(seconds * MICROSECONDS)


def whole(seconds: float) -> int:
    """Truncate to seconds, as Kubernetes stores instants."""
    return after(seconds) // MICROSECONDS * MICROSECONDS


@given(st.integers(-5_000_000, 15_000_000), instants, instants, instants, st.integers(0, 12 * MICROSECONDS))
def test_the_pieces_sum_to_worker_boot_and_none_is_negative(
    job_us: int, scheduled_us: int | None, pulled_us: int | None, started_us: int | None, boot_us: int
) -> None:
    pod = Pod(scheduled_us=scheduled_us, pulled_us=pulled_us, started_us=started_us)
    stages_us, warnings = boot_stages(
        created(STARTING_US + job_us), pod, starting_us=STARTING_US, worker_boot_us=boot_us
    )
    if scheduled_us is None or started_us is None:
        assert (stages_us, warnings) == ({}, ("worker boot is not split: nothing is known about its pod",))
        return
    assert list(stages_us) == list(BootStage)
    assert sum(stages_us.values()) == boot_us
    assert min(stages_us.values()) >= 0


def test_each_piece_is_where_kubernetes_says() -> None:
    pod = Pod(scheduled_us=whole(1.9), pulled_us=whole(4.9), started_us=whole(5.9))
    stages_us, warnings = boot_stages(created(after(0.2)), pod, starting_us=STARTING_US, worker_boot_us=8_000_000)
    assert stages_us == {
        BootStage.CREATE_JOB: 200_000,
        BootStage.SCHEDULE_POD: 2_050_000,
        BootStage.PULL_IMAGE: 3_000_000,
        BootStage.START_CONTAINER: 1_000_000,
        BootStage.START_PYTHON: 1_750_000,
    }
    assert warnings == ()


def test_whole_seconds_that_were_cut_off_are_no_disagreement() -> None:
    pod = Pod(scheduled_us=whole(0.3), pulled_us=whole(0.4), started_us=whole(0.6))  # all before 0.7 as written
    stages_us, warnings = boot_stages(created(after(0.2)), pod, starting_us=STARTING_US, worker_boot_us=900_000)
    assert warnings == ()
    # Three instants divide the time evenly from 0.2 s (job created) to 0.75 s (the next second).
    assert stages_us == {
        BootStage.CREATE_JOB: 200_000,
        BootStage.SCHEDULE_POD: 137_500,
        BootStage.PULL_IMAGE: 137_500,
        BootStage.START_CONTAINER: 137_500,
        BootStage.START_PYTHON: 287_500,
    }


@given(st.lists(st.integers(0, 10 * MICROSECONDS), min_size=5, max_size=5).map(sorted))
def test_where_clocks_agree_each_instant_lies_within_the_second_that_it_names(times_us: list[int]) -> None:
    job_us, *named_us, boot_us = times_us
    seconds_us = [(STARTING_US + us) // MICROSECONDS * MICROSECONDS for us in named_us]
    pod = Pod(scheduled_us=seconds_us[0], pulled_us=seconds_us[1], started_us=seconds_us[2])
    stages_us, warnings = boot_stages(
        created(STARTING_US + job_us), pod, starting_us=STARTING_US, worker_boot_us=boot_us
    )
    assert warnings == ()
    reached_us = list(accumulate(stages_us.values(), initial=STARTING_US))[2:-1]
    for second_us, placed_us in zip(seconds_us, reached_us, strict=True):
        assert second_us <= placed_us <= second_us + MICROSECONDS


def test_an_instant_before_its_cause_is_stated() -> None:
    pod = Pod(scheduled_us=whole(-3), started_us=whole(6))
    stages_us, warnings = boot_stages(created(after(0.75)), pod, starting_us=STARTING_US, worker_boot_us=4_000_000)
    assert stages_us[BootStage.SCHEDULE_POD] == 0
    assert stages_us[BootStage.START_PYTHON] == 0
    assert warnings == (
        "pull image is not known: counted as start container (Kubernetes keeps events for an hour)",
        "clocks disagree: schedule pod ends 3,000.000 ms before it begins",
        "clocks disagree: start container ends 1,750.000 ms after the process is up",
    )


def test_what_is_not_known_leaves_worker_boot_whole_and_says_why() -> None:
    events = created(after(0.2))
    for pod, why in (
        (None, "nothing is known about its pod"),
        (Pod(unknown="no rights"), "no rights"),
        (Pod(scheduled_us=whole(1), trouble="its image cannot be pulled"), "its image cannot be pulled"),
    ):
        stages_us, warnings = boot_stages(events, pod, starting_us=STARTING_US, worker_boot_us=4_000_000)
        assert stages_us == {}
        assert warnings == (f"worker boot is not split: {why}",)


def test_other_launches_have_no_pieces() -> None:
    pod = Pod(scheduled_us=whole(1), started_us=whole(2))
    assert boot_stages(created(), pod, starting_us=STARTING_US, worker_boot_us=4_000_000) == ({}, ())
    assert boot_stages(created(after(1)), pod, starting_us=None, worker_boot_us=None) == ({}, ())
    assert boot_stages(created(after(1)), pod, starting_us=STARTING_US, worker_boot_us=None) == ({}, ())
