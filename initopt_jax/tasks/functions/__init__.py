"""Test functions of two variables: where learning can be watched on a map."""

from initopt_jax.tasks.functions import (
    ackley,
    beale,
    himmelblau,
    plateau,
    rastrigin,
    ravine,
    rosenbrock,
    saddle,
)
from initopt_jax.tasks.functions.base import Domain, Point, TestFunctionEntry, from_function

__all__ = ["REGISTRY", "Domain", "Point", "TestFunctionEntry", "from_function"]

REGISTRY: dict[str, TestFunctionEntry] = {
    entry.name: entry
    for entry in (
        rosenbrock.ENTRY,
        beale.ENTRY,
        himmelblau.ENTRY,
        rastrigin.ENTRY,
        ackley.ENTRY,
        *saddle.ENTRIES,
        ravine.ENTRY,
        plateau.ENTRY,
    )
}
