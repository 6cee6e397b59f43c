"""Planning: checks the deployments before the first launch (preflight) and lays out every trial.

Preflight reports all problems at once. Nothing is launched in a deployment that cannot give valid results.
"""

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.plan import Location, PlannedTrial, Scenario, SweepPlan, Variant, again
from bench_orchestrator.sweeps.deployments import Site
from bench_orchestrator.waiting import spaced
from bench_orchestrator.webserver import ASSET_JOB, Webserver, WebserverError
from synthetic_locations.probed import PROBE

DEFAULT_VARIANT = "default"
"""The variant of scenarios that compare locations."""


class TooFewPartitionsError(PreflightError):
    """An asset does not have enough partitions for a trial yet."""


@dataclass(frozen=True)
class Target:
    """A code location that passed preflight, with its executable assets."""

    name: str
    repository: str
    assets: Mapping[str, bool]
    """Whether each asset is partitioned, by key."""
    server_id: str = ""
    """The id of its code server; empty if it is not known."""
    chosen: Collection[str] | None = None
    """The keys that trials choose from; None: the probe where there is one, or else all."""

    @property
    def choices(self) -> Collection[str]:
        """The keys that a trial may choose from: of a location with a probe that alone, unless others are named."""
        if self.chosen is not None:
            return self.chosen
        return [PROBE] if PROBE in self.assets else self.assets.keys()

    @property
    def asset_count(self) -> int:
        """The number of its assets without the probe."""
        return len(self.assets) - (PROBE in self.assets)


@dataclass(frozen=True)
class Placement:
    """A variant with the locations where it is launched."""

    variant: Variant
    deployment: str
    """The name of the deployment that serves its locations; empty for the one that the sweep runs in."""
    webserver: Webserver
    targets: tuple[Target, ...]


def location_variants(names: Sequence[str]) -> tuple[Variant, ...]:
    """Return the variants of a scenario that compares locations: one asset in each, once per block."""
    return tuple(Variant(DEFAULT_VARIANT, (name,)) for name in dict.fromkeys(names))


