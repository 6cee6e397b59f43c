"""The stages of one run's launch, from its events: pure, without Dagster."""
