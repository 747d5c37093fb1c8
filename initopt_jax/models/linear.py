"""The linear model: one dense layer."""

from initopt_jax.models.mlp import mlp
from initopt_jax.types import Model

FORMULA = "z = x W + b"
REFERENCE = "Widrow & Hoff 1960, Adaptive switching circuits; Cox 1958 (with the softmax loss)"


def linear(*, outputs: int, use_bias: bool = True, dtype: str = "float32") -> Model:
    """One dense layer on flattened inputs: `z = x W + b`, the perceptron without hidden layers.

    Parameters are `dense_0/kernel` [D, K] and `dense_0/bias` [K].

    Args:
        outputs: number of outputs K, at least 1.
        use_bias: whether there is a bias.
        dtype: of the computation, as for `mlp`.

    Returns:
        The model.

    Raises:
        ConfigError: an argument is out of range or a name is unknown.

    Reference: Widrow & Hoff 1960, Adaptive switching circuits; with the softmax loss, Cox 1958, The
        regression analysis of binary sequences.

    >>> import jax, jax.numpy as jnp
    >>> model = linear(outputs=3)
    >>> params, _ = model.init(jax.random.key(0), jnp.ones((1, 2)))
    >>> params["dense_0"]["kernel"].shape
    (2, 3)
    """
    return mlp(outputs=outputs, hidden=(), use_bias=use_bias, dtype=dtype)
