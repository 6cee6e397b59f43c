"""The names of a location's pools, for those who set their limits. Does not depend on Dagster."""

from synthetic_locations.shape import Shape


def pool_names(shape: Shape, location: str) -> list[str]:
    """Return the names of the pools that a location's assets are in, by pool number; unique in a deployment.

    Dagster takes any name without white space as a pool's name, so a location's name is part of it as it is.

    Args:
        shape: what the location contains.
        location: the prefix of its asset keys.
    """
    return [f"{location}_pool_{number}" for number in range(shape.pools)]
