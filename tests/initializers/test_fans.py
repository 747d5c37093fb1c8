"""Fan-in and fan-out of the shapes that networks have."""

import pytest

from initopt_jax.initializers import he_normal
from initopt_jax.networks.fans import fans, weight_fans


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((784, 300), (784, 300)),
        ((1, 1), (1, 1)),
        ((3, 3, 16, 32), (144, 288)),  # a 3x3 convolution: 9 positions x 16 channels feed a unit
        ((5, 1, 8), (5, 40)),  # a one-dimensional convolution
        ((1, 1, 64, 128), (64, 128)),  # pointwise: as dense
        ((10,), (10, 10)),
        ((), (1, 1)),
    ],
)
def test_fans(shape, expected):
    assert fans(shape) == expected


@pytest.mark.parametrize("shape", [(), (0,), (0, 5), (5, 0)])
def test_no_fan_to_scale_by(shape):
    with pytest.raises(ValueError, match="at least one dimension, none of them empty"):
        weight_fans(shape)
    with pytest.raises(ValueError, match="at least one dimension, none of them empty"):
        he_normal(None, shape)
