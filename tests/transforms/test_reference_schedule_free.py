"""Schedule-free methods against float64 NumPy written from their paper, and what they evaluate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax import transforms
from initopt_jax.types import EvaluatedTransform
from tests.transforms.reference import PRECISIONS, Case, assert_follows


def averaged(y, direction, s, learning_rate, b1, weight_decay):
    """Defazio et al. (2024), algorithm 1, its lines after the direction; returns the next y."""
    z, x = s.get("z", y), s.get("x", y)
    s["z"] = z - learning_rate * direction - learning_rate * weight_decay * y
    s["sum"] = s.get("sum", 0) + learning_rate**2
    c = learning_rate**2 / s["sum"]
    s["x"] = (1 - c) * x + c * s["z"]
    return (1 - b1) * s["z"] + b1 * s["x"]


def schedule_free_sgd(y, g, s, t, learning_rate, b1, weight_decay):
    return averaged(y, g, s, learning_rate, b1, weight_decay)


def schedule_free_adam(y, g, s, t, learning_rate, b1, b2, eps, weight_decay):
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
    direction = g / (np.sqrt(s["v"] / (1 - b2**t)) + eps)
    return averaged(y, direction, s, learning_rate, b1, weight_decay)


CASES = {
    "schedule_free_sgd": Case(
        transforms.schedule_free_sgd,
        schedule_free_sgd,
        {"learning_rate": 0.5, "b1": 0.9, "weight_decay": 0.01},
    ),
    "schedule_free_adam": Case(
        transforms.schedule_free_adam,
        schedule_free_adam,
        {"learning_rate": 0.01, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 0.0},
    ),
    "schedule_free_adam, other numbers": Case(
        transforms.schedule_free_adam,
        schedule_free_adam,
        {"learning_rate": 0.01, "b1": 0.0, "b2": 0.99, "eps": 1e-3, "weight_decay": 0.01},
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(*PRECISIONS)
def test_follows_the_paper_for_1000_steps(case, dtype, tolerance):
    assert_follows(CASES[case], dtype, tolerance)


def test_the_weights_to_evaluate_are_the_average_under_a_schedule():
    rates = np.array([0.1, 0.2, 0.4, 0.4, 0.3])
    gradients = np.random.default_rng(0).normal(size=(5, 3))
    with jax.enable_x64(True):
        table = jnp.asarray(rates)
        transform = transforms.schedule_free_sgd(lambda count: table[count], b1=0.75)
        assert isinstance(transform, EvaluatedTransform)
        y = jnp.ones(3)
        state = transform.init(y)
        np.testing.assert_array_equal(transform.eval_params(state, y), y)
        for gradient in gradients:
            updates, state = transform.update(jnp.asarray(gradient), state, y)
            y = y + updates
        found = transform.eval_params(state, y)
    z = 1 - np.cumsum(rates[:, None] * gradients, axis=0)
    x = np.average(z, axis=0, weights=rates**2)
    np.testing.assert_allclose(found, x, rtol=1e-13)
    np.testing.assert_allclose(y, 0.25 * z[-1] + 0.75 * x, rtol=1e-13)


def test_a_learning_rate_of_zero_moves_nothing():
    transform = transforms.schedule_free_adam(0.0)
    y = jnp.array([1.0, -2.0])
    updates, state = transform.update(jnp.ones(2), transform.init(y), y)
    assert not np.any(updates)
    np.testing.assert_array_equal(transform.eval_params(state, y), y)


def test_averages_of_bfloat16_do_not_stand_still():
    # A share of 1/1000 is below the spacing of bfloat16, 2^-8 of the weights.
    transform = transforms.schedule_free_sgd(0.01, b1=0.0)
    y = jnp.array([1.0], jnp.bfloat16)

    def step(carry, _):
        y, state = carry
        updates, state = transform.update(jnp.ones_like(y), state, y)
        return (y + updates, state), None

    (y, state), _ = jax.lax.scan(step, (y, transform.init(y)), length=1000)
    np.testing.assert_allclose(state.z, 1 - 10, rtol=1e-4)
    np.testing.assert_allclose(state.x, 1 - 0.01 * 1001 / 2, rtol=1e-4)
    assert transform.eval_params(state, y).dtype == jnp.bfloat16