def with_baselines_again(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """Return an experiment's variants with an A/A arm, the same variant again, after each baseline."""
    baselines = {variants[0].name} | {variant.against for variant in variants}
    arms: list[Variant] = []
    for variant in variants:
        arms.append(variant)
        if variant.name in baselines:
            arms.append(replace(variant, name=again(variant.name), against=variant.name))
    return tuple(arms)


def plan_sweep(
    sweep_id: str,
    scenario: Scenario,
    variants: Sequence[Variant],
    sites: Mapping[str, Site],
    *,
    repeats: int,
    warmups: int,
    seed: int,
    settings: Mapping[str, Any],
    only: Collection[str] = (),
    patience_s: float = 0.0,
    say: Callable[[str], None] = lambda _: None,
) -> SweepPlan:
    """Run preflight and plan the whole sweep.

    Args:
        variants: launched in every block; in an experiment, the baseline first.
        sites: the deployment of each variant, by name.
        settings: recorded with the plan.
        only: keys of the assets that trials choose from; empty: its probe, or all if it has none.
        patience_s: seconds to wait for partitions that a sensor of the location is still adding.
        say: receives a line for each minute of questions to the webserver.

    Raises:
        PreflightError: lists all problems.
    """
    say = spaced(say)
    placements = _place(variants, sites, say, only)
    until_there_are_partitions = Retrying(
        retry=retry_if_exception_type(TooFewPartitionsError),
        stop=stop_after_delay(patience_s),
        wait=wait_fixed(1),
        reraise=True,
    )
    locations, trials = until_there_are_partitions(
        plan_trials, placements, repeats=repeats, warmups=warmups, seed=seed, say=say
    )
    by_name = {site.name: site for site in sites.values()}
    return SweepPlan(
        sweep_id=sweep_id,
        scenario=scenario.name,
        seed=seed,
        created_us=now_us(),
        locations=tuple(
            replace(location, load_s=by_name[location.deployment].load_s.get(location.name)) for location in locations
        ),
        trials=trials,
        settings=settings,
        environment=sites[variants[0].name].environment,
        variants=tuple(variants) if scenario.variants else (),
        environments={name: site.environment for name, site in by_name.items() if name},
    )


def plan_more(
    plan: SweepPlan, sites: Mapping[str, Site], blocks: int, say: Callable[[str], None] = lambda _: None
) -> SweepPlan:
    """Return a sweep's plan with more measured blocks, after a repetition of its warm-ups.

    The measured blocks are those that its seed gives next. Variants launched in turn are not launched again.

    Args:
        sites: the deployment of each variant, by name.

    Raises:
        PreflightError: its locations cannot be launched in, or do not have the assets that they had.
    """
    settings = {**plan.settings, "repeats": plan.settings["repeats"] + blocks}
    compared = [variant for variant in planned_variants(plan) if not variant.in_turn]
    placements = _place(compared, sites, spaced(say), settings.get("assets", ()))
    warmups = settings["warmups"]
    _, trials = plan_trials(placements, repeats=settings["repeats"], warmups=warmups, seed=plan.seed, say=say)
    names = {variant.name for variant in compared}
    known = [_selection(trial) for trial in plan.trials if trial.variant in names and not trial.warmup]
    measured = [trial for trial in trials if not trial.warmup]
    if [_selection(trial) for trial in measured[: len(known)]] != known:
        raise PreflightError(
            f"The locations of the sweep {plan.sweep_id} do not have the assets that they had. Start a new sweep."
        )
    added = [trial for trial in trials if trial.warmup] + measured[len(known) :]
    last = plan.trials[-1]
    blocks_added = {block: last.block + at for at, block in enumerate(dict.fromkeys(t.block for t in added), start=1)}
    more = tuple(
        replace(trial, number=last.number + at, block=blocks_added[trial.block])
        for at, trial in enumerate(added, start=1)
    )
    return replace(plan, trials=plan.trials + more, settings=settings)


def planned_variants(plan: SweepPlan) -> tuple[Variant, ...]:
    """Return the variants of a recorded plan, or one variant per location if it has none."""
    return plan.variants or location_variants([location.name for location in plan.locations])


def _selection(trial: PlannedTrial) -> tuple[str, str, tuple[str, ...]]:
    """Return what the seed chooses of a trial. Its partitions are the latest at the time of planning."""
    return trial.variant, trial.location, trial.asset_keys


def _place(
    variants: Sequence[Variant], sites: Mapping[str, Site], say: Callable[[str], None], only: Collection[str]
) -> list[Placement]:
    """Return each variant with its locations, which pass preflight.

    Raises:
        PreflightError: lists all problems.
    """
    targets: dict[str, dict[str, Target]] = {}
    for site in {site.name: site for site in sites.values()}.values():
        names = [name for variant in variants if sites[variant.name] is site for name in variant.locations]
        targets[site.name] = {target.name: target for target in find_targets(site.webserver, names, say, only)}
    return [
        Placement(variant, site.name, site.webserver, tuple(targets[site.name][name] for name in variant.locations))
        for variant in variants
        for site in (sites[variant.name],)
    ]


def find_targets(
    webserver: Webserver,
    names: Sequence[str],
    say: Callable[[str], None] = lambda _: None,
    only: Collection[str] = (),
) -> list[Target]:
    """Return the locations to launch in, in the given order; `say` receives a line for each.

    Args:
        only: keys of the assets that trials choose from, of which each location needs one; empty: its probe, or all if
            it has none.

    Raises:
        PreflightError: the webserver cannot be used, or a location is missing, loading, broken or empty.
    """
    try:
        locations = webserver.list_locations()
        problems: list[str] = []
        targets: list[Target] = []
        for name in dict.fromkeys(names):
            status = locations.get(name)
            if status is None:
                known = ", ".join(sorted(locations)) or "none"
                problems.append(f"There is no code location {name!r}. Add it to workspace.yaml (loaded now: {known}).")
            elif status.state != "loaded":
                why = ": ".join(filter(None, (status.state, _last_line(status.error))))
                problems.append(
                    f"The code location {name!r} is not loaded ({why}). "
                    "Fix it, and reload it on the UI's Deployment page."
                )
            else:
                say(f"Asking for the assets of {name} ...")
                repository = status.repositories[0]
                assets = webserver.list_assets(name, repository)
                chosen = [key for key in only if key in assets] if only else None
                target = Target(name, repository, assets, status.server_id, chosen)
                if not assets:
                    problems.append(f"The code location {name!r} has no executable asset.")
                elif chosen == []:
                    problems.append(f"The code location {name!r} has no executable asset {' or '.join(only)}.")
                targets.append(target)
    except WebserverError as error:
        raise PreflightError(str(error)) from error
    if problems:
        raise PreflightError("\n".join(problems))
    return targets


def plan_trials(
    placements: Sequence[Placement],
    *,
    repeats: int,
    warmups: int,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[tuple[Location, ...], tuple[PlannedTrial, ...]]:
    """Plan every trial in order: warm-up blocks, then measured blocks; each block launches each variant once.

    Variants launched in turn come last. The same seed and assets give the same plan. For partitioned assets, the
    latest partitions are launched.

    Raises:
        PreflightError: a location has fewer assets or partitions than a trial selects.
    """
    choices = list(_choose(placements, blocks=warmups + repeats, rng=random.Random(seed)))
    partitions = _list_partitions(choices, say)
    trials = tuple(
        PlannedTrial(
            number=number,
            block=choice.block,
            location=choice.target.name,
            variant=choice.placement.variant.name,
            warmup=choice.block <= warmups,
            asset_keys=choice.assets,
            **_range(choice, partitions.get(choice.asset)),
            work=choice.placement.variant.work,
            deployment=choice.placement.deployment,
            path=choice.placement.variant.path,
            server=choice.placement.variant.server,
        )
        for number, choice in enumerate(choices, start=1)
    )
    counts: dict[tuple[str, str], int] = {}
    for choice in choices:
        place = (choice.placement.deployment, choice.target.name)
        counts[place] = max(counts.get(place, 0), len(partitions.get(choice.asset, ())))
    places = {(placement.deployment, target.name): target for placement in placements for target in placement.targets}
    locations = tuple(
        Location(
            name=target.name,
            repository=target.repository,
            job=ASSET_JOB,
            asset_count=target.asset_count,
            partition_count=counts.get(place, 0),
            deployment=place[0],
            server_id=target.server_id,
        )
        for place, target in places.items()
    )
    return locations, trials


@dataclass(frozen=True)
class _Choice:
    block: int
    placement: Placement
    target: Target
    assets: tuple[str, ...]

    @property
    def asset(self) -> tuple[str, str, str]:
        """The deployment, the location and the key of its first asset, whose partitions are launched."""
        return self.placement.deployment, self.target.name, self.assets[0]


def _list_partitions(
    choices: Sequence[_Choice], say: Callable[[str], None]
) -> dict[tuple[str, str, str], Sequence[str]]:
    """Ask once for the partitions of each partitioned asset that is chosen; `say` receives a line at each."""
    partitioned = {choice.asset: choice for choice in choices if choice.target.assets[choice.assets[0]]}
    partitions: dict[tuple[str, str, str], Sequence[str]] = {}
    for asset, choice in partitioned.items():
        partitions[asset] = choice.placement.webserver.list_partitions(choice.assets[0])
        say(f"Asking for the partitions of the assets: {len(partitions)} of {len(partitioned)} ...")
    return partitions


def _choose(placements: Sequence[Placement], *, blocks: int, rng: random.Random) -> Iterator[_Choice]:
    shuffled = [placement for placement in placements if not placement.variant.in_turn]
    for block in range(1, blocks + 1):
        for placement in rng.sample(shuffled, len(shuffled)):
            target = rng.choice(placement.targets) if len(placement.targets) > 1 else placement.targets[0]
            yield _Choice(block, placement, target, _choose_assets(placement.variant, target, rng))
    for placement in placements:
        if placement.variant.in_turn:
            for target in placement.targets:
                yield _Choice(blocks + 1, placement, target, _choose_assets(placement.variant, target, rng))


def _choose_assets(variant: Variant, target: Target, rng: random.Random) -> tuple[str, ...]:
    """Choose a variant's assets in key order: a group of neighbours, or every stride-th from the first."""
    keys = sorted(target.choices)
    span = (variant.assets - 1) * variant.stride + 1
    if span > len(keys):
        raise PreflightError(
            f"{target.name} has {len(keys)} assets, and {variant.name!r} selects {variant.assets}"
            f"{f', one in {variant.stride}' if variant.stride > 1 else ''}."
        )
    start = rng.randrange(len(keys) // variant.assets) * variant.assets if variant.stride == 1 else 0
    return tuple(keys[start : start + span : variant.stride])


def _range(choice: _Choice, partitions: Sequence[str] | None) -> dict[str, str]:
    """Return a trial's partition, or the two ends of its range; nothing for unpartitioned assets."""
    if partitions is None:
        return {}
    wanted = choice.placement.variant.partitions
    if len(partitions) < wanted:
        what = "has no partition yet" if not partitions else f"has {len(partitions)} partitions; {wanted} are needed"
        raise TooFewPartitionsError(f"{choice.assets[0]} in {choice.target.name} is partitioned and {what}. Add some.")
    if wanted == 1:
        return {"partition_key": partitions[-1]}
    return {"partition_key": partitions[-wanted], "last_partition_key": partitions[-1]}


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
