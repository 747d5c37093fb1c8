"""Gains against integrals by SciPy, and that weights with a gain keep a signal's size."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

from initopt_jax import initializers
from initopt_jax.initializers.activations import ACTIVATIONS, find_activation, normal_mean
from initopt_jax.initializers.gains import gain, squared_gain
from initopt_jax.models import mlp

FAMILIES = {"lecun": (400, 1), "glorot": (325, 1), "he": (400, 2)}  # fan and squared gain
SHAPE = (400, 250)


def model_activation(name):
    return mlp.ACTIVATIONS["identity" if name == "linear" else name]


def test_names_and_functions_are_those_of_the_models():
    assert set(ACTIVATIONS) == {"linear", *mlp.ACTIVATIONS}
    points = np.linspace(-4, 4, 801) + 0.001  # no kink among them
    for name, activation in ACTIVATIONS.items():
        theirs = model_activation(name)(jnp.asarray(points, jnp.float32))
        np.testing.assert_allclose(activation.value(points), theirs, atol=2e-6, err_msg=name)
        slopes = (activation.value(points + 1e-6) - activation.value(points - 1e-6)) / 2e-6
        np.testing.assert_allclose(activation.slope(points), slopes, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gain_is_the_integral(name):
    def weighted(z):
        return float(ACTIVATIONS[name].value(np.array(z))) ** 2 * math.exp(-z * z / 2)

    parts = [integrate.quad(weighted, *ends, epsabs=1e-13, epsrel=1e-13)[0]
             for ends in [(-12, -1), (-1, 0), (0, 1), (1, 12)]]  # fmt: skip
    assert gain(name) == pytest.approx((sum(parts) / math.sqrt(2 * math.pi)) ** -0.5, rel=1e-11)


@pytest.mark.parametrize(
    ("name", "square"),
    [
        ("linear", 1),
        ("relu", 0.5),
        ("leaky_relu", (1 + 0.01**2) / 2),
        ("sin", (1 - math.exp(-2)) / 2),
        # int_0^1 z^2 phi + P(z > 1), twice.
        ("hard_tanh", 1 - 2 * math.exp(-0.5) / math.sqrt(2 * math.pi)),
        # 1/2 + E[(e^z - 1)^2; z < 0], with E[e^{a z}; z < 0] = e^{a^2 / 2} Phi(-a).
        ("elu", 0.5 + math.exp(2) * special.ndtr(-2) - 2 * math.exp(0.5) * special.ndtr(-1) + 0.5),
        ("selu", 1),  # Klambauer et al. (2017): mean 0 and variance 1 are a fixed point
    ],
)
def test_gain_in_closed_form(name, square):
    assert gain(name) == pytest.approx(square**-0.5, rel=1e-12)


def test_unknown_activation_is_named():
    with pytest.raises(ValueError, match="unknown activation 'rleu'; did you mean 'relu'"):
        gain("rleu")


@pytest.mark.parametrize(("mean", "std"), [(0, 1e-3), (0.3, 1), (-2, 0.5), (0, 100)])
def test_mean_over_a_shifted_normal(mean, std):
    """Moments are exact at every scale, and a tanh however narrow beside the normal."""
    spread = np.array(std)
    assert normal_mean(lambda x: x**2, spread, mean) == pytest.approx(mean**2 + std**2, rel=1e-12)
    tanh = float(normal_mean(lambda x: np.tanh(x) ** 2, spread, mean))
    points = [(k - mean) / std for k in (-3, -1, 0, 1, 3)]
    reference, _ = integrate.quad(
        lambda z: math.tanh(mean + std * z) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi),
        *(-9, 9),
        points=[point for point in points if abs(point) < 9],
        limit=400,
        epsabs=1e-14,
    )
    assert tanh == pytest.approx(reference, rel=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_defaults_are_the_papers_formula_bit_by_bit(family):
    fan, square = FAMILIES[family]
    std, key = math.sqrt(square / fan), jax.random.key(1)
    plain = jnp.float32(std) * jax.random.normal(key, SHAPE)
    drawn = initializers.REGISTRY[f"{family}_normal"].draw(key, SHAPE)
    np.testing.assert_array_equal(drawn, plain)
    plain = jnp.float32(math.sqrt(3) * std) * jax.random.uniform(key, SHAPE, minval=-1)
    drawn = initializers.REGISTRY[f"{family}_uniform"].draw(key, SHAPE)
    np.testing.assert_array_equal(drawn, plain)


@pytest.mark.parametrize("name", [f"{f}_{d}" for f in FAMILIES for d in ("normal", "uniform")])
def test_families_are_variance_scaling(name):
    entry, general = initializers.REGISTRY[name], initializers.REGISTRY["variance_scaling"]
    options = {"mode": "fan_out", "activation": "tanh", "gain": 0.5}
    distribution = name.partition("_")[2]
    np.testing.assert_array_equal(
        entry.draw(jax.random.key(2), SHAPE, **options),
        general.draw(jax.random.key(2), SHAPE, distribution=distribution, **options),
    )
    stated = entry.distribution(SHAPE, **options)
    assert stated == general.distribution(SHAPE, distribution=distribution, **options)
    assert stated.kind == distribution
    assert stated.std == pytest.approx(0.5 * gain("tanh") / math.sqrt(250))


@pytest.mark.parametrize(("mode", "fan"), [("fan_in", 36), ("fan_out", 72), ("fan_avg", 54)])
@pytest.mark.parametrize("distribution", ["normal", "uniform", "truncated_normal"])
def test_modes_of_a_convolution(mode, fan, distribution):
    entry = initializers.REGISTRY["variance_scaling"]
    stated = entry.distribution((3, 3, 4, 8), mode=mode, distribution=distribution)
    assert (stated.kind, stated.std) == (distribution, pytest.approx(fan**-0.5))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_one_layer_keeps_the_size(activation):
    """Given h = phi(z) [B, n], |h W|^2 / B m is a sum of squares of normals: E = tr C / n gain^2
    with C = h^T h / B, and a relative variance of 2 tr C^2 / (m (tr C)^2).
    """
    z = np.random.default_rng(0).normal(size=(4000, 400))
    h = find_activation(activation).value(z)
    weights = initializers.variance_scaling(jax.random.key(3), SHAPE, activation=activation)
    out = h @ np.asarray(weights, np.float64)
    c = h.T @ h / len(h)
    error = math.sqrt(2 * np.sum(c * c) / np.trace(c) ** 2 / 250)
    # The trace itself is a mean over 4000 x 400 squares.
    error += np.std(h**2) / np.mean(h**2) / math.sqrt(h.size)
    assert abs(np.mean(out**2) - 1) < 5 * error


def growth(activation, name, networks=256, layers=50, width=64, **options):
    """ln |h_L|^2 / |h_0|^2 of networks h_l = phi(W_l h_{l-1}), one input each."""
    draw = initializers.REGISTRY[name].draw
    keys = jax.random.split(jax.random.key(4), (networks, layers))
    stack = jax.jit(jax.vmap(jax.vmap(lambda key: draw(key, (width, width), **options))))(keys)
    h = np.ones((networks, 1, width))
    for layer in range(layers):
        h = find_activation(activation).value(h @ np.asarray(stack[:, layer], np.float64))
    return np.log(np.sum(h**2, axis=(1, 2)) / width)


# Sussillo and Abbott (2014): the logarithm of |h|^2 takes steps of mean -1 / N and
# variance 2 / N where layers are linear; for rectifiers -2.4 / (N - 2.4) and 5 / (N - 4).
@pytest.mark.parametrize(
    ("activation", "name", "step", "variance"),
    [
        ("linear", "lecun_normal", -1 / 64, 2 / 64),
        ("linear", "lecun_uniform", -1 / 64, 2 / 64),
        ("relu", "he_normal", -2.4 / 61.6, 5 / 60),
        ("relu", "he_uniform", -2.4 / 61.6, 5 / 60),
    ],
)
def test_fifty_layers_keep_the_size_but_for_the_drift_of_finite_width(
    activation, name, step, variance
):
    logs = growth(activation, name)
    assert abs(logs.mean() - 50 * step) < 5 * math.sqrt(50 * variance / len(logs))
    assert logs.var() == pytest.approx(50 * variance, rel=5 * math.sqrt(2 / len(logs)))


@pytest.mark.parametrize("activation", ["hard_tanh", "selu", "sin", "softsign", "tanh"])
def test_fifty_layers_return_to_unit_size(activation):
    """Size 1 is a stable fixed point of these: two inputs, too small and too large, come to it.

    At width 400 a layer adds a relative variance of at most (E phi^4 / (E phi^2)^2 - 1) / 400; the
    map of q shrinks deviations by its slope, so that the sum stays below 1 / (1 - slope^2) of it.
    """
    function = find_activation(activation).value
    z = np.random.default_rng(1).normal(size=(2, 400)) * np.array([[0.5], [2.0]])
    keys = jax.random.split(jax.random.key(5), 50)
    draw = jax.jit(lambda key: initializers.lecun_normal(key, (400, 400), activation=activation))
    sizes = []
    for key in keys:
        z = function(z) @ np.asarray(draw(key), np.float64)
        sizes.append(np.mean(z**2, axis=1))
    unit, square = np.array(1.0), squared_gain(activation)
    slope = square * normal_mean(lambda x: function(x) ** 2 * (x**2 - 1) / 2, unit)
    kurtosis = square**2 * normal_mean(lambda x: function(x) ** 4, unit)
    # Two inputs, the last 20 layers: a mean of correlated sizes is no less certain than one.
    error = math.sqrt((kurtosis - 1 + 2) / 400 / (1 - slope**2))
    assert slope < 1
    assert np.abs(np.mean(sizes[-20:], axis=0) - 1).max() < 5 * error
