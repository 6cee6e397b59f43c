"""What runs at once need is exact where the measurements are, never negative, and absent where too little is known."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from advice_samples import LAUNCH_CPU_S, RUN_MIB, SERVER_MIB, used_sweep
from experiment_samples import only_variants

from bench_orchestrator.analysis.capacity import SERVERS, Capacity, predict_capacity
from bench_orchestrator.analysis.evaluation import evaluate
from bench_orchestrator.analysis.evidence import Evidence
from bench_orchestrator.model.launch import Sweep, Trial
from bench_orchestrator.statistics import Estimate


def capacity(sweep: Sweep, assets: int = 2_000, concurrent: int = 20) -> Capacity:
    return predict_capacity(Evidence(evaluations=(evaluate(sweep),)), assets, concurrent)


def with_trials(sweep: Sweep, change: Callable[[Trial], Trial]) -> Sweep:
    return replace(sweep, trials=tuple(map(change, sweep.trials)))


def bounds(estimate: Estimate | None) -> tuple[float, float, float]:
    assert estimate is not None
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.value, estimate.high


class TestPrediction:
    @pytest.mark.parametrize("assets", [1, 250, 3_000, 40_000])
    @pytest.mark.parametrize("server", SERVERS)
    def test_without_chance_it_is_exact_at_every_size(self, server: str, assets: int) -> None:
        found = capacity(used_sweep(), assets).footprints[server]
        run_mib, server_mib, cpu_s = (
            known[SERVERS[server]][0] + known[SERVERS[server]][1] * assets
            for known in (RUN_MIB, SERVER_MIB, LAUNCH_CPU_S)
        )
        assert bounds(found.run_mib) == pytest.approx([run_mib] * 3)
        assert bounds(found.code_server_mib) == pytest.approx([server_mib] * 3)
        assert bounds(found.memory_mib) == pytest.approx([20 * run_mib + server_mib] * 3)
        assert bounds(found.launch_cpu_s) == pytest.approx([cpu_s] * 3)
        assert bounds(found.launches_cpu_s) == pytest.approx([20 * cpu_s] * 3)
        assert bounds(found.launches_per_cpu_minute) == pytest.approx([60 / cpu_s] * 3)

    def test_with_chance_the_intervals_hold_what_is_true(self) -> None:
        found = capacity(used_sweep(spread=0.1)).footprints["stock"]
        for estimate, true in (
            (found.code_server_mib, 140),
            (found.memory_mib, 20 * 220 + 140),
            (found.launch_cpu_s, 7.2),
            (found.launches_per_cpu_minute, 60 / 7.2),
        ):
            low, value, high = bounds(estimate)
            assert low < true < high
            assert low < value < high

    def test_samples_that_miss_the_peak_do_not_lower_it(self) -> None:
        found = capacity(used_sweep(spread=0.5)).footprints["warm"]
        assert found.run_mib.value == pytest.approx(112)

    def test_more_runs_need_as_many_times_the_run_and_one_server(self) -> None:
        one, many = (capacity(used_sweep(), concurrent=runs).footprints["warm"] for runs in (1, 100))
        assert one.memory_mib.value == pytest.approx(112 + 180)
        assert many.memory_mib.value == pytest.approx(100 * 112 + 180)
        assert many.launch_cpu_s == one.launch_cpu_s

    def test_resident_memory_stands_for_a_proportional_one_that_is_unknown(self) -> None:
        def without(trial: Trial) -> Trial:
            return replace(trial, usage={name: v for name, v in trial.usage.items() if name != "run_peak_pss_bytes"})

        assert capacity(with_trials(used_sweep(), without)).footprints["stock"].run_mib.value == pytest.approx(3 * 220)

    def test_no_prediction_is_negative(self) -> None:
        def falling(trial: Trial) -> Trial:
            of = 1 - trial.asset_count / 20_000
            return replace(trial, usage={name: of**3 * value for name, value in trial.usage.items()})

        found = capacity(with_trials(used_sweep(spread=0.1), falling), 1_000_000).footprints["warm"]
        assert found.run_mib.value == found.run_mib.low == 0
        assert found.code_server_mib.value == found.code_server_mib.low == 0
        assert found.memory_mib.value == found.memory_mib.low == 0
        assert found.launch_cpu_s.value == found.launch_cpu_s.low == 0
        assert found.launches_per_cpu_minute is None

    def test_a_launch_that_may_take_no_cpu_gives_a_rate_without_an_interval(self) -> None:
        def noisy(trial: Trial) -> Trial:
            return replace(trial, usage={**trial.usage, "run_cpu_s": 0.001 + trial.number % 7})

        found = capacity(with_trials(used_sweep(), noisy), 100_000).footprints["warm"]
        assert found.launch_cpu_s.low == 0
        assert found.launches_per_cpu_minute is None or found.launches_per_cpu_minute.low is None


class TestBasis:
    def test_it_names_the_sizes_the_sweep_and_the_coverage_of_the_intervals(self) -> None:
        found = capacity(used_sweep())
        assert found.sentences[-1] == (
            "Stock and warm: measured at 10, 250, 2,000 and 10,000 assets; "
            f"intervals cover 88 % (memory) and 95 % (CPU) ({found.sweep_id})"
        )
        assert found.missing == ""

    @pytest.mark.parametrize(("assets", "beyond"), [(9, True), (10, False), (10_000, False), (10_001, True)])
    def test_a_size_beyond_those_measured_is_extrapolated(self, assets: int, beyond: bool) -> None:
        found = capacity(used_sweep(), assets)
        assert all(footprint.extrapolated is beyond for footprint in found.footprints.values())
        assert any("assets, extrapolated; " in sentence for sentence in found.sentences) is beyond

    def test_warm_ups_do_not_count(self) -> None:
        def doubled(trial: Trial) -> Trial:
            return replace(trial, usage={n: 2 * v for n, v in trial.usage.items()}) if trial.warmup else trial

        assert capacity(with_trials(used_sweep(), doubled)) == capacity(used_sweep())


class TestMissing:
    def test_without_a_sweep_it_says_what_to_run(self) -> None:
        found = predict_capacity(Evidence(), 2_000, 20)
        assert found.footprints == {}
        assert found.sentences == (found.missing,)
        assert found.missing.startswith("Stock and warm: ")
        assert found.missing.endswith("bench run definitions-cache")

    @pytest.mark.parametrize("absent", ["code_server_cpu_s", "run_cpu_s", "code_server_bytes"])
    def test_launches_whose_usage_is_unknown_do_not_count(self, absent: str) -> None:
        def without(trial: Trial) -> Trial:
            warm = trial.variant.startswith("warm")
            return replace(trial, usage={n: v for n, v in trial.usage.items() if not warm or n != absent})

        found = capacity(with_trials(used_sweep(), without))
        assert list(found.footprints) == ["stock"]
        assert found.missing.startswith("Warm: ")

    def test_the_sizes_of_a_quick_sweep_are_too_few(self) -> None:
        assert capacity(used_sweep(quick=True)).missing.startswith("Stock and warm: ")

    def test_two_sizes_are_too_few_and_three_are_enough(self) -> None:
        sides = [f"{server}, {size}" for size in ("a10", "a250", "a10k") for server in SERVERS]
        assert list(capacity(only_variants(used_sweep(), sides)).footprints) == ["stock", "warm"]
        assert capacity(only_variants(used_sweep(), sides[2:])).footprints == {}
