"""Initializers that measure a network: layer by layer, on a batch; and given weights."""

import functools
from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax.errors import ConfigError
from initopt_jax.initializers import default_rules, initialize
from initopt_jax.initializers.model_level import (
    MODEL_LEVEL,
    data_dependent,
    lsuv,
    make_network,
    make_rewind,
)
from initopt_jax.models import REGISTRY, param_shapes
from initopt_jax.models.convolution import as_stock
from initopt_jax.tree import named_leaves

POOLS = {"max": nn.max_pool, "average": nn.avg_pool}
SMALL = {"steps": 3}  # of those that search


def network_of(apply, shapes, inputs, targets):
    def loss(outputs, targets):
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets)

    return make_network(apply, loss, shapes, inputs, targets)


@functools.cache
def built(name, count=64, **options):
    """A model of the package on random pictures of 6 x 6, and the shapes of its weights."""
    generator = np.random.default_rng(3)
    inputs = jnp.asarray(generator.normal(size=(count, 36)) + 0.5, jnp.float32)
    targets = jnp.asarray(generator.integers(0, 3, count))
    model = REGISTRY[name].make(outputs=3, **options)
    shapes = param_shapes(model, inputs)

    def apply(params, inputs):
        with as_stock():  # layers are measured: a convolution as one operation, by its own name
            return model.apply(params, {}, inputs)[0]

    return network_of(apply, shapes, inputs, targets), shapes


def drawn(network, shapes, name="orthogonal", seed=0):
    rules = default_rules(name)
    return initialize(jax.random.key(seed), shapes, rules, network.anatomy.layouts)


def of_flax(module, inputs):
    shapes = jax.eval_shape(module.init, jax.random.key(0), inputs)["params"]
    targets = jnp.zeros(len(inputs), int)
    return network_of(lambda p, x: module.apply({"params": p}, x), shapes, inputs, targets), shapes


@pytest.mark.parametrize("activation", ["tanh", "relu", "softplus", "identity"])
def test_lsuv_gives_unit_variance_in_ten_layers(activation):
    network, shapes = built("mlp", hidden=(24,) * 9, activation=activation)
    refine = jax.jit(lambda key, params: lsuv(key, params, network))
    params, info = refine(jax.random.key(1), drawn(network, shapes))
    assert len(info) == 10
    # The batch is all 64 examples: measured anew, as the paper's algorithm leaves it.
    values = np.asarray(network.inputs, np.float64)
    functions = {
        "tanh": np.tanh,
        "relu": lambda x: np.maximum(x, 0),
        "softplus": lambda x: np.logaddexp(x, 0),
        "identity": lambda x: x,
    }
    for layer in range(10):
        if layer:
            values = functions[activation](values)
        values = values @ np.asarray(params[f"dense_{layer}"]["kernel"], np.float64)
        assert 0.9 < values.var() < 1.1, (layer, values.var())
        np.testing.assert_allclose(info[f"variance/dense_{layer}/kernel"], values.var(), rtol=1e-3)
        assert not np.any(params[f"dense_{layer}"]["bias"])


@pytest.mark.parametrize(("activation", "pooling"), [("relu", "max"), ("tanh", "average")])
def test_lsuv_of_convolutions(activation, pooling):
    network, shapes = built(
        "cnn", channels=(3, 4), hidden=(5,), activation=activation, pooling=pooling
    )
    start = drawn(network, shapes)
    params, info = jax.jit(lambda key, params: lsuv(key, params, network))(jax.random.key(1), start)
    assert all(0.9 < float(value) < 1.1 for value in info.values())
    # Measured anew by Flax, before bias, activation and pooling.
    first, second = (nn.Conv(features, (3, 3)) for features in (3, 4))
    sums = first.apply({"params": params["conv_0"]}, network.inputs.reshape(-1, 6, 6, 1))
    np.testing.assert_allclose(jnp.var(sums), info["variance/conv_0/kernel"], rtol=1e-3)
    function, pool = {"relu": nn.relu, "tanh": nn.tanh}[activation], POOLS[pooling]
    pooled = pool(function(sums), (2, 2), (2, 2))
    sums = second.apply({"params": params["conv_1"]}, pooled)
    np.testing.assert_allclose(jnp.var(sums), info["variance/conv_1/kernel"], rtol=1e-3)
    for path, leaf in named_leaves(params):
        layer, name = path.split("/")
        ratio = np.asarray(leaf) - np.asarray(start[layer][name])
        if name == "bias":
            assert not ratio.any()


