"""The meta location's Dagster definitions. They declare; the modules beside this package compute."""
