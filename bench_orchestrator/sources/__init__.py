"""Data sources: Dagster's storage, Kubernetes, the operating system."""
