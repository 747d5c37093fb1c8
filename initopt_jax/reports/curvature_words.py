"""What the figures of curvature show, in one sentence each, from the numbers."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from initopt_jax.reports.numbers import listed
from initopt_jax.reports.scales import Floats


class Course(NamedTuple):
    """How a number went in one cell: its mean over seeds at every step measured, with its band."""

    initializer: str
    optimizer: str
    step: Floats
    mean: Floats
    low: Floats
    high: Floats

    def after_start(self) -> "Course":
        """Without step 0."""
        later = self.step > 0
        arrays = (array[later] for array in (self.step, self.mean, self.low, self.high))
        return Course(self.initializer, self.optimizer, *arrays)

    def over(self, other: "Course") -> "Course":
        """Its mean over that of another course, where both were measured."""
        known, mine, theirs = np.intersect1d(self.step, other.step, return_indices=True)
        share = self.mean[mine] / other.mean[theirs]
        return Course(self.initializer, self.optimizer, known, share, share, share)


def limit_sentence(what: str, shares: Sequence[Course]) -> str:
    """How near to its limit each optimizer came.

    >>> steps, share = np.array([0.0, 10.0, 20.0]), np.array([0.1, 0.985, 0.5])
    >>> limit_sentence("sharpness", [Course("zeros", "gd", steps, share, share, share)])
    "gd's sharpness rises from 0.10 to 0.98 of its limit at step 10 and ends at 0.50 (zeros)."
    """
    nearest: dict[str, Course] = {}
    for course in shares:
        best = nearest.get(course.optimizer)
        if course.mean.size and (best is None or course.mean.max() > best.mean.max()):
            nearest[course.optimizer] = course
    if not nearest:
        return f"No optimizer here has a limit that its {what} could be held against."
    several = len({course.initializer for course in shares}) > 1
    texts = [_course(what, one, first=place == 0) for place, one in enumerate(nearest.values())]
    text = "; ".join(texts) + "."
    return text + (" The initializer that came nearest is named." if several else "")


def _course(what: str, course: Course, *, first: bool) -> str:
    most = int(np.argmax(course.mean))
    begin, peak, end = (f"{_two(course.mean[place])}" for place in (0, most, -1))
    named = f"{course.optimizer}'s {what}" if first else f"{course.optimizer}'s"
    if most == 0:
        step = f"step {course.step[0]:.0f}" if course.step[0] else "the start"
        way = f"is nearest to its limit at {step}, {begin} of it, and ends at {end}"
        return f"{named} {way} ({course.initializer})"
    limit = "of its limit " if first else ""
    way = f"rises from {begin} to {peak} {limit}at step {course.step[most]:.0f}"
    if most == len(course.mean) - 1:
        return f"{named} {way}, the last ({course.initializer})"
    return f"{named} {way} and ends at {end} ({course.initializer})"


def _two(value: float) -> str:
    """Two decimals, or two digits of what is smaller; never rounded up to a limit not reached."""
    if abs(value) < 0.095:
        return f"{value:.2g}"
    return f"{np.floor(100 * value + 1e-9) / 100:.2f}" if value < 100 else f"{value:.3g}"


def top_sentence(first: Mapping[str, float], last: Mapping[str, float]) -> str:
    """Between what the largest eigenvalue lies, by initializer before, by pair after training.

    >>> top_sentence({"zeros": 0.5}, {"zeros with gd": 0.25, "zeros with adam": 40.0})
    'The largest eigenvalue of the first weights is 0.5 (zeros), after training between 0.25 (zeros
    with gd) and 40 (zeros with adam).'
    """
    if not last:
        return "No eigenvalue is finite after training."
    before, after = _between(first), _between(last)
    return f"The largest eigenvalue of the first weights is {before}, after training {after}."


def _between(values: Mapping[str, float]) -> str:
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    texts = [f"{values[name]:.3g} ({name})" for name in dict.fromkeys((low, high))]
    return texts[0] if len(texts) == 1 else f"between {listed(texts)}"


def density_sentence(first: Sequence[float], last: Sequence[float]) -> str:
    """How many eigenvalues are next to nothing beside the largest.

    >>> density_sentence([0.5, 0.6], [0.9])
    'Eigenvalues of less than 1% of the largest, in size: 50% to 60% of all before training, 90%
    after.'
    """
    if not last:
        return "No spectrum is finite after training."
    return (
        "Eigenvalues of less than 1% of the largest, in size: "
        f"{_range(first)} of all before training, {_range(last)} after."
    )


def _range(shares: Sequence[float]) -> str:
    low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
    return low if low == high else f"{low} to {high}"
