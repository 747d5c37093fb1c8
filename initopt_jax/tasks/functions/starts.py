"""Where runs on a test function start: the initializations of a point."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from initopt_jax.keys import stable_hash
from initopt_jax.tasks.functions.base import Domain, Point

Place: TypeAlias = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Start:
    """Registry entry of one way to place starting points; what it does is `make_grid` and so on.

    Attributes:
        name: as written in a config.
        formula: one line, plain text.
        reference: authors, year, section.
    """

    name: str
    formula: str
    reference: str = ""


def make_grid(box: Domain, side: int, first: int = 0) -> Place:
    """`(seeds [n]) -> points [n, 2]` of a regular grid over a box, its edges included.

    Seed `first + k` starts at column `k mod side` and row `k // side`, rows from below. Seeds that
    the grid has no place for (those of tuning) start at uniformly random points of the box, which
    depend on the seed alone.

    Args:
        box: x_low, x_high, y_low, y_high.
        side: points along each axis; a single one lies in the middle.
        first: the seed of the grid's first point.

    >>> make_grid((0.0, 1.0, 0.0, 4.0), side=2)(np.arange(4)).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 4.0], [1.0, 4.0]]
    """

    def place(seeds: np.ndarray) -> np.ndarray:
        number = np.asarray(seeds, np.int64) - first
        inside = (number >= 0) & (number < side * side)
        share = np.zeros((len(number), 2))
        steps = np.stack([number % side, number // side], axis=-1)
        share[inside] = steps[inside] / (side - 1) if side > 1 else 0.5
        share[~inside] = [_random_share(int(seed)) for seed in np.asarray(seeds)[~inside]] or 0.0
        low, high = np.array(box[0::2]), np.array(box[1::2])
        return low + share * (high - low)

    return place


def make_fixed(point: Point) -> Place:
    """`(seeds [n]) -> points [n, 2]`: the same point for every seed."""

    def place(seeds: np.ndarray) -> np.ndarray:
        return np.tile(np.array(point, np.float64), (len(seeds), 1))

    return place


def side_of(seeds: int) -> int | None:
    """Points along each axis of a square grid of so many; None where it is no square.

    >>> side_of(25), side_of(26)
    (5, None)
    """
    side = math.isqrt(seeds)
    return side if side * side == seeds else None


def _random_share(seed: int) -> Sequence[float]:
    """Two uniform numbers in [0, 1) of a seed's `init` stream, the same on every platform."""
    key = np.array([stable_hash("init"), seed], dtype=np.uint64)
    drawn = np.random.Philox(key=key).random_raw(2)
    return [int(number >> 11) * 2.0**-53 for number in drawn]


STARTS: dict[str, Start] = {
    start.name: start
    for start in (
        Start(
            "grid",
            "test functions only: seed k of n starts at point k of a regular sqrt(n) x sqrt(n) "
            "grid over the function's domain, or over low to high; tuning seeds at random points",
        ),
        Start(
            "points",
            "test functions only: each of the listed points is an initialization of its own",
        ),
    )
}
