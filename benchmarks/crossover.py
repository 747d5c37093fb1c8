"""From how many networks on training them all at once pays, its compilation included."""

from collections.abc import Sequence
from itertools import pairwise

Points = Sequence[tuple[float, float]]
"""Networks and seconds, ascending in networks."""


def seconds_at(points: Points, lanes: float) -> float:
    """Seconds for so many networks, on the straight lines between what was measured.

    >>> seconds_at([(1, 4.0), (5, 8.0)], 2)
    5.0
    """
    if lanes <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in pairwise(points):
        if lanes <= right:
            return low + (high - low) * (lanes - left) / (right - left)
    return points[-1][1] * lanes / points[-1][0]


def crossover(points: Points, startup: float, each: float) -> int | None:
    """The smallest number of networks that all at once take less time than one after another.

    Args:
        points: networks and seconds of a whole study, compilation included.
        startup: seconds of the loop before its first step.
        each: seconds of the loop per network.

    Returns:
        The number, or None where it lies beyond the last point.

    >>> crossover([(1, 4.0), (16, 4.0), (64, 7.0)], startup=0.0, each=0.5)
    9
    >>> crossover([(1, 4.0), (4, 9.0)], startup=0.0, each=1.0) is None
    True
    """
    return next(
        (
            lanes
            for lanes in range(1, int(points[-1][0]) + 1)
            if seconds_at(points, lanes) < startup + lanes * each
        ),
        None,
    )
