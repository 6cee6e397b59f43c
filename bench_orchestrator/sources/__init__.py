"""Where runs are read: Dagster's storage, Kubernetes, the operating system."""
