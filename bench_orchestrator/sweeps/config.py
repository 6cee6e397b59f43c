"""The configuration of sweeps, as shown in the launchpad."""

from copy import copy
from typing import Any

import dagster as dg
from pydantic import Field, create_model

from bench_orchestrator.model.bounds import LARGEST_SEED, LONGEST_S, MOST_LAUNCHES
from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.sweeps.planning import location_variants, with_baselines_again


class SweepConfig(dg.Config):
    """The configuration that all sweeps share; each field defaults to the scenario's value."""

    repeats: int = Field(
        ge=1, le=MOST_LAUNCHES, description="Measured launches per location, or per variant of an experiment."
    )
    warmups: int = Field(ge=0, le=MOST_LAUNCHES, description="Launches before those, recorded but not counted.")
    seed: int | None = Field(
        default=None,
        ge=0,
        le=LARGEST_SEED,
        description="Determines the order of trials and the assets. None: a new seed for each sweep.",
    )
    timeout_s: float = Field(
        gt=0,
        le=LONGEST_S,
        description="Seconds until a trial is terminated and counted as timed out.",
    )
    pause_s: float = Field(default=1, ge=0, le=LONGEST_S, description="Seconds of pause after each trial.")
    jitter_s: float = Field(
        default=5,
        ge=0,
        le=LONGEST_S,
        description="Maximum random addition to the pause, in seconds. Keep it at or above the daemon's dequeue "
        "interval, so that requests do not synchronise with it.",
    )
    settle_s: float = Field(
        default=180,
        ge=0,
        le=LONGEST_S,
        description="Maximum wait before the first trial until the deployment's servers are idle, in seconds. 0: do "
        "not wait.",
    )
    resume: str | None = Field(
        default=None,
        description="Id of an earlier sweep of this scenario: launch its remaining trials, by its own plan. The "
        "other settings but `more` are ignored.",
    )
    more: int = Field(
        default=0,
        ge=0,
        le=MOST_LAUNCHES,
        description="Measured blocks to add to the sweep that `resume` names, complete or not. The warm-ups are "
        "launched again before them.",
    )

    def variants(self, scenario: Scenario) -> tuple[Variant, ...]:
        """Return what every block launches.

        Raises:
            PreflightError: the scenario has no such variant.
        """
        raise NotImplementedError


class LocationSweepConfig(SweepConfig):
    """The configuration of a sweep that compares code locations."""

    locations: list[str] = Field(min_length=1, description="Code locations to launch in, each once per block.")
    assets: list[str] = Field(
        default=[],
        description="Keys of the assets to choose from, of which each location needs one. Empty: all assets.",
    )

    def variants(self, scenario: Scenario) -> tuple[Variant, ...]:  # noqa: ARG002
        """Return one variant per location."""
        return location_variants(self.locations)


class ExperimentConfig(SweepConfig):
    """The configuration of a sweep that compares the sides of an experiment."""

    quick: bool = Field(default=False, description="Use small locations, for laptops: same question, reduced size.")
    only: list[str] = Field(
        default=[],
        description="Variants to launch, besides the baseline. Empty: all of them.",
    )

    def variants(self, scenario: Scenario) -> tuple[Variant, ...]:
        """Return the experiment's sides and its A/A arm."""
        sides = scenario.quick_variants if self.quick else scenario.variants
        unknown = set(self.only) - {side.name for side in sides}
        if unknown:
            known = ", ".join(side.name for side in sides)
            raise PreflightError(f"{scenario.name} has no variant {', '.join(sorted(unknown))}; it has {known}.")
        wanted = {side.name for side in sides if not self.only or side.name in self.only}
        baselines = {sides[0].name} | {side.against for side in sides if side.name in wanted}
        chosen = [side for side in sides if side.name in wanted | baselines]
        return with_baselines_again(chosen)


def scenario_config(scenario: Scenario) -> type[Any]:
    """Return the configuration class with a scenario's defaults, so that its job runs without configuration."""
    base: type[SweepConfig] = ExperimentConfig if scenario.variants else LocationSweepConfig
    defaults: dict[str, Any] = {
        "repeats": scenario.repeats,
        "warmups": scenario.warmups,
        "timeout_s": scenario.timeout_s,
    }
    if scenario.locations:
        defaults["locations"] = list(scenario.locations)
    fields: dict[str, Any] = {}
    for name, default in defaults.items():
        field = copy(base.model_fields[name])
        field.default = default
        fields[name] = (field.annotation, field)
    return create_model("ScenarioConfig", __base__=base, **fields)