def salimans(inputs, layers, activation):
    """Section 3 in its own terms: `w = g v / |v|`, float64. A dead unit keeps what it had."""
    values, found = inputs, []
    for kernel, bias in layers:
        lengths = np.linalg.norm(kernel, axis=0)
        t = values @ (kernel / np.where(lengths == 0, 1, lengths))
        mean, deviation = t.mean(0), t.std(0)
        dead = deviation < 1e-9
        g = np.where(dead, lengths, 1 / np.where(dead, 1, deviation))
        b = np.where(dead, bias, -mean / np.where(dead, 1, deviation))
        found.append((g * kernel / np.where(lengths == 0, 1, lengths), b))
        values = activation(values @ found[-1][0] + b)
    return found


def test_data_dependent_is_the_paper_s():
    network, shapes = built("mlp", hidden=(7, 5), activation="tanh")
    params = drawn(network, shapes, "lecun_normal")
    # A unit without inputs is dead: it stays, bias and all.
    params["dense_1"]["kernel"] = params["dense_1"]["kernel"].at[:, 2].set(0)
    params["dense_1"]["bias"] = params["dense_1"]["bias"].at[2].set(0.3)
    changed, info = data_dependent(jax.random.key(0), params, network)
    names = [f"dense_{layer}" for layer in range(3)]
    layers = [
        (np.asarray(params[n]["kernel"], np.float64), np.asarray(params[n]["bias"], np.float64))
        for n in names
    ]
    expected = salimans(np.asarray(network.inputs, np.float64), layers, np.tanh)
    for name, (kernel, bias) in zip(names, expected, strict=True):
        np.testing.assert_allclose(changed[name]["kernel"], kernel, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(changed[name]["bias"], bias, rtol=1e-4, atol=1e-4)
    assert changed["dense_1"]["bias"][2] == params["dense_1"]["bias"][2]
    sums = np.asarray(network.inputs) @ np.asarray(params["dense_0"]["kernel"])
    np.testing.assert_allclose(info["variance/dense_0/kernel"], sums.var(0).mean(), rtol=1e-4)
    np.testing.assert_allclose(
        info["mean/dense_0/kernel"], np.sqrt((sums.mean(0) ** 2).mean()), rtol=1e-4
    )


def test_data_dependent_does_not_see_the_scale():
    network, shapes = built("mlp", hidden=(7,), activation="relu")
    params = drawn(network, shapes)
    larger = jax.tree.map(lambda leaf: 8 * leaf, params)
    one, _ = data_dependent(jax.random.key(0), params, network)
    other, _ = data_dependent(jax.random.key(0), larger, network)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, other)


class Mixed(nn.Module):
    """A grouped convolution, and attention's projections with an axis for its heads."""

    @nn.compact
    def __call__(self, inputs):
        values = nn.Conv(4, (3,), feature_group_count=2, name="grouped")(inputs)
        heads = nn.DenseGeneral((2, 3), name="heads")(nn.tanh(values))
        return nn.DenseGeneral(5, axis=(-2, -1), name="out", use_bias=False)(heads).mean(1)


