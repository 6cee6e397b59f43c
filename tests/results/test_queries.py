"""DuckDB chooses the same sweeps as Python would with all of them in memory."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import samples
from advice_samples import sample_experiment, sized_sweep
from examples import fewer
from experiment_samples import experiment_sweep, only_variants
from hypothesis import given
from hypothesis import strategies as st
from samples import failed_sweep

from bench_orchestrator.analysis.evaluation import is_experiment
from bench_orchestrator.analysis.evidence import Evidence
from bench_orchestrator.model.content import Content
from bench_orchestrator.model.launch import Outcome, Sweep
from bench_orchestrator.model.plan import Variant
from bench_orchestrator.results.queries import experiment_sweeps, gather, latest_sweep, location_sweeps
from bench_orchestrator.results.store import Store


def stored(directory: Path, *sweeps: Sweep) -> Store:
    store = Store.in_directory(directory)
    for sweep in sweeps:
        store.save(sweep)
    return store


def renamed(sweep: Sweep, sweep_id: str, day: int = 0) -> Sweep:
    plan = replace(sweep.plan, sweep_id=sweep_id, created_us=sweep.plan.created_us + day * 86_400_000_000)
    return Sweep(plan, sweep.status, tuple(replace(trial, sweep_id=sweep_id) for trial in sweep.trials))


def test_without_a_database_there_is_none(tmp_path: Path) -> None:
    evidence = gather(Store.in_directory(tmp_path))
    assert evidence == Evidence()
    assert evidence.model is None
    assert not list(tmp_path.iterdir())


def test_sweeps_of_locations_come_latest_first_and_experiments_once(tmp_path: Path) -> None:
    executors = sample_experiment("executors")
    store = stored(
        tmp_path,
        sized_sweep(day=1),
        sized_sweep((10, 250, 2_000), scenario="quick", day=2),
        sized_sweep(scenario="monitor", day=3),
        renamed(executors, "executors-1"),
        renamed(executors, "executors-2", day=1),
        renamed(sample_experiment("executors", quick=True), "executors-3", day=2),
    )
    evidence = gather(store)
    assert [sweep.plan.sweep_id for sweep in evidence.sweeps] == ["quick-2", "assets-scaling-1"]
    assert evidence.sweeps == location_sweeps(store)
    assert {name: one.sweep.plan.sweep_id for name, one in evidence.by_experiment.items()} == {
        "executors": "executors-2"
    }
    assert evidence.model is not None
    assert evidence.model.plan.sweep_id == "assets-scaling-1"


def test_a_long_history_is_not_read_as_a_whole(tmp_path: Path) -> None:
    sweeps = [sized_sweep((250, 500, 2_000), scenario="quick", day=day, repeats=1) for day in range(13)]
    assert [sweep.plan.sweep_id for sweep in location_sweeps(stored(tmp_path, *sweeps))] == [
        f"quick-{day}" for day in range(12, 2, -1)
    ]


def test_a_sweep_without_a_success_is_evidence_of_nothing(tmp_path: Path) -> None:
    assert gather(stored(tmp_path, failed_sweep())).model is None


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.in_directory(tmp_path)


class TestTheLatestSweep:
    def save(self, store: Store, sweep: Sweep, number: int, scenario: str = "quick") -> None:
        plan = replace(sweep.plan, sweep_id=f"sweep-{number}", scenario=scenario, created_us=number)
        trials = tuple(replace(trial, sweep_id=plan.sweep_id) for trial in sweep.trials)
        store.save(replace(sweep, plan=plan, trials=trials))

    def test_is_the_last_of_which_it_holds_and_the_monitors_only_without_another(self, store: Store) -> None:
        assert latest_sweep(store, Content.MEASUREMENTS) is None
        good, bad = samples.measured_sweep(["a10"], 1), samples.failed_sweep()
        expected = [
            ("monitor", good, 1),
            ("quick", bad, 1),
            ("quick", good, 3),
            ("quick", good, 4),
            ("monitor", good, 4),
        ]
        for number, (scenario, sweep, latest) in enumerate(expected, start=1):
            self.save(store, sweep, number, scenario)
            found = latest_sweep(store, Content.MEASUREMENTS)
            assert found is not None
            assert found.plan.sweep_id == f"sweep-{latest}"


MEASURED_BLOCKS = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.sampled_from(["spawn", "again", "in turn"]),
        st.sampled_from([("a10", 10, 0), ("a250", 250, 0), ("a1p2k", 1, 2_000)]),
        st.sampled_from(Outcome),
        st.booleans(),
    ),
    max_size=4,
)
SCENARIO_NAMES = st.sampled_from(["quick", "monitor", "assets-scaling", "executors", "loading", "of-another-release"])
SETTINGS = st.fixed_dictionaries(
    {}, optional={"quick": st.none() | st.booleans(), "only": st.none() | st.lists(st.just("spawn"), max_size=1)}
)
VARIANTS = (Variant("spawn", ("a10",)), Variant("again", ("a10",)), Variant("in turn", ("a10",), in_turn=True))


@st.composite
def histories(draw: st.DrawFn) -> list[Sweep]:
    """Draw sweeps of which several are equally good."""
    sweeps = []
    for number in range(draw(st.integers(0, 6))):
        trials = tuple(
            replace(
                samples.make_trial(position, location, size=(assets, partitions), outcome=outcome, warmup=warmup),
                sweep_id=f"sweep-{number}",
                block=block,
                variant=variant,
            )
            for position, (block, variant, (location, assets, partitions), outcome, warmup) in enumerate(
                draw(MEASURED_BLOCKS), start=1
            )
        )
        plan = replace(
            samples.failed_sweep().plan,
            sweep_id=f"sweep-{number}",
            scenario=draw(SCENARIO_NAMES),
            created_us=draw(st.integers(1, 3)),
            settings=draw(SETTINGS),
            variants=draw(st.sampled_from([(), VARIANTS])),
        )
        sweeps.append(Sweep(plan, draw(st.sampled_from(["complete", "canceled"])), trials))
    return sweeps


def latest_first(sweeps: list[Sweep]) -> list[Sweep]:
    """Return the sweeps to list: one without trials has nothing to show."""
    listed = (sweep for sweep in sweeps if sweep.trials)
    return sorted(listed, key=lambda sweep: (-sweep.plan.created_us, sweep.plan.sweep_id))


def says_most(sweeps: list[Sweep], experiment: str) -> Sweep | None:
    """Return the experiment's best sweep, by these criteria: complete, full-size, all sides, most blocks, latest."""

    def worth(sweep: Sweep) -> tuple[bool, bool, bool, int, int]:
        in_turn = {variant.name for variant in sweep.plan.variants if variant.in_turn}
        blocks = {trial.block for trial in sweep.trials if trial.measured and trial.variant not in in_turn}
        knobs = sweep.plan.settings
        return (
            sweep.status == "complete",
            not knobs.get("quick"),
            not knobs.get("only"),
            len(blocks),
            sweep.plan.created_us,
        )

    of_experiment = [one for one in latest_first(sweeps) if one.plan.scenario == experiment and is_experiment(one)]
    return max(of_experiment, key=worth, default=None)


