"""`python -m dagster_warm`, the same as `dagster-warm`."""

from dagster_warm.command import main

if __name__ == "__main__":  # spawned processes import this module again
    main()
