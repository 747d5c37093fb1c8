"""Every method against float64 NumPy written from its paper, over 1,000 steps.

One run minimizes two costs at once, a quadratic and a logistic regression; the methods work weight
by weight, so neither sees the other. All 1,000 points of both paths are compared, the first
included. Both costs are convex, and the rates are such that no path chatters about its minimum:
else the paper's own formulas amplify the rounding of float32, and the comparison says nothing.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax import transforms

STEPS = 1000
CURVATURE = np.diag([0.1, 0.3, 1.0, 2.0]) + 0.05
CENTRE = np.array([1.0, -2.0, 0.5, 3.0])
INPUTS = np.random.default_rng(7).normal(size=(12, 3))
LABELS = np.random.default_rng(8).integers(2, size=(12, 2)).astype(float)
START = {
    "quadratic": np.array([3.0, 0.1, -1.0, 0.2]),
    "logistic": {
        "weights": np.array([[2.0, -2.5], [-1.5, 3.0], [2.5, 1.5]]),
        "bias": np.array([-2.0, 2.0]),
    },
}


def cost(params):
    offset = params["quadratic"] - jnp.asarray(CENTRE, params["quadratic"].dtype)
    curvature, inputs, labels = (jnp.asarray(x, offset.dtype) for x in (CURVATURE, INPUTS, LABELS))
    logits = inputs @ params["logistic"]["weights"] + params["logistic"]["bias"][None, :]
    logistic = jnp.mean(jnp.sum(jax.nn.softplus(logits) - labels * logits, axis=1))
    return offset @ curvature @ offset / 2 + logistic


def gradient(params):
    """The gradient of `cost`, by hand."""
    logits = INPUTS @ params["logistic"]["weights"] + params["logistic"]["bias"]
    errors = (1 / (1 + np.exp(-logits)) - LABELS) / len(LABELS)
    return {
        "quadratic": CURVATURE @ (params["quadratic"] - CENTRE),
        "logistic": {"weights": INPUTS.T @ errors, "bias": errors.sum(axis=0)},
    }


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
    "sgd": (transforms.sgd, gradient_descent, {"learning_rate": 0.1}, {}),
    "momentum": (transforms.momentum, heavy_ball, {"learning_rate": 0.02, "decay": 0.9}, {}),
    "momentum, ema": (
        transforms.momentum,
        averaged_heavy_ball,
        {"learning_rate": 0.1, "decay": 0.9},
        {"ema": True},
    ),
    "nesterov": (
        transforms.nesterov,
        simplified_nesterov,
        {"learning_rate": 0.02, "decay": 0.9},
        {},
    ),
    "adagrad": (
        transforms.adagrad,
        adagrad,
        {"learning_rate": 0.1, "eps": 1e-8, "initial_accumulator": 0.0},
        {},
    ),
    "adagrad, started": (
        transforms.adagrad,
        adagrad,
        {"learning_rate": 0.1, "eps": 0.01, "initial_accumulator": 0.1},
        {},
    ),
    "adadelta": (
        transforms.adadelta,
        adadelta,
        {"learning_rate": 1.0, "rho": 0.95, "eps": 1e-6},
        {},
    ),
    "rmsprop": (
        transforms.rmsprop,
        rmsprop,
        {"learning_rate": 0.001, "decay": 0.9, "eps": 1e-8},
        {},
    ),
    "rmsprop, centred": (
        transforms.rmsprop,
        graves,
        {"learning_rate": 0.0001, "decay": 0.95, "eps": 1e-4},
        {"centered": True},
    ),
    "adam": (
        transforms.adam,
        adam,
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 1e-8},
        {},
    ),
    "adam, uncorrected": (
        transforms.adam,
        uncorrected_adam,
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 1e-8},
        {"bias_correction": False},
    ),
}


def expected_path(reference, numbers):
    leaves, structure = jax.tree.flatten(START)
    memories = [{} for _ in leaves]
    path = []
    for t in range(1, STEPS + 1):
        gradients = jax.tree.leaves(gradient(structure.unflatten(leaves)))
        leaves = [
            reference(leaf, g, memory, t, **numbers)
            for leaf, g, memory in zip(leaves, gradients, memories, strict=True)
        ]
        path.append(leaves)
    return [np.stack(points) for points in zip(*path, strict=True)]


def path(make, numbers, flags, dtype):
    """Built inside the compiled program from traced scalars, as the engine does."""

    def run(numbers):
        transform = make(**numbers, **flags)

        def step(carry, _):
            params, state = carry
            updates, state = transform.update(jax.grad(cost)(params), state, params)
            params = jax.tree.map(jnp.add, params, updates)
            return (params, state), params

        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), START)
        return jax.lax.scan(step, (params, transform.init(params)), length=STEPS)[1]

    return jax.tree.leaves(jax.jit(run)(jax.tree.map(lambda x: jnp.asarray(x, dtype), numbers)))


def largest_relative_error(ours, expected):
    """Over the 1,000 points, of one array of weights: error norm over norm."""
    ours = np.asarray(ours, np.float64).reshape(STEPS, -1)
    expected = expected.reshape(STEPS, -1)
    return np.max(np.linalg.norm(ours - expected, axis=1) / np.linalg.norm(expected, axis=1))


def test_the_gradient_by_hand_is_that_of_the_cost():
    with jax.enable_x64(True):
        traced = jax.grad(cost)(jax.tree.map(jnp.asarray, START))
    for ours, expected in zip(
        jax.tree.leaves(traced), jax.tree.leaves(gradient(START)), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-13)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_follows_the_paper_for_1000_steps(case, dtype, tolerance):
    make, reference, numbers, flags = CASES[case]
    # Both get the same numbers: a `b2` of 0.999 is 1.3e-5 off in `1 - b2` once it is a float32.
    numbers = {name: float(dtype(value)) for name, value in numbers.items()}
    expected = expected_path(reference, numbers)
    assert all(np.linalg.norm(points[-1] - points[0]) > 1 for points in expected)
    with jax.enable_x64(dtype is np.float64):
        ours = path(make, numbers, flags, dtype)
    for points, wanted in zip(ours, expected, strict=True):
        assert points.dtype == dtype
        assert largest_relative_error(points, wanted) < tolerance


def test_momentum_follows_the_paper_under_a_schedule():
    expected = expected_path(heavy_ball, {"learning_rate": falling, "decay": 0.9})
    with jax.enable_x64(True):

        def make(decay):
            return transforms.momentum(falling, decay)

        ours = path(make, {"decay": 0.9}, {}, np.float64)
    for one, wanted in zip(ours, expected, strict=True):
        assert largest_relative_error(one, wanted) < 1e-12
