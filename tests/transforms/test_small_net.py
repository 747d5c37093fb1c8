"""Every method with a reference on a small network: 1,000 full-batch steps in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax.transforms import REGISTRY
from tests.transforms import (
    test_lookaround,
    test_reference,
    test_reference_layerwise,
    test_reference_matrix,
    test_reference_schedule_free,
    test_reference_variants,
)
from tests.transforms.reference import Problem, assert_follows

MODULES = (
    test_reference,
    test_reference_variants,
    test_reference_layerwise,
    test_reference_matrix,
    test_reference_schedule_free,
    test_lookaround,
)
CASES = {name: case for module in MODULES for name, case in module.CASES.items()}
# Steps whose length does not shrink with the gradient: with the numbers for larger problems these
# would chatter about the minimum, where a rounding decides on which side they are.
NUMBERS = {
    "rmsprop": {"eps": 0.01},
    "novograd": {"learning_rate": 1e-4},
    "muon": {"learning_rate": 1e-4, "eps": 0.01},
}
INPUTS = np.random.default_rng(1).normal(size=(8, 2))
TARGETS = np.sin(2 * INPUTS[:, :1]) + 0.5 * INPUTS[:, 1:]
START = {
    "first": {
        "kernel": np.array([[0.8, -0.5, 0.3], [-0.4, 0.7, 0.9]]),
        "bias": np.array([0.1, -0.2, 0.3]),
    },
    "second": {"kernel": np.array([[0.6], [-0.8], [0.5]])},
}


def cost(params):
    inputs, targets = jnp.asarray(INPUTS), jnp.asarray(TARGETS)
    hidden = jnp.tanh(inputs @ params["first"]["kernel"] + params["first"]["bias"][None, :])
    return jnp.mean((hidden @ params["second"]["kernel"] - targets) ** 2) / 2


def gradient(params):
    hidden = np.tanh(INPUTS @ params["first"]["kernel"] + params["first"]["bias"])
    errors = (hidden @ params["second"]["kernel"] - TARGETS) / len(TARGETS)
    back = errors @ params["second"]["kernel"].T * (1 - hidden**2)
    return {
        "first": {"kernel": INPUTS.T @ back, "bias": back.sum(axis=0)},
        "second": {"kernel": hidden.T @ errors},
    }


NET = Problem(START, cost, gradient)


def test_the_gradient_by_hand_is_that_of_the_cost():
    with jax.enable_x64(True):
        traced = jax.grad(cost)(jax.tree.map(jnp.asarray, START))
    for ours, expected in zip(
        jax.tree.leaves(traced), jax.tree.leaves(gradient(START)), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_every_method_has_a_reference():
    # L-BFGS is held to its recursion, step by step: with a line search no path is comparable.
    held = {case.make for case in CASES.values()}
    assert {name for name, entry in REGISTRY.items() if entry.make not in held} == {"lbfgs"}


def one_of_each():
    """The first case of every method.

    SOAP is left out: a kernel of three inputs and one output has gradients of rank one, whose other
    axes are anybody's choice, and so are the steps along them.
    """
    chosen = {case.make: name for name, case in reversed(CASES.items())}
    return sorted(set(chosen.values()) - {"soap"})


@pytest.mark.parametrize("name", one_of_each())
def test_follows_the_paper_on_a_small_net(name):
    case = CASES[name]
    case = case._replace(numbers={**case.numbers, **NUMBERS.get(name, {})})
    assert_follows(case, np.float64, 1e-12, moves=0.01, problem=NET)
