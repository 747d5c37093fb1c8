"""Two scalings by depth: sines, and the random walk of a signal's logarithm."""

import math

import jax
import numpy as np
import pytest
from scipy import special, stats

from initopt_jax.audits import audit_leaf
from initopt_jax.initializers import random_walk, siren
from initopt_jax.initializers.activations import find_activation
from initopt_jax.initializers.random_walk import random_walk_distribution
from initopt_jax.initializers.siren import siren_distribution
from initopt_jax.networks.fans import fans

SHAPE, SQUARE = (400, 250), (400, 400)


@pytest.mark.parametrize(
    ("options", "bound"),
    [
        ({}, math.sqrt(6 / 400) / 30),
        ({"omega": 1.0}, math.sqrt(6 / 400)),
        ({"omega": 2.0, "gain": 3.0}, 1.5 * math.sqrt(6 / 400)),
        ({"first": True}, 1 / 400),
        ({"first": True, "omega": 5.0, "gain": 30.0}, 30 / 400),
    ],
)
def test_siren_bounds(options, bound):
    weights = np.asarray(siren(jax.random.key(0), SHAPE, **options), np.float64)
    assert stats.kstest(weights.ravel(), stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-6
    assert siren_distribution(SHAPE, **options).high == pytest.approx(bound)


def test_siren_flag():
    with pytest.raises(ValueError, match="first must be True or False"):
        siren(jax.random.key(0), SHAPE, first="yes")  # type: ignore[arg-type]


def test_siren_keeps_its_distributions():
    """Arcsine inputs become standard normals; with depth the variance is 0.797 of that.

    A pre-activation is a sum of 400 terms; over 200 inputs and 400 units its variance has a
    relative standard error of at most sqrt(2 / 400), the weights being shared by the inputs.
    """
    omega = 30.0
    draw = jax.jit(lambda key: siren(key, SQUARE, omega=omega))
    keys = jax.random.split(jax.random.key(1), 20)
    h = np.sin(np.random.default_rng(0).uniform(-30, 30, (200, 400)))  # arcsine distributed
    error = 5 * math.sqrt(2 / 400)
    for layer, key in enumerate(keys):
        z = omega * (h @ np.asarray(draw(key), np.float64))
        if layer == 0:
            assert z.var() == pytest.approx(1, rel=error)
            assert np.mean(z**4) / z.var() ** 2 == pytest.approx(3, rel=error)
        h = np.sin(z)
    q = 0.797
    assert q == pytest.approx(1 - math.exp(-2 * q), abs=5e-4)
    assert z.var() == pytest.approx(q, rel=error)


@pytest.mark.parametrize("n", [3, 6, 64, 400])
def test_random_walk_constants(n):
    """E ln(chi^2_n / n) = digamma(n/2) - ln(n/2) = -1/n + O(1/n^2), taken back by ln g^2 = 1/n."""
    linear, relu = (random_walk_distribution((n, 5), activation=a).std for a in ("linear", "relu"))
    drift = math.log(n * linear**2) + special.digamma(n / 2) - math.log(n / 2)
    assert abs(drift) < 0.5 / n**2
    assert math.log(n * relu**2 / 2) == pytest.approx(2.4 / (max(n, 6) - 2.4))
    assert random_walk_distribution((n, 5), gain=2.0).std == pytest.approx(2 * linear)


@pytest.mark.parametrize(("activation", "variance"), [("linear", 2 / 64), ("relu", 5 / 60)])
def test_fifty_layers_do_not_drift(activation, variance):
    """The logarithm's mean stays at 0: LeCun's and He's would be off by 0.8 and 1.9.

    The variances are the paper's; the mean of 256 networks is held to five standard errors.
    """
    networks, layers, width = 256, 50, 64
    keys = jax.random.split(jax.random.key(2), (networks, layers))

    def draw(key):
        return random_walk(key, (width, width), activation=activation)

    stack = jax.jit(jax.vmap(jax.vmap(draw)))(keys)
    h = np.ones((networks, 1, width))
    for layer in range(layers):
        h = find_activation(activation).value(h @ np.asarray(stack[:, layer], np.float64))
    logs = np.log(np.sum(h**2, axis=(1, 2)) / width)
    assert abs(logs.mean()) < 5 * math.sqrt(layers * variance / networks)


def test_audit_tells_them_from_others():
    def reason(weights, distribution):
        return audit_leaf("kernel", "*", np.asarray(weights), distribution, fans(SHAPE)).reason

    key = jax.random.key(3)
    assert reason(siren(key, SHAPE, first=True), siren_distribution(SHAPE)) != ""
    assert reason(siren(key, SHAPE, omega=1.0), siren_distribution(SHAPE)) != ""
    assert reason(random_walk(key, SHAPE), random_walk_distribution(SHAPE, activation="relu")) != ""
    with pytest.raises(ValueError, match="unknown activation 'tanh'"):
        random_walk(key, SHAPE, activation="tanh")
