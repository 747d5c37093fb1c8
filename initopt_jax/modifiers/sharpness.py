"""Sharpness-aware minimization around any optimizer; the method is `transforms.sam`."""

from initopt_jax.transforms.sam import sharpness_aware
from initopt_jax.types import Modifier

ENTRIES = (
    Modifier(
        name="sharpness_aware",
        place="wrapper",
        make=sharpness_aware,
        formula="g <- gradient at (theta + rho * g / |g|)",
        reference="Foret, Kleiner, Mobahi and Neyshabur (2021), algorithm 1",
    ),
)
