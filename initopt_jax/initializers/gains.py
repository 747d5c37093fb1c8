"""The gain of an activation: how much smaller it makes a signal of unit size."""

import functools
import math

import numpy as np

from initopt_jax.initializers.activations import LEAK, find_activation, normal_mean

# Closed forms, so that he_normal is 2 / fan_in to the last bit.
_SQUARES = {"identity": 1.0, "leaky_relu": 2 / (1 + LEAK**2), "linear": 1.0, "relu": 2.0}


@functools.cache
def squared_gain(activation: str) -> float:
    """`1 / E[phi(z)^2]`, `z ~ N(0, 1)`; arguments and errors as `gain`.

    >>> squared_gain("relu")
    2.0
    """
    function = find_activation(activation)
    if activation in _SQUARES:
        return _SQUARES[activation]
    return 1 / float(normal_mean(lambda x: function.value(x) ** 2, np.array(1.0)))


def gain(activation: str) -> float:
    """The gain with which weights keep a signal's size across a layer.

    `gain = 1 / sqrt(E[phi(z)^2])`, `z ~ N(0, 1)`

    A layer `h' = phi(h) W` with `Var W = gain^2 / fan_in` turns pre-activations of mean square 1
    into such again. It is computed in float64 by quadrature, once per name.

    Args:
        activation: a name of `models.mlp.ACTIVATIONS`, or `linear`. `gelu` is the exact one,
            `leaky_relu` has slope 0.01.

    Returns:
        The gain: 1 for `linear`, `sqrt(2)` for `relu`, 1.593 for `tanh`, 1 for `selu`.

    Raises:
        ValueError: if the name is unknown.

    Reference:
        He, Zhang, Ren and Sun (2015), Delving deep into rectifiers, eq. 8, for any activation in
        place of the rectifier. Klambauer, Unterthiner, Mayr and Hochreiter (2017),
        Self-normalizing neural networks, eq. 5, for `selu`.

    Deviations:
        `torch.nn.init.calculate_gain` takes other numbers for three activations: 5/3 for `tanh` and
        1 for `sigmoid` (here 1.593 and 1.846), 3/4 for `selu`. It has none for `elu`, `gelu`,
        `silu` and the others. To use its number, give it as the option `gain` and leave
        `activation` at `linear`. Where unit size is not a stable fixed point (gelu, silu), a deep
        network drifts away from it.

    >>> gain("linear"), round(gain("tanh"), 4), round(gain("gelu"), 4), round(gain("selu"), 4)
    (1.0, 1.5925, 1.5335, 1.0)
    """
    return math.sqrt(squared_gain(activation))
