import time
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from initopt_jax.errors import ConfigError
from initopt_jax.models import REGISTRY, param_shapes
from initopt_jax.models.linear import linear
from initopt_jax.models.mlp import ACTIVATIONS, mlp
from initopt_jax.tree import named_leaves

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017, eq. 14
NUMPY = {
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "gelu": lambda x: x * 0.5 * (1 + scipy.special.erf(x / np.sqrt(2))),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "identity": lambda x: x,
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "relu": lambda x: np.maximum(x, 0),
    "selu": lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "sin": np.sin,
    "softplus": lambda x: np.log1p(np.exp(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "tanh": np.tanh,
}


def random_params(model, inputs, seed=0):
    """Normal weights and biases of order 1 for every leaf."""
    generator = np.random.default_rng(seed)
    shapes = param_shapes(model, inputs)
    return jax.tree.map(
        lambda leaf: jnp.asarray(generator.normal(size=leaf.shape) / 2, leaf.dtype), shapes
    )


def numpy_forward(params, inputs, activation):
    """The perceptron in float64, from its formula."""
    values = inputs.reshape(len(inputs), -1).astype(np.float64)
    for index in range(len(params)):
        layer = params[f"dense_{index}"]
        values = values @ np.asarray(layer["kernel"], np.float64)
        values = values + np.asarray(layer.get("bias", 0), np.float64)
        if index < len(params) - 1:
            values = NUMPY[activation](values)
    return values


@pytest.fixture
def inputs():
    return np.random.default_rng(9).normal(size=(6, 2, 3, 2)).astype(np.float32)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_pass_equals_numpy(activation, inputs):
    model = mlp(outputs=4, hidden=(7, 5), activation=activation)
    params = random_params(model, inputs)
    outputs, model_state = jax.jit(model.apply)(params, {}, inputs)
    assert model_state == {}
    # float32 against float64 through three layers of at most 12 inputs and values of order 10
    np.testing.assert_allclose(
        outputs, numpy_forward(params, inputs, activation), rtol=1e-5, atol=1e-5
    )


def test_linear_is_one_affine_map(inputs):
    model = linear(outputs=4)
    params = random_params(model, inputs)
    outputs, _ = model.apply(params, {}, inputs)
    expected = numpy_forward(params, inputs, "identity")
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)


def test_gradient_equals_back_propagation_by_hand(inputs):
    model = mlp(outputs=3, hidden=(5,), activation="tanh")
    params = random_params(model, inputs)
    gradient = jax.grad(lambda p: jnp.sum(model.apply(p, {}, inputs)[0] ** 2) / 2)(params)
    flat = inputs.reshape(6, -1).astype(np.float64)
    first, second = (
        jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params[f"dense_{index}"])
        for index in (0, 1)
    )
    hidden = np.tanh(flat @ first["kernel"] + first["bias"])
    outer = hidden @ second["kernel"] + second["bias"]
    inner = (outer @ second["kernel"].T) * (1 - hidden**2)
    expected = {
        "dense_0": {"kernel": flat.T @ inner, "bias": inner.sum(axis=0)},
        "dense_1": {"kernel": hidden.T @ outer, "bias": outer.sum(axis=0)},
    }
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), gradient, expected
    )


@pytest.mark.parametrize(
    ("model", "paths"),
    [
        (linear(outputs=3), ["dense_0/bias", "dense_0/kernel"]),
        (linear(outputs=3, use_bias=False), ["dense_0/kernel"]),
        (
            mlp(outputs=3, hidden=[4]),
            ["dense_0/bias", "dense_0/kernel", "dense_1/bias", "dense_1/kernel"],
        ),
    ],
)
def test_parameter_paths(model, paths, inputs):
    params, model_state = model.init(jax.random.key(0), inputs)
    assert [path for path, _ in named_leaves(params)] == paths
    assert type(params) is dict
    assert model_state == {}
    shapes = param_shapes(model, jax.ShapeDtypeStruct(inputs.shape, inputs.dtype))
    assert shapes == jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)


def test_bfloat16_computes_low_and_keeps_float32_parameters(inputs):
    model = mlp(outputs=4, hidden=(7,), dtype="bfloat16")
    params = random_params(model, inputs)
    outputs, _ = model.apply(params, {}, inputs)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    assert outputs.dtype == jnp.bfloat16
    # 8 bits of mantissa, values of order 3
    expected = numpy_forward(params, inputs, "tanh")
    np.testing.assert_allclose(outputs.astype(np.float32), expected, atol=0.08)
    assert np.abs(outputs.astype(np.float32) - expected).max() > 1e-4


def test_float64_needs_x64(inputs):
    with pytest.raises(ConfigError, match="float64 needs a study of precision float64"):
        mlp(outputs=4, dtype="float64")
    with jax.enable_x64(True):
        model = mlp(outputs=4, hidden=(7,), dtype="float64")
        params = random_params(model, inputs)
        outputs, _ = model.apply(params, {}, inputs)
        assert outputs.dtype == jnp.float64
        np.testing.assert_allclose(outputs, numpy_forward(params, inputs, "tanh"), rtol=1e-12)


def test_stacked_lanes_equal_a_loop(inputs):
    model = mlp(outputs=4, hidden=(7,))
    lanes = [random_params(model, inputs, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes)
    together, _ = jax.vmap(lambda params: model.apply(params, {}, inputs))(stacked)
    for lane, outputs in zip(lanes, together, strict=True):
        # one float32 rounding per product or sum may differ between the two layouts
        np.testing.assert_allclose(outputs, model.apply(lane, {}, inputs)[0], rtol=1e-5, atol=1e-6)


def test_fifty_layers_are_described_quickly():
    model = mlp(outputs=10, hidden=[32] * 50)
    spec = jax.ShapeDtypeStruct((1, 64), jnp.float32)
    start = time.perf_counter()
    shapes = param_shapes(model, spec)
    # measured: 0.2 s; drawing and compiling the weights instead would take several seconds more
    assert time.perf_counter() - start < 5
    assert len(shapes) == 51
    widths = [64, *[32] * 50, 10]
    for index, (rows, columns) in enumerate(pairwise(widths)):
        assert shapes[f"dense_{index}"]["kernel"].shape == (rows, columns)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": 0}, "outputs must be an integer of at least 1, got 0"),
        ({"hidden": 64}, "hidden must be a list of layer widths, got 64"),
        ({"hidden": [64, 0]}, r"hidden\[1\] must be an integer of at least 1, got 0"),
        ({"hidden": [True]}, r"hidden\[0\] must be .* got True"),
        ({"hidden": [6.5]}, r"hidden\[0\] must be .* got 6\.5"),
        ({"activation": "thanh"}, "unknown activation 'thanh'; did you mean 'tanh'"),
        ({"use_bias": "yes"}, "use_bias must be true or false, got 'yes'"),
        ({"dtype": "bfloat"}, "unknown dtype 'bfloat'; did you mean 'bfloat16'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        mlp(**{"outputs": 2} | options)


def test_registry_entries_make_models():
    for name, entry in REGISTRY.items():
        assert entry.name == name
        assert entry.formula
        assert entry.reference
        # 144 numbers are also a picture of 12 x 12, and what an autoencoder gives back
        outputs = 144 if name == "autoencoder" else 3
        inputs = jax.ShapeDtypeStruct((1, 144), jnp.float32)
        shapes = param_shapes(entry.make(outputs=outputs), inputs)
        assert jax.tree.leaves(shapes)