def test_data_dependent_finds_units_in_any_layout():
    inputs = jax.random.normal(jax.random.key(2), (20, 6, 4)) + 1
    network, shapes = of_flax(Mixed(), inputs)
    start = drawn(network, shapes)
    params, _ = data_dependent(jax.random.key(0), start, network)
    values = nn.Conv(4, (3,), feature_group_count=2).apply({"params": params["grouped"]}, inputs)
    np.testing.assert_allclose(values.mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(values.std((0, 1)), 1, rtol=1e-4)
    heads = nn.DenseGeneral((2, 3)).apply({"params": params["heads"]}, nn.tanh(values))
    np.testing.assert_allclose(heads.mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(heads.std((0, 1)), 1, rtol=1e-4)
    # No bias: scaled only.
    sums = network.sums(params, inputs)["out/kernel"]
    np.testing.assert_allclose(sums.std(0), 1, rtol=1e-4)


@pytest.mark.parametrize("convolution", ["patches", "stock"])
def test_data_dependent_of_convolutions(convolution):
    options = {"channels": (3, 4), "hidden": (5,), "activation": "relu"}
    network, shapes = built("cnn", convolution=convolution, **options)
    params, _ = data_dependent(jax.random.key(0), drawn(network, shapes), network)
    layer = nn.Conv(3, (3, 3)).apply(
        {"params": params["conv_0"]}, network.inputs.reshape(-1, 6, 6, 1)
    )
    np.testing.assert_allclose(layer.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(layer.std((0, 1, 2)), 1, rtol=1e-4)
    pooled = nn.max_pool(nn.relu(layer), (2, 2), (2, 2))
    layer = nn.Conv(4, (3, 3)).apply({"params": params["conv_1"]}, pooled)
    np.testing.assert_allclose(layer.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(layer.std((0, 1, 2)), 1, rtol=1e-4)
    outputs = network.apply(params, network.inputs)
    np.testing.assert_allclose(outputs.std(0), 1, rtol=1e-3)


def test_sums_made_in_parts_are_refused():
    """The fast form of a convolution is a product per row of its window."""
    network, shapes = built("cnn", channels=(3, 4), hidden=(5,), activation="relu")
    model = REGISTRY["cnn"].make(outputs=3, channels=(3, 4), hidden=(5,), activation="relu")
    fast = replace(network, plain=lambda params, inputs: model.apply(params, {}, inputs)[0])
    with pytest.raises(ConfigError, match="sums up 'conv_1/kernel' in 12 columns"):
        data_dependent(jax.random.key(0), drawn(network, shapes), fast)


@pytest.mark.parametrize("refine", [data_dependent, lsuv])
def test_layers_in_loops_are_refused(refine):
    network, shapes = of_flax(nn.RNN(nn.SimpleCell(4)), jnp.ones((4, 3, 2)))
    with pytest.raises(ConfigError, match="inside a loop"):
        refine(jax.random.key(0), drawn(network, shapes), network)


@pytest.mark.parametrize(
    "name", ["data_dependent", "lsuv", "grad_init", "meta_init", "mup", "ntk", "spectral"]
)
def test_same_key_same_weights_and_jit_changes_nothing(name):
    network, shapes = built("mlp", count=300, hidden=(6,))
    entry = MODEL_LEVEL[name]
    options = SMALL if name in ("grad_init", "meta_init") else {}

    def refine(key, params):
        return entry.refine(key, params, network, **options)

    params = drawn(network, shapes, entry.base)
    compiled = jax.jit(refine)
    one, info = refine(jax.random.key(3), params)
    other, _ = compiled(jax.random.key(3), params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one, other)
    again, _ = compiled(jax.random.key(3), params)
    jax.tree.map(np.testing.assert_array_equal, other, again)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), one) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), params
    )
    assert all(jnp.shape(value) == () and jnp.isfinite(value) for value in info.values())
    pairs = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params)
    lanes, _ = jax.jit(jax.vmap(refine))(jax.random.split(jax.random.key(3), 2), pairs)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(lanes))


def test_rewind_takes_the_chosen_leaves():
    network, shapes = built("mlp", hidden=(6,))
    params = drawn(network, shapes)
    given = {path: np.full(leaf.shape, 2.5) for path, leaf in named_leaves(params)}
    key = jax.random.key(0)
    rewound, info = jax.jit(lambda p: make_rewind(given)(key, p, network))(params)
    assert all(
        (leaf == 2.5).all() and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(rewound)
    )
    assert info["rewound"] == 1
    part, info = make_rewind(rewound, leaves=["dense_0/*"])(key, params, network)
    assert (part["dense_0"]["kernel"] == 2.5).all()
    np.testing.assert_array_equal(part["dense_1"]["kernel"], params["dense_1"]["kernel"])
    np.testing.assert_allclose(info["rewound"], (36 * 6 + 6) / (36 * 6 + 6 + 6 * 3 + 3))


@pytest.mark.parametrize(
    ("change", "leaves", "message"),
    [
        ({"dense_0/kernel": None}, ["*"], "have no leaf 'dense_0/kernel'"),
        ({"dense_0/kernle": 1.0}, ["*"], "no leaf 'dense_0/kernle'; did you mean 'dense_0/kernel'"),
        (
            {"dense_1/bias": np.ones(4)},
            ["*"],
            r"'dense_1/bias' must have the shape \(3,\), got \(4,\)",
        ),
        ({}, ["conv*"], "pattern 'conv\\*' matches no leaf"),
        ({}, [], "leaves must hold at least one"),
    ],
)
def test_rewind_refuses_by_name(change, leaves, message):
    network, shapes = built("mlp", hidden=(6,))
    params = drawn(network, shapes)
    given = {**dict(named_leaves(params)), **change}
    given = {path: leaf for path, leaf in given.items() if leaf is not None}
    with pytest.raises(ConfigError, match=message):
        make_rewind(given, leaves=leaves)(jax.random.key(0), params, network)
