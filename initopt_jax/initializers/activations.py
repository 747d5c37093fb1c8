"""Activations in float64 and their means over a normal input: what gains and mean fields need.

The names, and what they stand for, are those of `models.mlp`; `linear` is another name of
`identity`.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from initopt_jax.errors import unknown_name

Function = Callable[[np.ndarray], np.ndarray]

LEAK = 0.01
# Klambauer et al. (2017), section 2.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946
# No activation has a kink elsewhere: between these points quadrature converges exponentially.
KINKS = (-1.0, 0.0, 1.0)
REACH = 10.0  # standard deviations; beyond lies 2e-23 of the mass
NODES = 200  # per panel: enough for a tanh a hundred times narrower than the normal


@dataclass(frozen=True)
class Activation:
    """An activation and its derivative, both elementwise and in float64."""

    value: Function
    slope: Function


def _softsign_slope(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.abs(x)) ** 2


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _elu_slope(x: np.ndarray) -> np.ndarray:
    return np.exp(np.minimum(x, 0))


def _selu(x: np.ndarray) -> np.ndarray:
    return SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * _elu(x))


def _selu_slope(x: np.ndarray) -> np.ndarray:
    return SELU_SCALE * np.where(x > 0, 1.0, SELU_ALPHA * _elu_slope(x))


def _gelu_slope(x: np.ndarray) -> np.ndarray:
    return special.ndtr(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def _silu_slope(x: np.ndarray) -> np.ndarray:
    return special.expit(x) * (1 + x * special.expit(-x))


_IDENTITY = Activation(lambda x: x, np.ones_like)
ACTIVATIONS = {
    "elu": Activation(_elu, _elu_slope),
    "gelu": Activation(lambda x: x * special.ndtr(x), _gelu_slope),
    "hard_tanh": Activation(lambda x: np.clip(x, -1, 1), lambda x: (np.abs(x) < 1) * 1.0),
    "identity": _IDENTITY,
    "leaky_relu": Activation(
        lambda x: np.where(x > 0, x, LEAK * x), lambda x: np.where(x > 0, 1.0, LEAK)
    ),
    "linear": _IDENTITY,
    "relu": Activation(lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "selu": Activation(_selu, _selu_slope),
    "sigmoid": Activation(special.expit, lambda x: special.expit(x) * special.expit(-x)),
    "silu": Activation(lambda x: x * special.expit(x), _silu_slope),
    "sin": Activation(np.sin, np.cos),
    "softplus": Activation(lambda x: np.logaddexp(0, x), special.expit),
    "softsign": Activation(lambda x: x / (1 + np.abs(x)), _softsign_slope),
    "tanh": Activation(np.tanh, lambda x: 1 - np.tanh(x) ** 2),
}
# phi(a x) = a phi(x) for a > 0.
HOMOGENEOUS = ("identity", "leaky_relu", "linear", "relu")


def find_activation(name: str) -> Activation:
    """The activation of a name.

    Raises:
        ValueError: if the name is unknown.

    >>> float(find_activation("relu").value(np.array(-2.0)))
    0.0
    """
    if name not in list(ACTIVATIONS):
        raise ValueError(unknown_name("activation", name, ACTIVATIONS))
    return ACTIVATIONS[name]


def normal_mean(
    function: Function, std: np.ndarray, mean: np.ndarray | float = 0.0, nodes: int = NODES
) -> np.ndarray:
    """`E f(mean + std z)`, `z ~ N(0, 1)`, to about 1e-13 for functions smooth between `KINKS`.

    Gauss-Legendre quadrature on four panels that meet at the kinks, cut at `REACH`.

    Args:
        function: elementwise.
        std: of the input, above 0, any shape; `mean` likewise.
        mean: of the input.
        nodes: per panel.

    Returns:
        The means, in the shape that `std` and `mean` broadcast to.

    >>> float(normal_mean(np.square, np.array(3.0)).round(12))
    9.0
    """
    std, mean = np.broadcast_arrays(np.asarray(std, np.float64), np.asarray(mean, np.float64))
    std, mean = std[..., None, None], mean[..., None, None]
    kinks = np.clip((np.array(KINKS)[:, None] - mean) / std, -REACH, REACH)
    edge = np.full_like(kinks[..., :1, :], REACH)
    edges = np.concatenate([-edge, kinks, edge], axis=-2)
    half = np.diff(edges, axis=-2) / 2
    points, weights = _legendre(nodes)
    z = edges[..., :-1, :] + half * (1 + points)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return np.sum(half * weights * density * function(mean + std * z), axis=(-2, -1))


@functools.cache
def _legendre(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(nodes)
