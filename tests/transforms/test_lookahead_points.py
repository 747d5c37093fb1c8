"""Nesterov's methods train look-ahead points; the weights that they offer are those of the papers.

And a number of RAdam's that float32 knows only by a series.
"""

import decimal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax import transforms
from initopt_jax.transforms.radam import average_length

CURVATURE = np.array([1.0, 0.03, 0.001])
START = np.array([1.0, -1.0, 1.0])


def eval_params_of(transform, count):
    """The weights to evaluate [T, D] on `f(x) = sum(curvature * x^2) / 2`, in float64."""

    def step(carry, _):
        params, state = carry
        updates, state = transform.update(jnp.asarray(CURVATURE) * params, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), transform.eval_params(state, params)

    start = jnp.asarray(START)
    return jax.lax.scan(step, (start, transform.init(start)), length=count)[1]


def test_nesterov_1983_keeps_its_bound_and_gradient_descent_does_not():
    # Nesterov (1983), theorem 1, with a step of 1 / L: f(x_k) <= 2 L |x_0 - x*|^2 / (k + 2)^2.
    with jax.enable_x64(True):
        points = np.asarray(eval_params_of(transforms.nesterov_1983(1.0), 1000))
    k = np.arange(1000)
    bound = 2 * np.sum(START**2) / (k + 2) ** 2
    costs = np.sum(CURVATURE * points**2, axis=1) / 2
    assert np.all(costs <= bound)
    descent = START * (1 - CURVATURE) ** (k[:, None] + 1)
    assert np.any(np.sum(CURVATURE * descent**2, axis=1) / 2 > 10 * bound)


def test_sutskever_offers_the_weights_of_the_paper():
    # Sutskever et al. (2013), eq. 3 to 5: gradients at theta + mu * v, and theta to evaluate.
    rate, highest, interval = 0.1, 0.9, 20.0
    theta, v, expected = START, np.zeros(3), []
    for t in range(200):
        mu = min(1 - 2 ** (-1 - np.log2(t // interval + 1)), highest)
        v = mu * v - rate * CURVATURE * (theta + mu * v)
        theta = theta + v
        expected.append(theta)
    make = transforms.sutskever_momentum
    with jax.enable_x64(True):
        ours = eval_params_of(make(rate, highest, interval, nesterov=True), 200)
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 2e-15)])
def test_average_length_keeps_its_precision(dtype, tolerance):
    # A dozen roundings of 6e-8 or 1e-16. As a difference, it has some 1e-4 in float32.
    decays = [dtype(b) for b in (0.25, 0.9, 0.999, 0.9999)]
    counts = [1, 2, 5, 9, 10, 690, 999, 1001, 9999, 10001, 10**6]
    with jax.enable_x64(dtype is np.float64), decimal.localcontext(prec=60):
        grid = jnp.asarray(decays)[:, None], jnp.asarray(counts)[None, :]
        ours = jax.jit(average_length)(*grid, jnp.zeros((), dtype))
        for row, b in zip(np.asarray(ours), map(decimal.Decimal, map(float, decays)), strict=True):
            exact = [2 / (1 - b) - 1 - 2 * t * b**t / (1 - b**t) for t in counts]
            np.testing.assert_allclose(row, [float(x) for x in exact], rtol=tolerance)
