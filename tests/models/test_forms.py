"""LeNet-5, the deep linear network and the autoencoder."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax.errors import ConfigError
from initopt_jax.models import param_shapes
from initopt_jax.models.dense_stacks import autoencoder, deep_linear
from initopt_jax.models.lenet import lenet5


def normal(shapes, seed=0):
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: generator.normal(size=leaf.shape).astype(np.float32), shapes)


def test_lenet_has_the_weights_of_its_layers():
    shapes = param_shapes(lenet5(outputs=10), jax.ShapeDtypeStruct((1, 28, 28), jnp.float32))
    counts = {
        name: sum(math.prod(leaf.shape) for leaf in layer.values())
        for name, layer in shapes.items()
    }
    # 1998, section II.B: C1 has 156 weights, C5 48,120, F6 10,164; C3 sees all maps here
    expected = {"conv_0": 156, "conv_1": 2416, "dense_0": 48120, "dense_1": 10164, "dense_2": 850}
    assert counts == expected


def test_a_deep_linear_network_is_a_product_of_matrices():
    inputs = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    model = deep_linear(outputs=2, depth=3, width=5)
    params = normal(param_shapes(model, inputs))
    wanted = inputs.astype(np.float64)
    for index in range(3):
        assert set(params[f"dense_{index}"]) == {"kernel"}
        wanted = wanted @ params[f"dense_{index}"]["kernel"]
    # float32 sums of at most six terms, three times
    np.testing.assert_allclose(model.apply(params, {}, inputs)[0], wanted, rtol=1e-4, atol=1e-4)


def test_the_code_of_an_autoencoder_is_linear():
    inputs = np.random.default_rng(2).normal(size=(4, 6)).astype(np.float32)
    model = autoencoder(outputs=6, encoder=(5, 2), decoder=(3,), activation="tanh")
    params = normal(param_shapes(model, inputs))
    layers = [jax.tree.map(np.float64, params[f"dense_{index}"]) for index in range(4)]
    values = inputs.astype(np.float64)
    for index, layer in enumerate(layers):
        values = values @ layer["kernel"] + layer["bias"]
        values = values if index in (1, 3) else np.tanh(values)
    np.testing.assert_allclose(model.apply(params, {}, inputs)[0], values, rtol=1e-4, atol=1e-5)


def test_the_default_autoencoder_is_the_published_one():
    shapes = param_shapes(autoencoder(outputs=784), jax.ShapeDtypeStruct((1, 784), jnp.float32))
    widths = [shapes[f"dense_{index}"]["kernel"].shape[1] for index in range(8)]
    assert widths == [1000, 500, 250, 30, 250, 500, 1000, 784]


def test_wrong_options_are_refused():
    with pytest.raises(ConfigError, match="6 features need as many outputs, not 3"):
        param_shapes(autoencoder(outputs=3), jax.ShapeDtypeStruct((1, 6), jnp.float32))
    with pytest.raises(ConfigError, match="encoder must be a list of at least one width"):
        autoencoder(outputs=3, encoder=[])
    with pytest.raises(ConfigError, match=r"decoder\[0\] must be an integer of at least 1, got 0"):
        autoencoder(outputs=3, decoder=[0])
    with pytest.raises(ConfigError, match="depth must be an integer of at least 1, got 0"):
        deep_linear(outputs=3, depth=0)
