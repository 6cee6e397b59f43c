"""The named scenarios and experiments."""
