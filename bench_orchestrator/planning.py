"""From a scenario to a plan: looks at the deployment before the first launch, and lays out every trial.

Preflight refuses with everything that is wrong at once; nothing is launched against a deployment that cannot give
an answer.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench_orchestrator.launching import ASSET_JOB, Webserver, WebserverError
from bench_orchestrator.model import Location, PlannedTrial

DEFAULT_VARIANT = "default"
"""The variant of scenarios that compare locations as they are."""


class PreflightError(Exception):
    """The deployment is not fit for the sweep; the message lists why, and what to do."""


@dataclass(frozen=True)
class Target:
    """A code location that passed preflight, with the assets a trial may choose from."""

    name: str
    repository: str
    assets: Mapping[str, bool]
    """Whether each is partitioned, by key."""


def find_targets(webserver: Webserver, names: Sequence[str]) -> list[Target]:
    """The locations to launch in, in the order named.

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
                    "Mend it and reload it on the UI's Deployment page."
                )
            else:
                target = Target(name, status.repositories[0], webserver.list_assets(name, status.repositories[0]))
                if not target.assets:
                    problems.append(f"The code location {name!r} has no asset that can be launched.")
                targets.append(target)
    except WebserverError as error:
        raise PreflightError(str(error)) from error
    if problems:
        raise PreflightError("\n".join(problems))
    return targets


def plan_trials(
    webserver: Webserver, targets: Sequence[Target], *, repeats: int, warmups: int, seed: int
) -> tuple[tuple[Location, ...], tuple[PlannedTrial, ...]]:
    """Every trial in its order: warm-up blocks, then measured ones; each block launches each location once.

    The same seed and assets give the same plan. The latest partition is launched where there are partitions.

    Raises:
        PreflightError: a partitioned asset has no partition to launch.
    """
    choices = list(_choose(targets, blocks=warmups + repeats, seed=seed))
    partitions = {
        asset: webserver.list_partitions(asset) if target.assets[asset] else None for _, target, asset in choices
    }
    for _, target, asset in choices:
        if partitions[asset] == []:
            raise PreflightError(f"{asset} in {target.name} is partitioned and has no partition yet. Add one.")
    trials = tuple(
        PlannedTrial(
            number=number,
            block=block,
            location=target.name,
            variant=DEFAULT_VARIANT,
            warmup=block <= warmups,
            asset_key=asset,
            partition_key=_last(partitions[asset]),
        )
        for number, (block, target, asset) in enumerate(choices, start=1)
    )
    locations = tuple(
        Location(
            name=target.name,
            repository=target.repository,
            job=ASSET_JOB,
            asset_count=len(target.assets),
            partition_count=max(len(partitions[a] or ()) for _, t, a in choices if t is target),
        )
        for target in targets
    )
    return locations, trials


def _choose(targets: Sequence[Target], *, blocks: int, seed: int) -> Iterator[tuple[int, Target, str]]:
    rng = random.Random(seed)
    for block in range(1, blocks + 1):
        for target in rng.sample(targets, len(targets)):
            yield block, target, rng.choice(sorted(target.assets))


def _last(keys: Sequence[str] | None) -> str | None:
    return keys[-1] if keys else None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
