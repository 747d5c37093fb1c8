"""The basic methods against float64 NumPy written from their papers, over 1,000 steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax import transforms
from tests.transforms.reference import (
    PRECISIONS,
    START,
    Case,
    assert_follows,
    cost,
    expected_path,
    gradient,
    largest_relative_error,
    path,
)


# References: `(theta, g, s, t, **numbers) -> theta` for one array of weights. `s` is the method's
# memory, a dict of arrays that reads as 0 where nothing was written; `t` counts from 1.
def gradient_descent(theta, g, s, t, learning_rate):  # Cauchy (1847)
    return theta - learning_rate * g


def heavy_ball(theta, g, s, t, learning_rate, decay):  # Sutskever et al. (2013), eq. 1 and 2
    rate = float(learning_rate(t - 1)) if callable(learning_rate) else learning_rate
    s["v"] = decay * s.get("v", 0) - rate * g
    return theta + s["v"]


def averaged_heavy_ball(theta, g, s, t, learning_rate, decay):
    s["v"] = decay * s.get("v", 0) - learning_rate * (1 - decay) * g
    return theta + s["v"]


def simplified_nesterov(theta, g, s, t, learning_rate, decay):  # Bengio et al. (2012), 3.5
    before = s.get("v", 0)
    s["v"] = decay * before - learning_rate * g
    return theta + decay**2 * before - (1 + decay) * learning_rate * g


def adagrad(theta, g, s, t, learning_rate, eps, initial_accumulator):  # Duchi et al., figure 1
    s.setdefault("g", []).append(g)
    norm = np.sqrt(initial_accumulator + np.sum(np.square(s["g"]), axis=0))
    return theta - learning_rate * g / (eps + norm)


def adadelta(theta, g, s, t, learning_rate, rho, eps):  # Zeiler (2012), algorithm 1
    s["Eg2"] = rho * s.get("Eg2", 0) + (1 - rho) * g**2
    delta = -np.sqrt(s.get("Edx2", 0) + eps) / np.sqrt(s["Eg2"] + eps) * g
    s["Edx2"] = rho * s.get("Edx2", 0) + (1 - rho) * delta**2
    return theta + learning_rate * delta


def rmsprop(theta, g, s, t, learning_rate, decay, eps):  # Tieleman and Hinton (2012), slide 29
    s["MeanSquare"] = decay * s.get("MeanSquare", 0) + (1 - decay) * g**2
    return theta - learning_rate * g / (np.sqrt(s["MeanSquare"]) + eps)


def graves(theta, g, s, t, learning_rate, decay, eps):  # Graves (2013), eq. 38 to 41, no momentum
    s["n"] = decay * s.get("n", 0) + (1 - decay) * g**2
    s["g"] = decay * s.get("g", 0) + (1 - decay) * g
    return theta - learning_rate * g / np.sqrt(s["n"] - s["g"] ** 2 + eps)


def adam(theta, g, s, t, learning_rate, b1, b2, eps):  # Kingma and Ba (2015), algorithm 1
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
    m_hat, v_hat = s["m"] / (1 - b1**t), s["v"] / (1 - b2**t)
    return theta - learning_rate * m_hat / (np.sqrt(v_hat) + eps)


def uncorrected_adam(theta, g, s, t, learning_rate, b1, b2, eps):
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
    return theta - learning_rate * s["m"] / (np.sqrt(s["v"]) + eps)


def falling(count):
    """A schedule whose fall shows where the learning rate enters the velocity."""
    return jnp.where(count < 20, 0.0625, 0.015625)


CASES = {
    "sgd": Case(transforms.sgd, gradient_descent, {"learning_rate": 0.1}),
    "momentum": Case(transforms.momentum, heavy_ball, {"learning_rate": 0.02, "decay": 0.9}),
    "momentum, ema": Case(
        transforms.momentum,
        averaged_heavy_ball,
        {"learning_rate": 0.1, "decay": 0.9},
        {"ema": True},
    ),
    "nesterov": Case(
        transforms.nesterov,
        simplified_nesterov,
        {"learning_rate": 0.02, "decay": 0.9},
    ),
    "adagrad": Case(
        transforms.adagrad,
        adagrad,
        {"learning_rate": 0.1, "eps": 1e-8, "initial_accumulator": 0.0},
    ),
    "adagrad, started": Case(
        transforms.adagrad,
        adagrad,
        {"learning_rate": 0.1, "eps": 0.01, "initial_accumulator": 0.1},
    ),
    "adadelta": Case(
        transforms.adadelta,
        adadelta,
        {"learning_rate": 1.0, "rho": 0.95, "eps": 1e-6},
    ),
    "rmsprop": Case(
        transforms.rmsprop,
        rmsprop,
        {"learning_rate": 0.001, "decay": 0.9, "eps": 1e-8},
    ),
    "rmsprop, centred": Case(
        transforms.rmsprop,
        graves,
        {"learning_rate": 0.0001, "decay": 0.95, "eps": 1e-4},
        {"centered": True},
    ),
    "adam": Case(
        transforms.adam,
        adam,
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 1e-8},
    ),
    "adam, uncorrected": Case(
        transforms.adam,
        uncorrected_adam,
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 1e-8},
        {"bias_correction": False},
    ),
}


def test_the_gradient_by_hand_is_that_of_the_cost():
    with jax.enable_x64(True):
        traced = jax.grad(cost)(jax.tree.map(jnp.asarray, START))
    for ours, expected in zip(
        jax.tree.leaves(traced), jax.tree.leaves(gradient(START)), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-13)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(*PRECISIONS)
def test_follows_the_paper_for_1000_steps(case, dtype, tolerance):
    assert_follows(CASES[case], dtype, tolerance)


def test_momentum_follows_the_paper_under_a_schedule():
    expected = expected_path(heavy_ball, {"learning_rate": falling, "decay": 0.9})
    with jax.enable_x64(True):

        def make(decay):
            return transforms.momentum(falling, decay)

        ours = path(make, {"decay": 0.9}, {}, np.float64)
    for one, wanted in zip(ours, expected, strict=True):
        assert largest_relative_error(one, wanted) < 1e-12