WANTED = st.lists(st.tuples(st.sampled_from(Content), st.booleans()), min_size=3, max_size=3)


# Each opens the file about ten times.
@fewer(6)
@given(histories(), WANTED)
def test_what_is_chosen_is_what_python_chooses(history: list[Sweep], wanted: list[tuple[Content, bool]]) -> None:
    with TemporaryDirectory() as directory:
        store = stored(Path(directory), *history)
        for content, with_experiments in wanted:
            in_order = sorted(latest_first(history), key=lambda sweep: sweep.plan.scenario == "monitor")
            expected = next(
                (one for one in in_order if content.is_in(one) and (with_experiments or not one.plan.variants)), None
            )
            assert latest_sweep(store, content, with_experiments=with_experiments) == expected
        best = [says_most(history, name) for name in ("executors", "loading")]
        assert experiment_sweeps(store, ["executors", "loading", "unknown"]) == [one for one in best if one]
        of_locations = ("quick", "assets-scaling")
        assert location_sweeps(store) == tuple(
            one for one in latest_first(history) if one.plan.scenario in of_locations
        )


def test_the_sweep_that_says_most_is_taken(tmp_path: Path) -> None:
    full, longer = experiment_sweep(repeats=2), experiment_sweep(repeats=4)
    ascending = [
        replace(experiment_sweep(repeats=6), status="canceled"),
        experiment_sweep(repeats=6, quick=True),
        only_variants(experiment_sweep(repeats=6), ["one location", "nine locations"]),
        full,
        replace(full, plan=replace(full.plan, created_us=full.plan.created_us + 1)),
        longer,
    ]
    store = Store.in_directory(tmp_path)
    for number, sweep in enumerate(ascending):
        store.save(renamed(sweep, f"sweep-{number}"))
        (chosen,) = experiment_sweeps(store)
        assert chosen.plan.sweep_id == f"sweep-{number}"
