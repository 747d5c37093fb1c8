"""What the recorder sees, against explicit NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax import models
from initopt_jax.initializers.activations import ACTIVATIONS
from initopt_jax.models.convolution import as_stock
from initopt_jax.models.mlp import ACTIVATIONS as LAYERS
from initopt_jax.networks.recorder import TAP, record

CLOSE = {"rtol": 1e-12, "atol": 1e-13}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def test_a_perceptron():
    params = {"a": drawn(0, 4, 5), "b": drawn(1, 5), "c": drawn(2, 5, 3)}
    x = drawn(3, 7, 4)

    def apply(params, x):
        return jnp.tanh(x @ params["a"] + params["b"][None]) @ params["c"]

    outputs, found, _ = record(apply, params, x)
    hidden = x @ params["a"] + params["b"]
    np.testing.assert_allclose(found["a"].preactivations, hidden[:, None], **CLOSE)
    np.testing.assert_allclose(found["a"].activations, np.tanh(hidden)[:, None], **CLOSE)
    np.testing.assert_allclose(found["a"].slopes, 1 - np.tanh(hidden)[:, None] ** 2, **CLOSE)
    np.testing.assert_allclose(outputs, np.tanh(hidden) @ params["c"], **CLOSE)
    np.testing.assert_allclose(found["c"].activations[:, 0], outputs, **CLOSE)
    assert (np.asarray(found["c"].slopes) == 1).all()


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_slopes_of_every_activation(name):
    """Also at 0, where that of relu is 0 and half of its inputs may lie."""
    x = np.concatenate([np.linspace(-3.1, 3, 40), [1e-9, -1e-9]])[:, None]
    apply = lambda params, x: LAYERS[name](x @ params["w"])  # noqa: E731
    _, found, _ = record(apply, {"w": np.ones((1, 1))}, x)
    known = ACTIVATIONS[name]
    np.testing.assert_allclose(found["w"].preactivations[:, 0], x, **CLOSE)
    np.testing.assert_allclose(found["w"].activations[:, 0], known.value(x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["w"].slopes[:, 0], known.slope(x), rtol=1e-7, atol=1e-9)


def test_relu_has_no_slope_at_zero():
    apply = lambda params, x: jax.nn.relu(x @ params["w"]) @ params["v"]  # noqa: E731
    params = {"w": np.zeros((3, 2)), "v": np.ones((2, 2))}
    _, found, _ = record(apply, params, np.ones((4, 3)))
    assert (np.asarray(found["w"].slopes) == 0).all()


def test_normalization_and_scaling():
    """Constants scale the pre-activation, a bias ends that; a norm's statistics count as fixed."""
    params = {"w": drawn(0, 4, 6), "b": drawn(1, 6), "scale": drawn(2, 6), "v": drawn(3, 6, 2)}
    x = drawn(4, 5, 4)

    def apply(params, x):
        h = 0.5 * (x @ params["w"]) + params["b"][None]
        centred = h - h.mean(axis=1, keepdims=True)
        normed = centred / jnp.sqrt((centred**2).mean(axis=1, keepdims=True))
        return jnp.tanh(normed * params["scale"][None]) @ params["v"]

    _, found, stages = record(apply, params, x)
    h = 0.5 * x @ params["w"] + params["b"]
    std = h.std(axis=1, keepdims=True)
    after = np.tanh((h - h.mean(axis=1, keepdims=True)) / std * params["scale"])
    np.testing.assert_allclose(found["w"].preactivations[:, 0], h, **CLOSE)
    np.testing.assert_allclose(found["w"].activations[:, 0], after, **CLOSE)
    slopes = (1 - after**2) * params["scale"] / std
    np.testing.assert_allclose(found["w"].slopes[:, 0], slopes, rtol=1e-10, atol=1e-12)
    assert stages["w"] == 2


def test_a_chain_ends_at_the_stream_of_a_residual_network():
    params = {"in": drawn(0, 4, 4), "a": drawn(1, 4, 4), "b": drawn(2, 4, 4), "out": drawn(3, 4, 2)}
    x = drawn(4, 5, 4)

    def apply(params, x):
        stream = x @ params["in"]
        branch = jax.nn.relu(stream @ params["a"]) @ params["b"]
        return jnp.tanh(stream + branch) @ params["out"]

    _, found, _ = record(apply, params, x)
    stream = x @ params["in"]
    branch = np.maximum(stream @ params["a"], 0) @ params["b"]
    np.testing.assert_allclose(found["in"].activations[:, 0], stream, **CLOSE)
    np.testing.assert_allclose(found["b"].activations[:, 0], branch, **CLOSE)
    assert (np.asarray(found["b"].slopes) == 1).all()


