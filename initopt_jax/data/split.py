"""How examples are divided: a seeded permutation, cut into training, validation and test parts."""

import math
import sys
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from initopt_jax.errors import ConfigError


@dataclass(frozen=True)
class SplitSpec:
    """Shares of the examples that are held out, and the seed of the permutation that picks them.

    Attributes:
        val: share used for validation, in (0, 1).
        test: share used for the test, in (0, 1); `val + test` stays below 1. A set that was
            published with its own test split keeps it.
        seed: of the permutation, at least 0.

    Raises:
        ConfigError: a share or the seed is out of range.

    >>> SplitSpec(val=0.1, test=0.3)
    SplitSpec(val=0.1, test=0.3, seed=0)
    """

    val: float = 0.2
    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name, share in (("val", self.val), ("test", self.test)):
            if isinstance(share, bool) or not isinstance(share, Real) or not 0 < share < 1:
                raise ConfigError(f"split.{name} must be a number in (0, 1), got {share!r}")
        if self.val + self.test >= 1:
            raise ConfigError(
                f"split.val + split.test must stay below 1, got {self.val} + {self.test}"
            )
        require_integer("split.seed", self.seed, least=0)


def require_integer(name: str, value: Any, *, least: int, most: int = 2**63 - 1) -> None:
    """Refuse an option that is no integer of `least <= value <= most`, with a ConfigError.

    >>> require_integer("limit", 0, least=1)
    Traceback (most recent call last):
    initopt_jax.errors.ConfigError: limit must be an integer of at least 1, got 0
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ConfigError(f"{name} must be an integer of at least {least}, got {value!r}")
    if int(value) > most:
        raise ConfigError(f"{name} must be at most {most}, got {value}")


def require_number(name: str, value: Any, *, least: float, most: float = math.inf) -> None:
    """Refuse an option that is no finite number of `least <= value <= most`, with a ConfigError.

    >>> require_number("noise", -1, least=0)
    Traceback (most recent call last):
    initopt_jax.errors.ConfigError: noise must be a finite number of at least 0, got -1
    """
    number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else value
    if isinstance(number, int) and abs(number) > sys.float_info.max:
        number = math.inf
    number = float(number)
    if not (math.isfinite(number) and least <= number <= most):
        upper = "" if most == math.inf else f" and at most {most:g}"
        raise ConfigError(
            f"{name} must be a finite number of at least {least:g}{upper}, got {value!r}"
        )


def split_indices(
    count: int, spec: SplitSpec, *, with_val: bool = True, with_test: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The examples of each part: training first, then validation, then test, of one permutation.

    `floor(val * count)` examples validate, `ceil(test * count)` test, and the others train.

    Args:
        count: number of examples.
        spec: shares and seed.
        with_val: whether a validation part is cut; without it that part is empty.
        with_test: likewise for the test part.

    Returns:
        Three int64 vectors; together they hold each of 0..count-1 once.

    Raises:
        ConfigError: a part that was asked for would be empty.

    >>> [len(part) for part in split_indices(1797, SplitSpec(val=0.2, test=0.2))]
    [1078, 359, 360]
    """
    # The slack absorbs binary rounding of decimal shares: 0.29 * 100 is 28.999999999999996.
    val_size = math.floor(spec.val * count + 1e-9) if with_val else 0
    test_size = math.ceil(spec.test * count - 1e-9) if with_test else 0
    train_size = count - val_size - test_size
    if train_size < 1 or (with_val and val_size < 1):
        raise ConfigError(
            f"{count} examples are too few for split.val = {spec.val}, split.test = {spec.test}: "
            f"{train_size} would train, {val_size} validate and {test_size} test; "
            "each needs at least 1"
        )
    order = np.random.default_rng(spec.seed).permutation(count)
    train, val, test = np.split(order, [train_size, train_size + val_size])
    return train, val, test


def drawn(count: int, most: int) -> np.ndarray:
    """At most so many of `count` examples, drawn without replacement by a seed that never changes.

    More of them begin with the fewer.

    >>> drawn(100, 3).tolist() == drawn(100, 5)[:3].tolist()
    True
    """
    return np.random.default_rng(0).permutation(count)[:most]
