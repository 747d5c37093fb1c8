"""Mean field theory against published numbers, and networks drawn at its critical line."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax import initializers
from initopt_jax.initializers.activations import HOMOGENEOUS, find_activation
from initopt_jax.initializers.gains import gain
from initopt_jax.initializers.mean_field import (
    CRITICAL,
    correlation,
    critical_sigma_w,
    critical_table,
    depth_scales,
    fixed_point,
    slope,
)

SIGMA_B = math.sqrt(0.05)


# Recomputed from Schoenholz et al. (2017) independently of this package; tanh, sigma_b^2 = 0.05.
@pytest.mark.parametrize(
    ("square", "xi_c", "q"),
    [
        (1.0, "3.63", "0.194"),
        (1.5, "15.8", "0.418"),
        (1.7, "74.9", "0.533"),
        (2.0, "25.2", "0.722"),
        (2.5, "11.8", "1.064"),
        (3.0, "9.05", "1.428"),
        (4.0, "6.98", "2.196"),
    ],
)
def test_sizes_and_depth_scales_of_tanh(square, xi_c, q):
    arguments = "tanh", math.sqrt(square), SIGMA_B
    # Half a unit of the last digit given; 2.1955 was rounded up.
    assert fixed_point(*arguments) == pytest.approx(float(q), abs=5.1e-4)
    half = 0.5 * 10 ** -len(xi_c.partition(".")[2])
    assert depth_scales(*arguments)[1] == pytest.approx(float(xi_c), abs=half)


@pytest.mark.parametrize(
    ("square_b", "square_w"),
    [(2.01e-5, 1.050), (0.001, 1.189), (0.01, 1.424), (0.05, 1.761), (0.1, 1.986)],
)
def test_critical_weights_of_tanh(square_b, square_w):
    sigma_w = critical_sigma_w("tanh", math.sqrt(square_b))
    assert sigma_w**2 == pytest.approx(square_w, abs=5e-4)


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(100)


def layer_map(activation, sigma_w, sigma_b, q, c=None):
    """Sizes, or correlations, one layer on, by Gauss-Hermite quadrature."""
    phi = find_activation(activation).value
    z, weights = NODES, WEIGHTS / WEIGHTS.sum()
    if c is None:
        return sigma_w**2 * weights @ phi(math.sqrt(q) * z) ** 2 + sigma_b**2
    other = c * z[:, None] + math.sqrt(1 - c * c) * z
    product = phi(math.sqrt(q) * z)[:, None] * phi(math.sqrt(q) * other)
    return (sigma_w**2 * weights @ product @ weights + sigma_b**2) / q


@pytest.mark.parametrize("activation", ["tanh", "sin", "softplus", "silu", "gelu", "sigmoid"])
@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(0.7, 0.3), (1.2, 0.1)])
def test_fixed_points_by_iteration(activation, sigma_w, sigma_b):
    q = 1.0
    for _ in range(3000):
        q = layer_map(activation, sigma_w, sigma_b, q)
    assert fixed_point(activation, sigma_w, sigma_b) == pytest.approx(q, rel=1e-6)
    h = 1e-4 * q
    up, down = (layer_map(activation, sigma_w, sigma_b, q + d) for d in (h, -h))
    xi_q, _ = depth_scales(activation, sigma_w, sigma_b)
    assert xi_q == pytest.approx(-1 / math.log((up - down) / (2 * h)), rel=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "sin"])
def test_chaotic_correlation_by_iteration(activation):
    sigma_w, sigma_b = 1.6, 0.3
    q = fixed_point(activation, sigma_w, sigma_b)
    c = 0.5
    for _ in range(500):
        c = layer_map(activation, sigma_w, sigma_b, q, c)
    assert slope(activation, sigma_w, sigma_b) > 1
    assert correlation(activation, sigma_w, sigma_b) == pytest.approx(c, abs=1e-8)
    h = 1e-4
    up, down = (layer_map(activation, sigma_w, sigma_b, q, c + d) for d in (h, -h))
    _, xi_c = depth_scales(activation, sigma_w, sigma_b)
    assert xi_c == pytest.approx(-1 / math.log((up - down) / (2 * h)), rel=1e-5)


def test_closed_forms():
    """Rectifiers: q' = sigma_w^2 q / 2 + sigma_b^2. Odd activations without biases: c* = 0."""
    assert fixed_point("relu", 1.0, 0.5) == pytest.approx(0.5)
    assert slope("relu", 1.0, 0.5) == pytest.approx(0.5)
    xi = 1 / math.log(2)
    np.testing.assert_allclose(depth_scales("relu", 1.0, 0.5), (xi, xi))
    assert fixed_point("tanh", 0.9, 0.0) == 0
    assert depth_scales("tanh", 0.9, 0.0)[0] == pytest.approx(-1 / math.log(0.81))
    assert correlation("tanh", 2.0, 0.0) == 0
    assert correlation("tanh", 0.9, 0.3) == 1
    # The edge near no biases: sigma_b^2 = 4/3 q^3 and sigma_w^2 = 1 + 2 q, by Taylor's series.
    q = 1e-3
    sigma_w = critical_sigma_w("tanh", math.sqrt(4 / 3 * q**3))
    assert sigma_w**2 - 1 == pytest.approx(2 * q, rel=0.02)


