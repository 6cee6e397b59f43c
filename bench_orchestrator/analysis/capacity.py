"""The memory and CPU that runs at once need in a pod with their code server: Dagster's own server, or the warm one.

Lines over the number of assets, fitted to the launches of the experiment `definitions-cache`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bench_orchestrator.analysis.evidence import Evidence
from bench_orchestrator.analysis.lag_model import MIN_SIZES, MIN_SPAN
from bench_orchestrator.model.launch import Sweep, Trial
from bench_orchestrator.scenarios.experiment import CODE_SERVER, RUN_PEAK
from bench_orchestrator.scenarios.experiments.definitions_cache import EXPERIMENT
from bench_orchestrator.statistics import Estimate, fit_line

SERVERS: Mapping[str, bool] = {"stock": False, "warm": True}
"""Whether the sides with this server are warm."""

_COUNTED = (
    "All runs at their peak, each with one step process that does nothing: add what your steps take. Warm runs at once "
    "share more memory than the one that was measured, so they need less. A launch's CPU is that of the run's "
    "processes until they end, and of the code server"
)


@dataclass(frozen=True)
class Footprint:
    """What runs at once need with one kind of code server; memory in MiB. No prediction is below zero."""

    sizes: tuple[int, ...]
    """The numbers of assets measured, ascending."""
    extrapolated: bool
    """Whether the predicted size lies beyond them."""
    run_mib: Estimate
    """The peak of one run: its worker and one step process, which does nothing."""
    code_server_mib: Estimate
    """The code server; with the process that it forks runs from, if it is warm."""
    memory_mib: Estimate
    """All runs at their peak, and the code server. The ends of the interval are the sums of the ends."""
    launch_cpu_s: Estimate
    """CPU seconds of one launch: the run's processes until they end, and the code server."""
    launches_cpu_s: Estimate
    """CPU seconds of the launches of all runs."""
    launches_per_cpu_minute: Estimate | None
    """Launches per minute that take all of one CPU; None if a launch is predicted to take none."""

    @property
    def basis(self) -> str:
        """The measured sizes, and how often the intervals hold, in words."""
        memory, cpu = (round(100 * estimate.coverage) for estimate in (self.memory_mib, self.launch_cpu_s))
        return (
            f"measured at {', '.join(f'{size:,}' for size in self.sizes[:-1])} and {self.sizes[-1]:,} assets"
            f"{', extrapolated' if self.extrapolated else ''}; intervals cover {memory} % (memory) and {cpu} % (CPU)"
        )


