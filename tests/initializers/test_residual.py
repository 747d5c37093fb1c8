"""Methods that start residual networks: factors from the papers, and what they contract."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax.errors import ConfigError
from initopt_jax.initializers import default_rules, initialize
from initopt_jax.initializers.model_level import (
    MODEL_LEVEL,
    fixup,
    gpt2,
    layer_scale,
    leaves_of,
    rezero,
    stable_resnet,
    with_leaves,
    zero_gamma,
)
from tests.initializers.residual_models import (
    Encoder,
    Perceptron,
    Plain,
    Residual,
    ResNet,
    Stack,
    Transformer,
    build,
    check_contract,
)

METHODS = ("fixup", "gpt2", "layer_scale", "rezero", "stable_resnet", "zero_gamma")
VECTORS = jax.random.normal(jax.random.key(2), (4, 5))
PICTURES = jax.random.normal(jax.random.key(3), (2, 4, 4, 3))
WORDS = jnp.arange(6).reshape(2, 3)


def without_biases(params):
    biases = {path: 0 * leaf for path, leaf in leaves_of(params).items() if path.endswith("bias")}
    return with_leaves(params, biases)


def drawn(key, params, network, name="he_normal"):
    return initialize(key, params, default_rules(name), network.anatomy.layouts)


@pytest.mark.parametrize("name", METHODS)
def test_refuses_a_network_without_branches(name):
    network, params = build(Plain(), VECTORS[:, :4])
    with pytest.raises(ConfigError, match=f"{name} is a method for residual networks"):
        MODEL_LEVEL[name].refine(jax.random.key(0), params, network)


@pytest.mark.parametrize("name", METHODS)
def test_keeps_half_precision(name):
    ends = {"rezero": "scalar", "layer_scale": "channels", "zero_gamma": "norm"}
    network, params = build(Residual(2, end=ends.get(name, "plain")), VECTORS)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    refined, _ = MODEL_LEVEL[name].refine(jax.random.key(0), half, network)
    assert {leaf.dtype for leaf in jax.tree.leaves(refined)} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(
    ("layers", "depth", "looped"), [(2, 3, False), (3, 2, False), (3, 5, True)]
)
def test_fixup(layers, depth, looped):
    """Section 3: L^(-1 / (2 m - 2)); a one-layer branch has no factor."""
    network, params = build(Residual(depth, layers, looped=looped), VECTORS)
    blocks = ["blocks"] if looped else [f"block_{number}" for number in range(depth)]
    scaled = [f"{block}/dense_{i}/kernel" for block in blocks for i in range(layers - 1)]
    last = [f"{block}/dense_{layers - 1}/{part}" for block in blocks for part in ("kernel", "bias")]
    zeroed = [*last, "head/kernel", "head/bias"]
    before, after, info = check_contract(fixup, network, params, [*scaled, *zeroed])
    factor = float(depth) ** (-1.0 / (2.0 * layers - 2.0))
    for path in scaled:
        np.testing.assert_allclose(after[path], factor * np.float64(before[path]), rtol=1e-6)
        assert abs(info[f"factor/{path}"] - factor) < 1e-6
    assert all(not after[path].any() for path in zeroed)


def test_fixup_of_one_layer_per_branch():
    network, params = build(Residual(2, layers=1), VECTORS)
    _, after, _ = check_contract(
        fixup,
        network,
        params,
        [f"{layer}/{part}" for layer in ("block_0/dense_0", "block_1/dense_0", "head")
         for part in ("kernel", "bias")],
    )  # fmt: skip
    assert not after["head/kernel"].any()


def test_fixup_of_convolutions_leaves_stem_and_shortcut():
    network, params = build(ResNet(), PICTURES)
    blocks = ("block_0", "block_1")
    scaled = [f"{block}/conv_1/kernel" for block in blocks]
    zeroed = [f"{block}/{leaf}" for block in blocks for leaf in ("conv_2/kernel", "norm_2/bias")]
    before, after, _ = check_contract(
        fixup, network, params, [*scaled, *zeroed, "head/kernel", "head/bias"]
    )
    for path in scaled:
        np.testing.assert_allclose(after[path], 2**-0.5 * np.float64(before[path]), rtol=1e-6)


class Positions(nn.Module):
    """A head beside a table of positions, both of the model itself."""

    @nn.compact
    def __call__(self, inputs):
        values = inputs + self.param("positions", nn.initializers.ones, (1, 5))
        values = values + nn.Dense(5, name="second")(nn.relu(nn.Dense(5, name="first")(values)))
        head = self.param("head", nn.initializers.ones, (5, 3))
        return values @ head + self.param("offset", nn.initializers.ones, (1, 3))


def test_fixup_takes_nothing_before_the_head_for_its_bias():
    network, params = build(Positions(), VECTORS)
    zeroed = ["second/kernel", "second/bias", "head", "offset"]
    check_contract(fixup, network, params, zeroed)  # of one branch, whose factor is 1


def test_fixup_of_a_network_without_a_head():
    network, params = build(Stack(), jnp.ones((2, 8)), jnp.zeros((2, 8)))
    check_contract(fixup, network, params, ["dense/kernel", "dense/bias"])


def changes_of_function(refine, depths, steps, rate=0.02):
    """How far outputs move in so many steps, and how fast after them per rate, at each depth."""
    changes, speeds = [], []
    inputs = jax.random.normal(jax.random.key(4), (32, 16))
    targets = jax.random.normal(jax.random.key(5), (32, 3))
    for depth in depths:
        network, params = build(Residual(depth, looped=True), inputs, targets)
        params = drawn(jax.random.key(6), params, network)
        params = refine(jax.random.key(7), params, network)[0] if refine else params
        begin = network.apply(params, inputs)

        @jax.jit
        def step(params, network=network):
            grads = jax.grad(network.mean_loss)(params, inputs, targets)
            outputs, speed = jax.jvp(lambda p: network.apply(p, inputs), (params,), (grads,))
            return jax.tree.map(lambda p, g: p - rate * g, params, grads), outputs, speed

        for _ in range(steps):
            params, *_ = step(params)
        _, outputs, speed = step(params)
        changes.append(float(jnp.sqrt(jnp.square(outputs - begin).mean())))
        speeds.append(float(jnp.sqrt(jnp.square(speed).mean())))
    return np.array(changes), np.array(speeds)


def test_fixup_updates_the_function_alike_at_every_depth():
    """Theorem of section 3: each step changes the function by the rate times Theta(1).

    The head starts at 0, so the first step moves it alone; four steps move the branches too.
    """
    changes, speeds = changes_of_function(fixup, (4, 16, 64), steps=4)
    assert changes.max() / changes.min() < 1.5, changes
    assert speeds.max() / speeds.min() < 1.5, speeds
    _, plain = changes_of_function(None, (4, 16), steps=0)
    assert plain[0] > 100 * speeds.max(), plain
    assert plain[1] > 1e6 * plain[0], plain


ENDS = [
    (rezero, "scalar", "gate"),
    (layer_scale, "channels", "scale"),
    (zero_gamma, "norm", "norm/scale"),
]


@pytest.mark.parametrize("looped", [False, True])
@pytest.mark.parametrize(("method", "end", "leaf"), ENDS)
def test_blocks_start_as_the_identity(method, end, leaf, looped):
    network, params = build(Residual(3, end=end, looped=looped), VECTORS)
    params = without_biases(params)
    blocks = ["blocks"] if looped else [f"block_{number}" for number in range(3)]
    touched = [f"{block}/{leaf}" for block in blocks]
    _, after, info = check_contract(method, network, params, touched)
    start = 0.1 if method is layer_scale else 0.0
    assert all((after[path] == np.float32(start)).all() for path in touched)
    assert info["depth"] == 3

    def outputs(params, **options):
        return network.apply(method(jax.random.key(0), params, network, **options)[0], VECTORS)

    shortcut = VECTORS @ params["stem"]["kernel"] @ params["head"]["kernel"]
    if method is layer_scale:
        errors = [outputs(params, start=jnp.float32(eps)) - shortcut for eps in (1e-2, 1e-3)]
        ratio = float(jnp.abs(errors[0]).max() / jnp.abs(errors[1]).max())
        assert 9 < ratio < 11.5, ratio
    else:
        np.testing.assert_allclose(outputs(params), shortcut, rtol=1e-5, atol=1e-6)
        assert jnp.abs(network.apply(params, VECTORS) - shortcut).max() > 0.1


@pytest.mark.parametrize("method", [rezero, layer_scale, zero_gamma])
def test_refuses_branches_without_the_scale(method):
    network, params = build(Residual(2), VECTORS)
    with pytest.raises(ConfigError, match=r"'block_0/dense_1/kernel' has none"):
        method(jax.random.key(0), params, network)


def test_a_scale_before_the_last_kernel_does_not_count():
    """A pre-normalized block has none at its end; at 0 its inputs would vanish."""
    network, params = build(Transformer(), WORDS)
    for method in (layer_scale, zero_gamma):
        with pytest.raises(ConfigError, match="'attention_0/out/kernel' has none"):
            method(jax.random.key(0), params, network)


@pytest.mark.parametrize(("method", "leaf"), [(layer_scale, "scale"), (zero_gamma, "norm/scale")])
def test_normalization_and_layer_scale_are_told_apart(method, leaf):
    network, params = build(Residual(2, end="norm_channels"), VECTORS)
    check_contract(method, network, params, [f"block_{number}/{leaf}" for number in range(2)])


def test_scalars_are_not_scales_of_channels():
    network, params = build(Residual(2, end="scalar"), VECTORS)
    with pytest.raises(ConfigError, match="a scale per channel"):
        layer_scale(jax.random.key(0), params, network)
    network, params = build(Residual(2, end="channels"), VECTORS)
    with pytest.raises(ConfigError, match="a scalar per branch"):
        rezero(jax.random.key(0), params, network)


def test_zero_gamma_of_convolutions():
    network, params = build(ResNet(), PICTURES)
    check_contract(zero_gamma, network, params, ["block_0/norm_2/scale", "block_1/norm_2/scale"])


@pytest.mark.parametrize(
    ("depth", "start"), [(18, 0.1), (19, 1e-5), (24, 1e-5), (25, 1e-6), (96, 1e-6)]
)
def test_layer_scale_by_depth(depth, start):
    network, params = build(Residual(depth, end="channels", looped=True), VECTORS)
    params, info = layer_scale(jax.random.key(0), params, network)
    assert info["start"] == np.float32(start)
    assert (params["blocks"]["scale"] == np.float32(start)).all()


def test_layer_scale_counts_layers_of_a_transformer_not_branches():
    network, params = build(Encoder(18, looped=True, scaled=True), WORDS)
    assert network.anatomy.depth == 36
    _, info = layer_scale(jax.random.key(0), params, network)
    assert (info["depth"], info["start"]) == (18, np.float32(0.1))


def test_rezero_may_start_at_a_small_constant():
    network, params = build(Residual(2, end="scalar"), VECTORS)
    started = jax.jit(lambda start: rezero(jax.random.key(0), params, network, start=start)[0])
    assert started(jnp.float32(0.25))["block_1"]["gate"] == 0.25


@pytest.mark.parametrize("looped", [False, True])
@pytest.mark.parametrize("end", ["plain", "scalar", "channels", "norm", "norm_channels"])
def test_stable_resnet_multiplies_the_branch(end, looped):
    network, params = build(Residual(4, end=end, looped=looped), VECTORS)
    after, _ = stable_resnet(jax.random.key(0), params, network)
    inputs = jax.random.normal(jax.random.key(1), (4, 16))

    def branch(params):
        own = jax.tree.map(lambda leaf: leaf[1], params["blocks"]) if looped else params["block_1"]
        return Perceptron(end=end).apply({"params": own}, inputs)[0] - inputs

    np.testing.assert_allclose(branch(after), branch(params) / 2, rtol=1e-3, atol=1e-5)


def test_stable_resnet_decreasing():
    network, params = build(Residual(3), VECTORS)
    touched = [
        f"block_{number}/dense_1/{leaf}" for number in range(3) for leaf in ("kernel", "bias")
    ]

    def method(key, params, network):
        return stable_resnet(key, params, network, decreasing=True)

    before, after, info = check_contract(method, network, params, touched)
    for k in (1, 2, 3):
        factor = 1 / (np.sqrt(np.float64(k)) * np.log(k + 1.0))
        path = f"block_{k - 1}/dense_1/kernel"
        np.testing.assert_allclose(after[path], factor * np.float64(before[path]), rtol=1e-6)
        assert abs(info[f"factor/{path}"] - factor) < 1e-6
    network, params = build(Residual(3, looped=True), VECTORS)
    with pytest.raises(ConfigError, match="stands for 3 layers run by a loop"):
        method(jax.random.key(0), params, network)


def square_norms(refine, depth, layers, keys, *, looped=True, width=32):
    """Mean square of what the blocks put out over that of what they get, one number per key."""
    inputs = jax.random.normal(jax.random.key(8), (16, width))
    module = Residual(depth, layers, width=width, outputs=width, looped=looped)
    network, params = build(module, inputs)
    ends = {"stem/kernel": jnp.eye(width), "head/kernel": jnp.eye(width)}

    def one(key):
        start = drawn(key, params, network)
        start = refine(key, start, network)[0] if refine else start
        values = network.apply(with_leaves(start, ends), inputs)
        return jnp.square(values).mean() / jnp.square(inputs).mean()

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(9), keys)), np.float64)


def close_to(measured, expected):
    """Five standard errors of the mean, from the sample itself."""
    return abs(measured.mean() - expected) < 5 * measured.std() / np.sqrt(len(measured))


def test_stable_resnet_is_bounded_where_he_explodes():
    """A branch of two He layers around a rectifier doubles the mean square of its inputs.

    The first layer's sums have variance 2 E[x^2], of which the rectifier keeps half, and the second
    doubles: x grows by 1 + 2 lambda^2 per block, in the mean over weights exactly.
    """
    for depth in (4, 64):
        measured = square_norms(stable_resnet, depth, 2, 64)
        assert close_to(measured, (1 + 2 / depth) ** depth)
        assert measured.mean() < 1.5 * np.exp(2)
    assert square_norms(None, 4, 2, 64).mean() > 40  # 3^4 = 81
    assert square_norms(None, 64, 2, 4).mean() > 1e20  # 3^64


def test_stable_resnet_decreasing_is_bounded():
    def method(key, params, network):
        return stable_resnet(key, params, network, decreasing=True)

    factors = 1 / (np.arange(1.0, 13) * np.log(np.arange(2.0, 14)) ** 2)
    measured = square_norms(method, 12, 2, 256, looped=False)
    assert close_to(measured, np.prod(1 + 2 * factors))


def test_gpt2_is_bounded_where_equal_weights_explode():
    """Branches of one layer with weights of variance 1 / width: 1 + 1 / N per block, against 2."""

    def method(key, params, network):
        return gpt2(key, params, network, stddev=32**-0.5)

    for depth in (4, 64):
        measured = square_norms(method, depth, 1, 64)
        assert close_to(measured, (1 + 1 / depth) ** depth)
        assert measured.mean() < 1.5 * np.e
    assert square_norms(None, 64, 1, 4).mean() > 1e12  # He: 3^64


def test_gpt2():
    """Section 2.3: 1 / sqrt(N) with N = 4 branches; tolerance: 5 standard errors of a variance."""
    network, params = build(Transformer(), WORDS)
    kernels = [kernel.path for kernel in network.anatomy.kernels]
    tables = ["words/embedding", "places/embedding"]
    _, after, info = check_contract(gpt2, network, params, [*kernels, *tables], draws=True)
    ends = [f"attention_{i}/out/kernel" for i in range(2)] + [f"down_{i}/kernel" for i in range(2)]
    assert info["factor"] == 0.5
    for path in (*kernels, *tables):
        weights = np.float64(after[path]) / (0.02 / (2 if path in ends else 1))
        assert abs(weights.var() - 1) < 5 * np.sqrt(2 / weights.size), path
        assert abs(weights.mean()) < 5 / np.sqrt(weights.size), path


def test_gpt2_of_a_traced_deviation():
    network, params = build(Residual(2), VECTORS)
    drawn_with = jax.jit(lambda std: gpt2(jax.random.key(0), params, network, stddev=std)[0])
    one, two = (drawn_with(jnp.float32(std))["stem"]["kernel"] for std in (0.1, 0.2))
    np.testing.assert_allclose(2 * one, two, rtol=1e-6)
