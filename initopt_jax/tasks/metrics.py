"""Names of metrics, and what it means that one is good enough."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SPLITS = ("train", "val", "test")
NOT_NEGATIVE = ("loss", "norm", "distance")  # ends of names


def bare(variable: str) -> str:
    """A variable's metric without its split.

    >>> bare("val_accuracy"), bare("loss")
    ('accuracy', 'loss')
    """
    split, _, rest = variable.partition("_")
    return rest if split in SPLITS and rest else variable


def readable(variable: str) -> str:
    """A variable's name for readers.

    >>> readable("val_loss"), readable("test_r2"), readable("flops_to_target")
    ('validation loss', 'test R²', 'flops to target')
    """
    words = variable.replace("val_", "validation ", 1) if variable[:4] == "val_" else variable
    words = words.replace("_", " ")
    return words[:-2] + "R²" if words.split()[-1] == "r2" else words


def is_share(metric: str) -> bool:
    """Whether a metric is a share, in [0, 1], and so written in percent.

    >>> is_share("test_accuracy"), is_share("val_loss")
    (True, False)
    """
    return "accuracy" in bare(metric) or metric == "share"


def bounds_of(variable: str, values: npt.ArrayLike) -> tuple[float, float]:
    """The least and the largest value that a variable can have; infinite for none.

    A bound is believed only as long as no value lies beyond it: a test function or a loss of the
    user's may well fall below 0.

    Args:
        variable: of the results.
        values: all of it; what is not finite does not count.

    >>> bounds_of("test_accuracy", [0.5]), bounds_of("val_loss", [0.5]), bounds_of("val_loss", [-1])
    ((0.0, 1.0), (0.0, inf), (-inf, inf))
    """
    name = bare(variable)
    low, high = -np.inf, np.inf
    if is_share(variable):
        low, high = 0.0, 1.0
    elif name == "r2":
        high = 1.0
    elif name.endswith(NOT_NEGATIVE):
        low = 0.0
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    kept = low <= known.min(initial=low) and known.max(initial=high) <= high
    return (low, high) if kept else (-np.inf, np.inf)


@dataclass(frozen=True)
class Target:
    """What "fast enough" means: a metric that must come to lie above, or below, a number.

    Args:
        metric: a variable of the results, such as `val_accuracy`.
        at_least: reached where the metric is this or more.
        at_most: reached where the metric is this or less. Exactly one of the two is given.

    Raises:
        ValueError: if both or neither bound is given.

    >>> Target("val_accuracy", at_least=0.95).text
    'validation accuracy ≥ 0.95'
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(
                f"target on {self.metric!r}: give exactly one of at_least and at_most, "
                f"not at_least={self.at_least!r} and at_most={self.at_most!r}"
            )

    @property
    def text(self) -> str:
        """The target in words."""
        return self.text_of(readable(self.metric))

    def text_of(self, metric: str) -> str:
        """The target in words, under another name of its metric."""
        sign, bound = ("≥", self.at_least) if self.at_most is None else ("≤", self.at_most)
        return f"{metric} {sign} {bound:g}"

    def reached(self, values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.bool_]:
        """Where values are good enough; NaN never is.

        >>> Target("val_loss", at_most=0.5).reached(np.array([0.7, 0.5, np.nan])).tolist()
        [False, True, False]
        """
        with np.errstate(invalid="ignore"):
            if self.at_least is not None:
                return values >= self.at_least
            return values <= (np.nan if self.at_most is None else self.at_most)
