"""Inputs as sequences: pictures row by row or patch by patch, positions, and checks of options."""

import math
from numbers import Real
from typing import Any

import jax.numpy as jnp
import numpy as np

from initopt_jax.errors import ConfigError
from initopt_jax.models.cnn import as_pictures
from initopt_jax.types import Array

LONGEST_WAVE = 10_000.0  # over 2 pi: of sinusoidal positions


def as_sequence(inputs: Array, length: int | None = None) -> Array:
    """A batch as sequences [B, T, F].

    Args:
        inputs: [B, T, F]; pictures [B, H, W, C], whose rows are the steps; [B, side * side], square
            pictures of one channel row by row.
        length: the number of steps T into which each example's numbers are cut, in their order;
            None for the steps that the shape has.

    Raises:
        ConfigError: the shape has no steps, or `length` does not divide the numbers of an example.

    >>> as_sequence(jnp.ones((5, 8, 6, 3))).shape, as_sequence(jnp.ones((5, 64))).shape
    ((5, 8, 18), (5, 8, 8))
    >>> as_sequence(jnp.ones((5, 8, 8, 1)), length=64).shape
    (5, 64, 1)
    """
    shape = inputs.shape[1:]
    if length is not None:
        if math.prod(shape) % length:
            raise ConfigError(
                f"length must divide the {math.prod(shape)} numbers of an example of shape "
                f"{shape}, got {length}"
            )
        return inputs.reshape(len(inputs), length, -1)
    if inputs.ndim == 3:
        return inputs
    if inputs.ndim == 4:
        return inputs.reshape(*inputs.shape[:2], -1)
    side = math.isqrt(inputs.shape[-1])
    if inputs.ndim != 2 or side**2 != inputs.shape[-1]:
        raise ConfigError(
            "a sequence model takes sequences [T, F], pictures [H, W, C] or square ones as "
            f"[H * W], got examples of shape {shape}; say with length: how many steps they have"
        )
    return inputs.reshape(-1, side, side)


def as_tokens(inputs: Array) -> Array:
    """A batch of token numbers [B, T] int32 from [B, T] or [B, T, 1] of any number type.

    Raises:
        ConfigError: any other shape.

    >>> as_tokens(jnp.array([[[0.0], [3.0]]])).tolist()
    [[0, 3]]
    """
    if inputs.ndim == 3 and inputs.shape[-1] == 1:
        inputs = inputs[..., 0]
    if inputs.ndim != 2:
        raise ConfigError(
            f"with a vocabulary, examples are token numbers [T] or [T, 1], got {inputs.shape[1:]}"
        )
    return jnp.round(inputs).astype(jnp.int32)


def as_patches(inputs: Array, patch: int) -> Array:
    """Pictures as sequences of square patches [B, N, patch * patch * C], row by row.

    Args:
        inputs: [B, H, W, C], [B, H, W] or [B, side * side].
        patch: height and width of a patch.

    Raises:
        ConfigError: no pictures, or the patches do not fill them.

    >>> as_patches(jnp.arange(16.0).reshape(1, 16), 2)[0, 1].tolist()
    [2.0, 3.0, 6.0, 7.0]
    """
    shape = inputs.shape[1:]
    if inputs.ndim not in (2, 3, 4) or (inputs.ndim == 2 and math.isqrt(shape[0]) ** 2 != shape[0]):
        raise ConfigError(
            "patches are cut from pictures [H, W, C], [H, W] or square ones as [H * W], got "
            f"examples of shape {shape}; reshape them, or use the transformer"
        )
    pictures = as_pictures(inputs)
    batch, height, width, channels = pictures.shape
    if height % patch or width % patch:
        raise ConfigError(f"patch must divide the pictures' {height} x {width}, got {patch}")
    rows, columns = height // patch, width // patch
    parted = pictures.reshape(batch, rows, patch, columns, patch, channels)
    return parted.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, -1)


def sinusoids(length: int, width: int) -> np.ndarray:
    """A table of positions [T, D] of sines and cosines, float64.

    `P[t, 2 i] = sin(t / 10000^(2 i / D))`, `P[t, 2 i + 1] = cos(t / 10000^(2 i / D))`

    Args:
        length: T, the number of positions.
        width: D, at least 1.

    Reference: Vaswani et al. 2017, Attention is all you need, section 3.5.

    >>> print(sinusoids(2, 2).round(3))
    [[0.    1.   ]
     [0.841 0.54 ]]
    """
    places = np.arange(length, dtype=np.float64)[:, None]
    pairs = np.arange(width) // 2
    angles = places / LONGEST_WAVE ** (2 * pairs / width)[None]
    return np.where(np.arange(width) % 2, np.cos(angles), np.sin(angles))


def require_flag(name: str, value: Any) -> None:
    """Refuse what is neither true nor false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false, got {value!r}")


def require_number(name: str, value: Any) -> None:
    """Refuse what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ConfigError(f"{name} must be a finite number, got {value!r}")


def require_rate(name: str, value: Any) -> None:
    """Refuse what is no share of at least 0 and below 1."""
    require_number(name, value)
    if not 0 <= value < 1:
        raise ConfigError(f"{name} must be at least 0 and below 1, got {value!r}")
