"""Parametrizations: first weights with learning rates that go with them, leaf by leaf."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax import transforms
from initopt_jax.errors import ConfigError
from initopt_jax.initializers import default_rules, initialize
from initopt_jax.initializers.model_level import (
    make_network,
    mup,
    mup_multipliers,
    ntk,
    ntk_multipliers,
    spectral,
    spectral_multipliers,
)
from initopt_jax.models import REGISTRY, param_shapes
from initopt_jax.transforms import scale_by_leaf
from initopt_jax.tree import named_leaves

D, CLASSES, BASE = 16, 4, 64


def data(count=32):
    generator = np.random.default_rng(5)
    inputs = generator.normal(size=(count, D)).astype(np.float32)
    return jnp.asarray(inputs), jnp.asarray(generator.integers(0, CLASSES, count))


def cross_entropy(outputs, targets):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets)


def perceptron(width, depth=2, use_bias=False, activation="relu"):
    """A network of equal hidden layers, and the shapes of its weights."""
    model = REGISTRY["mlp"].make(
        outputs=CLASSES, hidden=[width] * depth, use_bias=use_bias, activation=activation
    )
    inputs, targets = data()
    shapes = param_shapes(model, inputs)

    def apply(params, inputs):
        return model.apply(params, {}, inputs)[0]

    return make_network(apply, cross_entropy, shapes, inputs, targets), shapes


def drawn(network, shapes, name="lecun_normal", seed=0):
    rules = default_rules(name)
    return initialize(jax.random.key(seed), shapes, rules, network.anatomy.layouts)


def moved(network, params, transform, count=3):
    """Root mean square change of every layer's sums after some steps on one batch."""
    inputs, targets = network.inputs, network.targets
    before, state = network.sums(params, inputs), transform.init(params)
    for _ in range(count):
        grads = jax.grad(network.mean_loss)(params, inputs, targets)
        updates, state = transform.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    after = network.sums(params, inputs)
    return jnp.stack([jnp.sqrt(jnp.mean((after[path] - before[path]) ** 2)) for path in before])


def coordinate_check(kind, parametrization, widths, seeds=8):
    """Change per coordinate [width, layer], a mean over seeds."""
    optimizer = transforms.sgd(0.1) if kind == "sgd" else transforms.adam(0.003)
    rows = []
    for width in widths:
        network, shapes = perceptron(width)

        def one(seed, network=network, shapes=shapes):
            params = drawn(network, shapes, seed=seed)
            if parametrization == "standard":
                return moved(network, params, optimizer)
            params, _ = mup(jax.random.key(0), params, network, base_width=BASE)
            rates = mup_multipliers(network.anatomy, shapes, BASE, kind=kind)
            return moved(network, params, optax.chain(optimizer, scale_by_leaf(rates)))

        rows.append(jax.lax.map(jax.jit(one), jnp.arange(seeds)).mean(0))
    return np.array(rows)


WIDTHS = (64, 256, 1024)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_coordinate_check(kind):
    """PAPERS' form: no bias, ReLU, cross-entropy; widths 64 to 1024, three steps."""
    flat = coordinate_check(kind, "mup", WIDTHS)
    np.testing.assert_allclose(flat / flat[0], 1, atol=0.2)
    standard = coordinate_check(kind, "standard", WIDTHS)
    np.testing.assert_allclose(standard[0], flat[0], rtol=1e-5)  # at the base width nothing changes
    growth = standard[-1, 1:] / standard[0, 1:]
    assert (growth > (2.5 if kind == "sgd" else 7)).all(), growth
    assert (np.diff(standard[:, 1:], axis=0) > 0).all()


