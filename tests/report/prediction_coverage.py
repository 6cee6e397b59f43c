"""How often predictions hold on the committed sweeps: each is predicted from the others, and from earlier ones."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench_orchestrator.analysis.lag_model import comparable_trials, fit_lags, startup_s
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.model.launch import Sweep, Trial
from bench_orchestrator.model.plan import Prediction
from bench_orchestrator.report.text import table
from bench_orchestrator.statistics import Estimate, median


@dataclass(frozen=True)
class Check:
    """A prediction of a sweep's side by other sweeps, and what was measured."""

    sweep_id: str
    side: str
    assets: int
    sweeps: int
    """The sweeps whose spread is in the interval; 1: none."""
    predicted: Prediction
    within: Estimate
    """The within-sweep interval: that of the fitted line alone."""
    measured: Estimate

    @property
    def holds(self) -> bool:
        """Whether the measured median is inside the interval."""
        return _contains(self.predicted, self.measured.value)

    @property
    def holds_within(self) -> bool:
        """Whether it is inside the within-sweep interval."""
        return _contains(self.within, self.measured.value)


def leave_one_out(sweeps: Sequence[Sweep]) -> list[Check]:
    """Predict each sweep from all others."""
    return list(_check(sweeps, lambda sweep, other: other is not sweep))


def beforehand(sweeps: Sequence[Sweep]) -> list[Check]:
    """Predict each sweep from those before it."""
    return list(_check(sweeps, lambda sweep, other: other.plan.created_us < sweep.plan.created_us))


def _check(sweeps: Sequence[Sweep], known: Callable[[Sweep, Sweep], bool]) -> Iterator[Check]:
    for sweep in sorted(sweeps, key=lambda one: one.plan.created_us):
        model = fit_lags(other for other in sweeps if known(sweep, other))
        groups: defaultdict[tuple[int, str], list[Trial]] = defaultdict(list)
        for trial in comparable_trials(sweep):
            groups[trial.asset_count, trial.variant if sweep.plan.variants else trial.location].append(trial)
        for (assets, side), trials in sorted(groups.items()) if model else ():
            assert model is not None
            yield Check(
                sweep.plan.sweep_id,
                side,
                assets,
                len(model.comparable),
                model.predict(assets, dequeue_interval_s=None),
                model.line.predict(assets),
                median([startup_s(trial) for trial in trials]),
            )


def _contains(interval: Prediction | Estimate, value: float) -> bool:
    return interval.low is not None and interval.high is not None and interval.low <= value <= interval.high


def render_coverage(sweeps: Sequence[Sweep]) -> str:
    """Render both checks as a page of Markdown."""
    out, before = leave_one_out(sweeps), beforehand(sweeps)
    return f"""# Do predictions hold in the next sweep?

Startup times of locations that differ in size only, from the committed rows. A prediction rests on the fit of one sweep
and on the spread between all sweeps known to it; its interval claims 95 %. The within-sweep interval is that of the fit
alone. The method was chosen after these sweeps: this checks that it is calibrated, not that it was foreseen.

**Each sweep predicted from all others: {_tally(out)}.**

{_table(out)}

**Each sweep predicted from those before it: {_tally(before)}.**

{_table(before)}

Written by `python tests/report/committed.py`.
"""


def _tally(checks: Sequence[Check]) -> str:
    sweeps = {check.sweep_id for check in checks}
    missed = {check.sweep_id for check in checks if not check.holds}
    return (
        f"{sum(check.holds for check in checks)} of {len(checks)} medians inside, all of them in "
        f"{len(sweeps - missed)} of {len(sweeps)} sweeps; inside the within-sweep interval "
        f"{sum(check.holds_within for check in checks)}"
    )


def _table(checks: Sequence[Check]) -> str:
    return table(
        [
            "sweep",
            "side",
            "assets",
            "sweeps known",
            "predicted, s",
            "within-sweep interval, s",
            "measured, s",
            "inside",
        ],
        (
            [
                check.sweep_id,
                check.side,
                f"{check.assets:,}",
                str(check.sweeps),
                describe_estimate(check.predicted, "", None),
                describe_estimate(check.within, "", None),
                describe_estimate(check.measured, "", None),
                "yes" if check.holds else "no",
            ]
            for check in checks
        ),
    )
