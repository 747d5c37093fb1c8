"""LeNet-5, as the convolutional network it is."""

from initopt_jax.models.cnn import cnn
from initopt_jax.types import Model

FORMULA = "28 x 28 -> 6 of 5 x 5 -> pool -> 16 of 5 x 5 -> pool -> 120 -> 84 -> K"
REFERENCE = "LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to documents"


def lenet5(
    *,
    outputs: int,
    activation: str = "tanh",
    pooling: str = "average",
    norm: str = "none",
    dropout: float = 0.0,
    dtype: str = "float32",
    convolution: str = "auto",
) -> Model:
    """LeNet-5: two convolutions of 5 x 5 with pooling, then layers of 120, 84 and K units.

    The `cnn` with channels 6 and 16; the first convolution has two pixels of padding, which makes
    28 x 28 pictures the paper's 32 x 32, and the second none. Smaller pictures shrink alike.

    Args:
        outputs: number of outputs K, at least 1.
        activation: a name of `mlp.ACTIVATIONS`.
        pooling: `average` or `max`.
        norm: as for `cnn`.
        dropout: as for `cnn`.
        dtype: of the computation, as for `mlp`.
        convolution: as for `cnn`.

    Returns:
        The model. Its own `init` draws LeCun normal kernels and zero biases.

    Raises:
        ConfigError: an argument is out of range, a name is unknown, or (when called) the inputs are
            no pictures or smaller than 12 x 12.

    Reference: LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document
        recognition, Proceedings of the IEEE 86, section II.B.

    Deviations:
        Pooling has no weights; every map of the second convolution sees all six of the first; the
        last layer is dense and not a radial basis; tanh is not stretched to 1.7159 tanh(2 x / 3).

    >>> import jax, jax.numpy as jnp
    >>> params, _ = lenet5(outputs=10).init(jax.random.key(0), jnp.ones((1, 28, 28)))
    >>> params["conv_1"]["kernel"].shape, params["dense_0"]["kernel"].shape
    ((5, 5, 6, 16), (400, 120))
    """
    return cnn(
        outputs=outputs,
        channels=(6, 16),
        kernel=5,
        hidden=(120, 84),
        activation=activation,
        padding=("same", "valid"),
        pooling=pooling,
        norm=norm,
        dropout=dropout,
        dtype=dtype,
        convolution=convolution,
    )
