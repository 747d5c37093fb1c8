"""Centring and scaling by the training part: in float64, and rounded to float32 at the end."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from initopt_jax.errors import ConfigError
from initopt_jax.types import Split

ROWS = 4096  # rows looked at together: bounds the float64 copies of large picture sets
_ZERO = np.zeros((), np.float64)
_PLAIN = 8.0  # float32 rounds a number of 8 to half a millionth


@dataclass(frozen=True)
class Scale:
    """What is taken away from an array, and what it is divided by; all of them per feature.

    `(x - origin - mean) / scale`. The difference from the origin is exact, so that a mean far from
    0 is not rounded, and whole numbers beyond 2^53 keep their last digits.

    Attributes:
        origin: 0, or numbers near those of the array; of its dtype for whole numbers.
        mean: of `x - origin` over the training examples, float64.
        scale: float64; infinite where a feature is constant in training and becomes 0.
        plain: whether float32 arithmetic is as good; its bits are those of earlier versions.
    """

    origin: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    plain: bool

    def undo(self, array: np.ndarray) -> np.ndarray:
        """A scaled array in its own units: float64."""
        return np.asarray(array, np.float64) * self.scale + self.mean + self.origin

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, from which `from_json` makes the same bits."""
        arrays = {name: getattr(self, name) for name in ("origin", "mean", "scale")}
        return {
            "plain": self.plain,
            **{name: [array.dtype.str, array.tolist()] for name, array in arrays.items()},
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Scale":
        """What `to_json` gave."""
        names = ("origin", "mean", "scale")
        arrays = {name: np.array(found[name][1], np.dtype(found[name][0])) for name in names}
        return cls(**arrays, plain=found["plain"])

    def apply(self, array: np.ndarray) -> np.ndarray:
        """The array, scaled: float32."""
        made = np.empty(array.shape, np.float32)
        if self.plain:
            mean, scale = self.mean.astype(np.float32), self.scale.astype(np.float32)
            for rows, block in _blocks(array):
                np.subtract(block.astype(np.float32), mean, out=made[rows])
                made[rows] /= scale
            return made
        with np.errstate(over="ignore", invalid="ignore"):  # the caller looks for infinite ones
            for rows, block in _blocks(array):
                made[rows] = (_difference(block, self.origin) - self.mean) / self.scale
        return made


def normalized(
    train: Split, val: Split, test: Split, *, kind: str, table: bool = False
) -> tuple[tuple[Split, Split, Split], Scale, Scale | None]:
    """Centre and scale all splits by statistics of the training split alone.

    Classification (pictures): `(x - mean) / s` with the mean per feature and one scale
    `s = sqrt(mean((x - mean)^2))` over all features, so that relative contrast is kept.
    Regression: each input feature and each target dimension is standardized by its own mean and
    standard deviation; so are the inputs of tables, whose columns have units of their own, for
    classification too. An input feature that is constant in training becomes 0 in all splits.
    Means, scales and differences are computed in float64 from the numbers as they are given.

    Args:
        train: inputs [N, ...] of any real dtype; regression targets [N, K].
        val: likewise.
        test: likewise.
        kind: `classification` or `regression`.
        table: whether each input feature has its own scale for classification too.

    Returns:
        The three splits, float32 but for labels; the scale of the inputs, and of targets.

    Raises:
        ConfigError: numbers are too large, or too small, for their variance.

    >>> part = Split(np.array([[0, 1], [8, 1]], np.float32), np.array([[3.0], [5.0]], np.float32))
    >>> (train, _, _), scale, _ = normalized(part, part, part, kind="regression")
    >>> train.inputs.tolist(), train.targets.tolist()
    ([[-1.0, 0.0], [1.0, 0.0]], [[-1.0], [1.0]])
    """
    parts = (train, val, test)
    by_feature = kind == "regression" or table
    scale, of_targets = measure([part.inputs for part in parts], by_feature=by_feature), None
    parts = tuple(part._replace(inputs=scale.apply(part.inputs)) for part in parts)
    if kind == "regression":
        found = measure([part.targets for part in parts], by_feature=True)
        # A constant target keeps its distance in the other splits: 0 would be right for free.
        of_targets = replace(found, scale=np.where(np.isinf(found.scale), 1.0, found.scale))
        parts = tuple(part._replace(targets=of_targets.apply(part.targets)) for part in parts)
    return (parts[0], parts[1], parts[2]), scale, of_targets


def measure(arrays: Sequence[np.ndarray], *, by_feature: bool) -> Scale:
    """The scale of the first array; the others are those that it will be applied to.

    Args:
        arrays: [N, ...] each, of the training, validation and test examples.
        by_feature: one scale for each feature, or one for all.

    Raises:
        ConfigError: the variance of finite numbers is infinite, or 0 although they differ.
    """
    train = arrays[0]
    constant = np.all([(block == train[0]).all(axis=0) for _, block in _blocks(train)], axis=0)
    mean, variance = moments(train)
    scale = _scale(variance, constant, by_feature=by_feature)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.max(np.where(constant & by_feature, 0.0, np.abs(mean) / scale), initial=0.0)
    if ratio <= _PLAIN and all(map(fits_float32, arrays)):
        return Scale(_ZERO, mean, scale, plain=True)
    origin = _origin(arrays)
    mean, variance = moments(train, origin)
    lost = ~np.isfinite(variance) | ((variance == 0) & ~constant)
    if lost.any():
        size = np.abs(train[:, lost]).max()
        raise ConfigError(
            f"the variance of numbers as large as {size:.3g} is no float64; multiply them by "
            "a power of ten that makes them moderate"
        )
    mean = np.where(constant, _difference(train[:1], origin)[0], mean)
    return Scale(origin, mean, _scale(variance, constant, by_feature=by_feature), plain=False)


def _scale(variance: np.ndarray, constant: np.ndarray, *, by_feature: bool) -> np.ndarray:
    """What to divide by: for each feature (infinity where it is constant), or one number."""
    if by_feature:
        return np.sqrt(np.where(constant, np.inf, variance))
    shared = np.where(constant, 0.0, variance).mean()
    return np.asarray(np.sqrt(np.where(constant.all(), 1.0, shared)))


def moments(array: np.ndarray, origin: np.ndarray = _ZERO) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of `array - origin` per feature in float64, in two passes over blocks."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum(_difference(block, origin).sum(axis=0) for _, block in _blocks(array))
        mean = np.asarray(total / len(array))
        squares = (
            np.square(_difference(block, origin) - mean).sum(axis=0) for _, block in _blocks(array)
        )
        return mean, np.asarray(sum(squares) / len(array))


def fits_float32(array: np.ndarray) -> bool:
    """Whether every number of an array is a float32."""
    if np.can_cast(array.dtype, np.float32):
        return True
    with np.errstate(over="ignore"):
        return all((block.astype(np.float32) == block).all() for _, block in _blocks(array))


def _blocks(array: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(array), ROWS):
        rows = slice(start, start + ROWS)
        yield rows, array[rows]


def _origin(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Numbers in the midst of the first array, from which the others differ by little."""
    train = arrays[0]
    if train.dtype.kind == "f":
        return train[0].astype(np.float64)
    if train.dtype.kind in "iu" and all(array.dtype == train.dtype for array in arrays):
        low = min(int(array.min()) for array in arrays)
        high = max(int(array.max()) for array in arrays)
        if high - low < 2**63:
            return train.min(axis=0)
    return _ZERO


def _difference(block: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """`block - origin` in float64; of whole numbers without rounding."""
    if origin.dtype.kind in "iu" and origin.dtype == block.dtype:
        if block.dtype.itemsize < 8:
            return (block.astype(np.int64) - origin.astype(np.int64)).astype(np.float64)
        # Differences wrap around in 64 bits and come out right, with their sign.
        return (block - origin).view(np.int64).astype(np.float64)
    wide = block.astype(np.float64)
    return wide - origin if origin.any() else wide