def test_mup_changes_the_readout_alone():
    network, shapes = perceptron(256, use_bias=True)
    params = drawn(network, shapes)
    changed, info = mup(jax.random.key(0), params, network, base_width=16.0)
    zero, _ = mup(jax.random.key(0), params, network, zero_readout=True)
    for path, leaf in named_leaves(params):
        layer, name = path.split("/")
        if path == "dense_2/kernel":
            # Table 3: variance of order 1 / fan_in^2, here 16 / 256^2.
            np.testing.assert_allclose(changed[layer][name], np.asarray(leaf) / 4, rtol=1e-6)
            assert not zero[layer][name].any()
        else:
            np.testing.assert_array_equal(changed[layer][name], leaf)
            np.testing.assert_array_equal(zero[layer][name], leaf)
    assert float(info["width"]) == 16
    same, _ = mup(jax.random.key(0), params, network, base_width=256.0)
    jax.tree.map(np.testing.assert_array_equal, same, params)


# Table 3 of Tensor programs V, four times as wide as the base.
TABLE = {
    "sgd": {"inputs": 4.0, "hidden": 1.0, "outputs": 0.25, "bias": 4.0, "last bias": 1.0},
    "adam": {"inputs": 1.0, "hidden": 0.25, "outputs": 0.25, "bias": 1.0, "last bias": 1.0},
}
ROLES = {
    "dense_0/kernel": "inputs",
    "dense_1/kernel": "hidden",
    "dense_2/kernel": "outputs",
    "dense_0/bias": "bias",
    "dense_1/bias": "bias",
    "dense_2/bias": "last bias",
}


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("form", ["width", "shapes", "traced"])
def test_mup_multipliers_are_those_of_table_3(kind, form):
    network, shapes = perceptron(256, use_bias=True)
    _, base_shapes = perceptron(64, use_bias=True)

    def rates(base):
        return mup_multipliers(network.anatomy, shapes, base, kind=kind)

    if form == "traced":
        found = jax.jit(rates)(64.0)
    else:
        found = rates(64 if form == "width" else base_shapes)
    expected = {path: TABLE[kind][role] for path, role in ROLES.items()}
    assert {path: float(value) for path, value in found.items()} == expected
    narrow, _ = perceptron(64, use_bias=True)
    assert set(mup_multipliers(narrow.anatomy, base_shapes, 64, kind=kind).values()) == {1.0}


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_spectral_multipliers_have_the_ratios_of_mup(kind):
    (wide, shapes), (narrow, base) = perceptron(256, use_bias=True), perceptron(64, use_bias=True)
    rates = mup_multipliers(wide.anatomy, shapes, base, kind=kind)
    here = spectral_multipliers(wide.anatomy, shapes, kind=kind)
    there = spectral_multipliers(narrow.anatomy, base, kind=kind)
    for path in rates:
        np.testing.assert_allclose(here[path] / there[path], rates[path])
    expected = {"sgd": (CLASSES / 256, 256.0), "adam": (1 / 256, 1.0)}[kind]
    assert (here["dense_2/kernel"], here["dense_1/bias"]) == expected


@pytest.mark.parametrize("base", ["lecun_normal", "orthogonal"])
def test_spectral_norms(base):
    network, shapes = perceptron(48)
    params, info = spectral(jax.random.key(0), drawn(network, shapes, base), network, gain=1.5)
    sizes = [(D, 48), (48, 48), (48, CLASSES)]
    for layer, (fan_in, fan_out) in enumerate(sizes):
        kernel = np.asarray(params[f"dense_{layer}"]["kernel"], np.float64)
        norm = np.linalg.svd(kernel, compute_uv=False)[0]
        np.testing.assert_allclose(norm, 1.5 * np.sqrt(fan_out / fan_in), rtol=1e-5)
    if base == "orthogonal":
        np.testing.assert_allclose(info["norm/dense_1/kernel"], 1, rtol=1e-5)


