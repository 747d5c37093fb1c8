"""Cost functions of two variables: where learning can be watched on a map."""

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
from initopt_jax.tasks.functions.base import CostFunction, Domain, Point, from_function

__all__ = ["REGISTRY", "CostFunction", "Domain", "Point", "from_function"]

REGISTRY: dict[str, CostFunction] = {
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