def test_a_recurrent_cell_at_every_step_and_its_gradient():
    params = {"u": drawn(0, 3, 4), "w": drawn(1, 4, 4) / 2, "b": drawn(2, 4), "v": drawn(3, 4, 2)}
    x, steps = drawn(4, 5, 6, 3), 6

    def apply(params, x):
        seen = x.swapaxes(0, 1) @ params["u"] + params["b"][None, None]

        def step(state, seen):
            state = jnp.tanh(seen + state @ params["w"])
            return state, None

        return jax.lax.scan(step, jnp.zeros((x.shape[0], 4)), seen)[0] @ params["v"]

    def cost(taps):
        outputs, found, stages = record(apply, params, x, taps=taps)
        assert stages["w"] == 1
        return (outputs**2).sum() / 2, found

    taps = {path: jnp.zeros(TAP) for path in params}
    squares, found = jax.grad(cost, has_aux=True)(taps)

    state, sums = np.zeros((5, 4)), []
    for time in range(steps):
        sums.append(x[:, time] @ params["u"] + params["b"] + state @ params["w"])
        state = np.tanh(sums[-1])
    gradient, square = (state @ params["v"]) @ params["v"].T, 0.0
    for before in sums[::-1]:
        gradient = gradient * (1 - np.tanh(before) ** 2)
        square += (gradient**2).sum()
        gradient = gradient @ params["w"].T
    np.testing.assert_allclose(found["w"].preactivations, np.stack(sums, axis=1), **CLOSE)
    np.testing.assert_allclose(found["w"].slopes, 1 - np.tanh(np.stack(sums, 1)) ** 2, **CLOSE)
    np.testing.assert_allclose(squares["w"][1, 1], square, rtol=1e-11)
    np.testing.assert_allclose(squares["w"][1, 1], squares["u"][1, 1], rtol=1e-11)


def test_a_stack_of_layers():
    params, x = {"w": drawn(0, 3, 4, 4)}, drawn(1, 5, 4)

    def apply(params, x):
        return jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, params["w"])[0]

    _, found, _ = record(apply, params, x)
    values = x
    for layer in range(3):
        before = values @ params["w"][layer]
        values = np.tanh(before)
        np.testing.assert_allclose(found["w"].preactivations[:, layer], before, **CLOSE)
        np.testing.assert_allclose(found["w"].activations[:, layer], values, **CLOSE)


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_a_convolution_before_and_after_pooling(pooling):
    """Max pooling before a rising activation comes first in the model: its pre-activation too."""
    model = models.REGISTRY["cnn"].make(
        outputs=3, channels=(2,), hidden=(), pooling=pooling, dtype="float64"
    )
    x = drawn(0, 2, 6, 6, 1)
    params, state = model.init(jax.random.key(0), jnp.asarray(x))
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)

    def apply(params, x):
        with as_stock():
            return model.apply(params, state, x)[0]

    _, found, _ = record(apply, params, x)
    kernel, bias = (np.asarray(params["conv_0"][name]) for name in ("kernel", "bias"))
    padded = np.pad(x[..., 0], ((0, 0), (1, 1), (1, 1)))
    sums = sum(
        padded[:, i : i + 6, j : j + 6, None] * kernel[i, j, 0] for i in range(3) for j in range(3)
    )
    if pooling == "max":
        sums = sums.reshape(2, 3, 2, 3, 2, 2).max(axis=(2, 4))
    before = (sums + bias).transpose(0, 1, 2, 3).reshape(2, -1, 2)
    np.testing.assert_allclose(found["conv_0/kernel"].preactivations, before, **CLOSE)
    np.testing.assert_allclose(found["conv_0/kernel"].slopes, before > 0, **CLOSE)


def test_what_is_never_met_is_left_out():
    def apply(params, x):
        product = params["a"] @ params["b"]  # of weights alone
        return x @ params["c"] + 0 * product.sum()

    params = {name: np.ones((3, 3)) for name in "abc"}
    assert set(record(apply, params, np.ones((2, 3)))[1]) == {"c"}