@dataclass(frozen=True)
class Capacity:
    """What `concurrent` runs at once need in a location with `assets` assets."""

    assets: int
    concurrent: int
    sweep_id: str
    """The measured sweep; empty if there is none."""
    footprints: Mapping[str, Footprint]
    """By name in `SERVERS`; without those that were measured at too few sizes."""

    @property
    def missing(self) -> str:
        """A sentence that says what to run for the servers that are not known; empty if all are."""
        unknown = [name for name in SERVERS if name not in self.footprints]
        if not unknown:
            return ""
        return (
            f"{' and '.join(unknown).capitalize()}: memory and CPU not measured here at {MIN_SIZES} sizes or more: "
            f"bench run {EXPERIMENT.name}"
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is counted, what the footprints rest on, and what is missing; without full stops."""
        return tuple(filter(None, (_COUNTED if self.footprints else "", *self._bases(), self.missing)))

    def _bases(self) -> Iterator[str]:
        """Yield what the footprints rest on; servers that rest on the same share a sentence."""
        by_basis: dict[str, list[str]] = {}
        for name, footprint in self.footprints.items():
            by_basis.setdefault(footprint.basis, []).append(name)
        for basis, names in by_basis.items():
            yield f"{' and '.join(names).capitalize()}: {basis} ({self.sweep_id})"


def predict_capacity(evidence: Evidence, assets: int, concurrent: int) -> Capacity:
    """Predict the memory and CPU that `concurrent` runs at once need, with each kind of code server.

    A run's memory is sampled, and a run of a second is sampled a few times only. Each sample is at most the peak, so
    the largest of each size stands for it. Memory that processes share is divided between those of the one run that was
    measured, and counts whole for the server. More runs divide it further, so warm runs at once need less than
    predicted. The steps' own work is not included.
    """
    evaluation = evidence.by_experiment.get(EXPERIMENT.name)
    if evaluation is None:
        return Capacity(assets, concurrent, "", {})
    found = {name: _footprint(evaluation.sweep, warm, assets, concurrent) for name, warm in SERVERS.items()}
    footprints = {name: footprint for name, footprint in found.items() if footprint is not None}
    return Capacity(assets, concurrent, evaluation.sweep.plan.sweep_id, footprints)


def _footprint(sweep: Sweep, warm: bool, assets: int, concurrent: int) -> Footprint | None:
    """Predict from the launches with this server; None if they have too few sizes."""
    servers = {variant.name: variant.warm for variant in sweep.plan.variants}
    used = [found for trial in sweep.trials if servers.get(trial.variant) is warm and (found := _usage(trial))]
    sizes = sorted({one.assets for one in used})
    if len(sizes) < MIN_SIZES or sizes[-1] - sizes[0] < MIN_SPAN:
        return None
    peaks_mib = [max(one.run_mib for one in used if one.assets == size) for size in sizes]
    launched = [one.assets for one in used]
    run_mib = _predict(assets, sizes, peaks_mib)
    code_server_mib = _predict(assets, launched, [one.code_server_mib for one in used])
    launch_cpu_s = _predict(assets, launched, [one.cpu_s for one in used])
    return Footprint(
        sizes=tuple(sizes),
        extrapolated=not sizes[0] <= assets <= sizes[-1],
        run_mib=run_mib,
        code_server_mib=code_server_mib,
        memory_mib=_sum(_mapped(run_mib, lambda value: concurrent * value), code_server_mib),
        launch_cpu_s=launch_cpu_s,
        launches_cpu_s=_mapped(launch_cpu_s, lambda value: concurrent * value),
        launches_per_cpu_minute=_per_minute(launch_cpu_s),
    )


def _predict(assets: int, sizes: Sequence[int], values: Sequence[float]) -> Estimate:
    """Predict a value that cannot be negative by a line over the number of assets."""
    return _mapped(fit_line(sizes, values).predict(assets), lambda value: max(0.0, value))


@dataclass(frozen=True)
class _Usage:
    """What one launch took."""

    assets: int
    run_mib: float
    code_server_mib: float
    cpu_s: float


def _usage(trial: Trial) -> _Usage | None:
    """Return what a launch took; None if it does not count, or if any of it was not measured."""
    run_mib, code_server_mib = RUN_PEAK.of(trial), CODE_SERVER.of(trial)
    run_s, server_s = trial.usage.get("run_cpu_s"), trial.usage.get("code_server_cpu_s")
    if not trial.measured or run_mib is None or code_server_mib is None or run_s is None or server_s is None:
        return None
    return _Usage(trial.asset_count, run_mib, code_server_mib, run_s + server_s)


def _mapped(estimate: Estimate, rising: Callable[[float], float]) -> Estimate:
    """Apply a rising function to the value and to the ends of the interval."""
    low, high = (None if end is None else rising(end) for end in (estimate.low, estimate.high))
    return replace(estimate, value=rising(estimate.value), low=low, high=high)


def _sum(one: Estimate, other: Estimate) -> Estimate:
    """Add two estimates and the ends of their intervals, whatever their errors have in common."""
    coverage, n = min(one.coverage, other.coverage), min(one.n, other.n)
    value = one.value + other.value
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return Estimate(value, None, None, 0.0, n)
    return Estimate(value, one.low + other.low, one.high + other.high, coverage, n)


def _per_minute(cpu_s: Estimate) -> Estimate | None:
    """Return how often these seconds fit into a minute; without an interval if they may be zero."""
    if not cpu_s.value:
        return None
    if not cpu_s.low or not cpu_s.high:
        return Estimate(60 / cpu_s.value, None, None, 0.0, cpu_s.n)
    return replace(cpu_s, value=60 / cpu_s.value, low=60 / cpu_s.high, high=60 / cpu_s.low)
