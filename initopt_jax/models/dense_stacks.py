"""Perceptrons of a given form: the deep linear network and the autoencoder."""

from collections.abc import Sequence

from initopt_jax.errors import ConfigError
from initopt_jax.models.mlp import mlp, perceptron, require_depth, require_width
from initopt_jax.types import Model

LINEAR_FORMULA = "z = x W_0 W_1 ... W_n"
LINEAR_REFERENCE = "Saxe, McClelland & Ganguli 2014, Exact solutions to the nonlinear dynamics"
CODER_FORMULA = "h_{i+1} = phi(h_i W_i + b_i) down to the code and up again; z = h_n W_n + b_n"
CODER_REFERENCE = "Hinton & Salakhutdinov 2006; Sutskever, Martens, Dahl & Hinton 2013, section 3"


def deep_linear(*, outputs: int, depth: int = 4, width: int = 64, dtype: str = "float32") -> Model:
    """Dense layers without bias and without activation: `z = x W_0 W_1 ... W_n`.

    Args:
        outputs: number of outputs K, at least 1.
        depth: number of layers, at least 1; parameters are `dense_0/kernel` to
            `dense_<depth - 1>/kernel`.
        width: of the layers between, at least 1.
        dtype: of the computation, as for `mlp`.

    Returns:
        The model.

    Raises:
        ConfigError: an argument is out of range or a name is unknown.

    Reference: Saxe, McClelland & Ganguli 2014, Exact solutions to the nonlinear dynamics of
        learning in deep linear neural networks, eq. 1.

    >>> import jax, jax.numpy as jnp
    >>> params, _ = deep_linear(outputs=2, depth=3, width=5).init(
    ...     jax.random.key(0), jnp.ones((1, 4))
    ... )
    >>> {name: layer["kernel"].shape for name, layer in params.items()}
    {'dense_0': (4, 5), 'dense_1': (5, 5), 'dense_2': (5, 2)}
    """
    require_depth("depth", depth)
    require_width("width", width)
    hidden = (width,) * (depth - 1)
    return mlp(outputs=outputs, hidden=hidden, activation="identity", use_bias=False, dtype=dtype)


def autoencoder(
    *,
    outputs: int,
    encoder: Sequence[int] = (1000, 500, 250, 30),
    decoder: Sequence[int] | None = None,
    activation: str = "sigmoid",
    use_bias: bool = True,
    dtype: str = "float32",
) -> Model:
    """A perceptron through a narrow code, with as many outputs as inputs.

    `encoder` are the widths down to the code, `decoder` those up again; the output layer is linear,
    and the task's loss decides what its numbers mean. The targets are the inputs.

    Args:
        outputs: number of outputs K; has to be that of the input features.
        encoder: widths, at least one; the last is the code's.
        decoder: widths between code and outputs; by default the encoder's, backwards.
        activation: a name of `mlp.ACTIVATIONS`, used after all layers but the code and the last.
        use_bias: whether layers have a bias.
        dtype: of the computation, as for `mlp`.

    Returns:
        The model; parameters are `dense_0/kernel` to `dense_<n>/kernel` and their biases.

    Raises:
        ConfigError: an argument is out of range, a name is unknown, or (when called) inputs have
            another number of features than there are outputs.

    Reference: Hinton & Salakhutdinov 2006, Reducing the dimensionality of data with neural
        networks; the defaults are the MNIST network 784-1000-500-250-30 of Sutskever, Martens, Dahl
        & Hinton 2013, On the importance of initialization and momentum in deep learning, section 3.

    >>> import jax, jax.numpy as jnp
    >>> model = autoencoder(outputs=4, encoder=(3, 2))
    >>> params, _ = model.init(jax.random.key(0), jnp.ones((1, 4)))
    >>> [params[f"dense_{index}"]["kernel"].shape for index in range(4)]
    [(4, 3), (3, 2), (2, 3), (3, 4)]
    """
    if not isinstance(encoder, list | tuple) or not encoder:
        raise ConfigError(f"encoder must be a list of at least one width, got {encoder!r}")
    up = list(encoder[-2::-1]) if decoder is None else decoder
    if not isinstance(up, list | tuple):
        raise ConfigError(f"decoder must be a list of widths, got {decoder!r}")
    for name, widths in (("encoder", encoder), ("decoder", up)):
        for index, width in enumerate(widths):
            require_width(f"{name}[{index}]", width)
    return perceptron(
        outputs=outputs,
        hidden=(*encoder, *up),
        activation=activation,
        use_bias=use_bias,
        dtype=dtype,
        code=len(encoder) - 1,
    )
