"""What can be set about a sweep: the launchpad's form for scenarios that compare locations, and for experiments."""

from copy import copy
from typing import Any

import dagster as dg
from pydantic import Field, create_model

from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.sweeps.planning import location_variants, with_baselines_again


class SweepConfig(dg.Config):
    """What any sweep does; every field has the scenario's default."""

    repeats: int = Field(ge=1, description="Measured launches per location, or per variant of an experiment.")
    warmups: int = Field(ge=0, description="Launches before those, recorded and left out.")
    seed: int | None = Field(
        default=None,
        ge=0,
        description="Decides the order of trials and the assets. None: a new one for every sweep.",
    )
    timeout_s: float = Field(
        default=300,
        gt=0,
        description="Seconds a trial may take before it is terminated and counted as timed out.",
    )
    pause_s: float = Field(default=1, ge=0, description="Seconds of rest after each trial.")
    jitter_s: float = Field(
        default=5,
        ge=0,
        description="Random addition to the rest, up to this many seconds. Keep it at the daemon's dequeue interval "
        "or above, so that requests do not fall into step with it.",
    )
    settle_s: float = Field(
        default=180,
        ge=0,
        description="Seconds to wait, at most, before the first trial until the deployment's servers have come to "
        "rest. 0: do not wait.",
    )
    resume: str | None = Field(
        default=None,
        description="The id of an interrupted sweep of this scenario: launches only the trials that it still owes, "
        "by its own plan; all else here is ignored.",
    )

    def variants(self, scenario: Scenario) -> tuple[Variant, ...]:
        """What every block launches.

        Raises:
            PreflightError: the scenario does not have what is asked for.
        """
        raise NotImplementedError


class LocationSweepConfig(SweepConfig):
    """A sweep that compares code locations as they are."""

    locations: list[str] = Field(min_length=1, description="Code locations to launch in, each once per block.")

    def variants(self, scenario: Scenario) -> tuple[Variant, ...]:  # noqa: ARG002
        """One per location."""
        return location_variants(self.locations)


class ExperimentConfig(SweepConfig):
    """A sweep that compares the sides of an experiment."""

    quick: bool = Field(default=False, description="At a size for laptops: small locations, the same question.")
    only: list[str] = Field(
        default=[],
        description="Launch just these variants, beside the baseline. Empty: all of them.",
    )

    def variants(self, scenario: Scenario) -> tuple[Variant, ...]:
        """The experiment's sides and its A/A arm."""
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
    """The configuration class that has a scenario's defaults, so that its job runs without any configuration."""
    base: type[SweepConfig] = ExperimentConfig if scenario.variants else LocationSweepConfig
    defaults: dict[str, Any] = {"repeats": scenario.repeats, "warmups": scenario.warmups}
    if scenario.locations:
        defaults["locations"] = list(scenario.locations)
    fields: dict[str, Any] = {}
    for name, default in defaults.items():
        field = copy(base.model_fields[name])
        field.default = default
        fields[name] = (field.annotation, field)
    return create_model("ScenarioConfig", __base__=base, **fields)