@pytest.mark.parametrize("activation", CRITICAL)
@pytest.mark.parametrize("sigma_b", [0.01, 0.2, 1.0, 5.0])
def test_critical_line(activation, sigma_b):
    sigma_w = critical_sigma_w(activation, sigma_b)
    assert slope(activation, sigma_w, sigma_b) == pytest.approx(1, abs=1e-9)
    # Sizes are stable there.
    assert depth_scales(activation, sigma_w, sigma_b)[0] < math.inf


def test_traced_solutions_are_the_solver_s():
    sigma_b = np.concatenate([[0.0], np.geomspace(1e-6, 5, 20)])
    for activation in CRITICAL:
        exact = [critical_sigma_w(activation, value) for value in sigma_b]
        points, values = (np.asarray(part, np.float32) for part in critical_table(activation))
        found = jnp.interp(jnp.asarray(sigma_b, jnp.float32), points, values)
        np.testing.assert_allclose(found, exact, rtol=1e-5, err_msg=activation)


@pytest.mark.parametrize("activation", HOMOGENEOUS)
def test_homogeneous_activations_are_critical_without_biases(activation):
    assert critical_sigma_w(activation, 0.0) == gain(activation)
    assert slope(activation, gain(activation), 0.0) == pytest.approx(1)
    with pytest.raises(ValueError, match="sigma_b must be 0 with"):
        critical_sigma_w(activation, 0.1)
    key, shape = jax.random.key(0), (400, 250)
    options = {"activation": activation}
    expected = initializers.lecun_normal(key, shape, **options)
    exact = initializers.mean_field_critical(key, shape, sigma_b=0.0, **options)
    traced = initializers.mean_field_critical(key, shape, sigma_b=jnp.float32(0), **options)
    np.testing.assert_array_equal(exact, expected)
    np.testing.assert_array_equal(traced, expected)


@pytest.mark.parametrize("activation", ["gelu", "sigmoid", "silu", "softplus"])
def test_no_critical_line(activation):
    with pytest.raises(ValueError, match="must have a critical line"):
        critical_sigma_w(activation, 0.1)


def test_what_is_out_of_range_is_named():
    with pytest.raises(ValueError, match="sigma_w must be a finite number above 0"):
        fixed_point("tanh", 0.0, 0.1)
    with pytest.raises(ValueError, match="must give the size of signals a fixed point"):
        fixed_point("relu", 1.5, 0.1)
    with pytest.raises(ValueError, match="sigma_b must be between 0 and 5"):
        critical_sigma_w("tanh", 5.1)


@pytest.mark.parametrize("activation", ["tanh", "selu", "softsign"])
def test_networks_at_the_edge_keep_their_size(activation):
    """Width 400, 50 layers, two inputs of the size q*: it stays there on average.

    A layer adds a relative variance of at most 4 / 400 (kurtosis 3 of a normal layer's squares and
    of phi^2), shrunk from then on by exp(-1 / xi_q).
    """
    sigma_w = critical_sigma_w(activation, SIGMA_B)
    q = fixed_point(activation, sigma_w, SIGMA_B)
    xi_q, _ = depth_scales(activation, sigma_w, SIGMA_B)
    phi = find_activation(activation).value
    weights = jax.jit(
        lambda key: initializers.mean_field_critical(key, (400, 400), activation=activation)
    )
    biases = jax.jit(lambda key: initializers.mean_field_bias(key, (400,)))
    z = np.random.default_rng(0).normal(size=(2, 400)) * math.sqrt(q)
    sizes = []
    for key in jax.random.split(jax.random.key(1), 50):
        first, second = jax.random.split(key)
        z = phi(z) @ np.asarray(weights(first), np.float64) + np.asarray(biases(second), np.float64)
        sizes.append(np.mean(z**2))
    error = math.sqrt(4 / 400 / (1 - math.exp(-2 / xi_q)))
    # The last 40 layers hold about 40 / (2 xi_q) independent sizes.
    error /= math.sqrt(max(1, 40 / (2 * xi_q)))
    assert np.mean(sizes[10:]) == pytest.approx(q, rel=5 * error)