def test_spectral_scale_is_that_of_parametrization_1():
    """The entries' deviation over the paper's formula is the same constant, within a factor 2."""
    ratios = []
    for fan_in, fan_out in ((16, 256), (256, 16), (128, 128), (32, 64)):
        shapes = {"kernel": jax.ShapeDtypeStruct((fan_in, fan_out), "float32")}
        network = make_network(
            lambda params, inputs: inputs @ params["kernel"],
            cross_entropy,
            shapes,
            jnp.ones((2, fan_in)),
            jnp.zeros(2, int),
        )
        params, _ = spectral(jax.random.key(0), drawn(network, shapes), network)
        formula = min(1, np.sqrt(fan_out / fan_in)) / np.sqrt(fan_in)
        ratios.append(float(params["kernel"].std()) / formula)
    assert 0.49 < min(ratios) <= max(ratios) < 1.01, ratios  # sqrt(n) / (sqrt(n) + sqrt(m))


WEIGHT_SCALE, BIAS_SCALE = 1.3, 0.3


def explicit(network, params):
    """The network in the parametrization of the paper, and its `omega` for these weights."""
    factors = {}
    for path, leaf in named_leaves(params):
        kernel = path.endswith("kernel")
        factors[path] = WEIGHT_SCALE / np.sqrt(leaf.shape[0]) if kernel else BIAS_SCALE
    names = [path for path, _ in named_leaves(params)]

    def standard(omega):
        leaves = [factors[path] * leaf for path, leaf in zip(names, omega, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(params), leaves)

    omega = [leaf / factors[path] for path, leaf in named_leaves(params)]
    return omega, lambda omega, *batch: network.mean_loss(standard(omega), *batch), standard


@pytest.mark.parametrize(
    ("kind", "optimizer"),
    [
        ("sgd", transforms.sgd(0.5)),
        ("sgd", transforms.momentum(0.1, 0.9)),
        ("sgd", transforms.nesterov(0.1, 0.9)),
        ("adam", transforms.adam(0.02, eps=0.0)),
        ("adam", transforms.rmsprop(0.002, eps=1e-30)),
    ],
    ids=["sgd", "momentum", "nesterov", "adam", "rmsprop"],
)
def test_ntk_trajectory_is_that_of_the_explicit_network(kind, optimizer):
    with jax.enable_x64(True):
        network, shapes = perceptron(32, use_bias=True, activation="tanh")
        scales = {"weight_scale": WEIGHT_SCALE, "bias_scale": BIAS_SCALE}
        params, _ = ntk(jax.random.key(1), drawn(network, shapes), network, **scales)
        rates = ntk_multipliers(network.anatomy, shapes, kind=kind, **scales)
        params = jax.tree.map(lambda leaf: leaf.astype("float64"), params)
        batch = network.inputs.astype("float64"), network.targets
        omega, cost, standard = explicit(network, params)

        def train(cost, params, transform):
            def step(carry, _):
                params, state = carry
                updates, state = transform.update(jax.grad(cost)(params, *batch), state, params)
                return (optax.apply_updates(params, updates), state), None

            return jax.lax.scan(step, (params, transform.init(params)), length=50)[0][0]

        ours = train(network.mean_loss, params, optax.chain(optimizer, scale_by_leaf(rates)))
        theirs = standard(train(cost, omega, optimizer))
        far = jax.tree.map(lambda one, other: abs(one - other).max(), ours, params)
        assert min(jax.tree.leaves(far)) > 1e-4  # it went somewhere
        jax.tree.map(
            lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5),
            ours,
            theirs,
        )


def test_ntk_weights():
    network, shapes = perceptron(200, use_bias=True)
    params = drawn(network, shapes)
    scaled, _ = ntk(jax.random.key(1), params, network, weight_scale=2.0, bias_scale=0.5)
    for path, leaf in named_leaves(params):
        layer, name = path.split("/")
        if name == "kernel":
            np.testing.assert_array_equal(scaled[layer][name], 2 * leaf)
    # 404 biases: the standard error of their deviation is 0.5 / sqrt(808), four of them 0.07.
    biases = np.concatenate([scaled[layer]["bias"] for layer in scaled])
    assert abs(biases.std() - 0.5) < 0.07
    assert len(np.unique(biases)) == biases.size  # a stream per path
    rates = ntk_multipliers(network.anatomy, shapes)
    np.testing.assert_allclose(
        [rates["dense_0/kernel"], rates["dense_1/kernel"], rates["dense_1/bias"]],
        [1 / D, 1 / 200, 0.01],
    )


def test_convolutions_count_window_and_channels():
    model = REGISTRY["cnn"].make(outputs=3, channels=(8, 16), hidden=(), convolution="stock")
    inputs = jnp.ones((4, 8, 8, 2))
    shapes = param_shapes(model, inputs)

    def apply(params, inputs):
        return model.apply(params, {}, inputs)[0]

    network = make_network(apply, cross_entropy, shapes, inputs, jnp.zeros(4, int))
    rates = ntk_multipliers(network.anatomy, shapes)
    assert (rates["conv_0/kernel"], rates["conv_1/kernel"]) == (
        pytest.approx(1 / 18),
        pytest.approx(1 / 72),
    )
    assert spectral_multipliers(network.anatomy, shapes)["conv_1/kernel"] == 16 / 72
    params, _ = spectral(jax.random.key(0), drawn(network, shapes), network)
    patches = np.asarray(params["conv_1"]["kernel"], np.float64).reshape(72, 16)
    np.testing.assert_allclose(np.linalg.norm(patches, 2), np.sqrt(16 / 72), rtol=1e-5)
    base = param_shapes(
        REGISTRY["cnn"].make(outputs=3, channels=(4, 8), hidden=(), convolution="stock"), inputs
    )
    rates = mup_multipliers(network.anatomy, shapes, base, kind="adam")
    assert rates == {
        "conv_0/bias": 1,
        "conv_0/kernel": 1,
        "conv_1/bias": 1,
        "conv_1/kernel": 0.5,
        "dense_0/bias": 1,
        "dense_0/kernel": 0.5,
    }


def test_what_is_refused():
    network, shapes = perceptron(8)
    params = drawn(network, shapes)
    with pytest.raises(ValueError, match="base_width must be"):
        mup(jax.random.key(0), params, network, base_width=0.0)
    with pytest.raises(ValueError, match="zero_readout must be True or False"):
        mup(jax.random.key(0), params, network, zero_readout="no")
    with pytest.raises(ValueError, match="unknown kind 'adamm'; did you mean 'adam'"):
        mup_multipliers(network.anatomy, shapes, 8, kind="adamm")
    with pytest.raises(ConfigError, match="base must have the leaves"):
        mup_multipliers(network.anatomy, shapes, {"dense_0": {"kernel": params}})
    linear, shapes = perceptron(8, depth=0)
    with pytest.raises(ConfigError, match="no layer after a hidden one"):
        mup(jax.random.key(0), drawn(linear, shapes), linear)


def test_scale_by_leaf():
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": {"c": jnp.ones(2)}}
    transform = scale_by_leaf({"a": 0.5, "b/c": jnp.float32(3.0)})
    updates, state = transform.update(params, transform.init(params))
    assert (updates["a"].dtype, state) == (jnp.bfloat16, optax.EmptyState())
    np.testing.assert_array_equal(updates["b"]["c"], [3.0, 3.0])
    traced = jax.jit(lambda c: scale_by_leaf({"a": 0.5, "b/c": c}).update(params, state)[0])(3.0)
    jax.tree.map(np.testing.assert_array_equal, traced, updates)
    with pytest.raises(ValueError, match=r"without a number: \['b/c'\].*without a leaf: \['d'\]"):
        scale_by_leaf({"a": 1.0, "d": 1.0}).init(params)
    with pytest.raises(ValueError, match=r"multipliers\['a'\] must be .* at least 0"):
        scale_by_leaf({"a": -1.0})
