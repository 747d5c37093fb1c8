"""Where the settings mean the same, our methods and those of Optax draw the same path."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax import transforms

PAIRS = {
    "sgd": (transforms.sgd(0.1), optax.sgd(0.1)),
    "momentum": (transforms.momentum(0.01, 0.9), optax.sgd(0.01, momentum=0.9)),
    "nesterov": (transforms.nesterov(0.01, 0.9), optax.sgd(0.01, momentum=0.9, nesterov=True)),
    "adam": (transforms.adam(0.01), optax.adam(0.01)),
    "adam, other numbers": (
        transforms.adam(0.02, b1=0.8, b2=0.95, eps=1e-3),
        optax.adam(0.02, b1=0.8, b2=0.95, eps=1e-3),
    ),
    "rmsprop": (
        transforms.rmsprop(0.01, 0.95, 1e-6),
        optax.rmsprop(0.01, 0.95, 1e-6, eps_in_sqrt=False),
    ),
    "rmsprop, centred": (
        transforms.rmsprop(0.01, 0.95, 1e-4, centered=True),
        optax.rmsprop(0.01, 0.95, 1e-4, centered=True),
    ),
    "adadelta": (
        transforms.adadelta(0.5, 0.9, 1e-6),
        optax.adadelta(0.5, rho=0.9, eps=1e-6),
    ),
}


def path(transform):
    """200 points on the banana-shaped valley of Rosenbrock's function, mildly curved."""

    def cost(params):
        return (1 - params["x"]) ** 2 + 3 * (params["y"] - params["x"] ** 2) ** 2

    def step(carry, _):
        params, state = carry
        updates, state = transform.update(jax.grad(cost)(params), state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    start = {"x": jnp.asarray(-1.2), "y": jnp.asarray(1.0)}
    return jax.lax.scan(step, (start, transform.init(start)), length=200)[1]


@pytest.mark.parametrize("pair", PAIRS)
def test_the_path_is_that_of_optax(pair):
    # In float64, since Optax forms 1 - b2^t in the dtype of the weights: float32 would cost 1e-5.
    with jax.enable_x64(True):
        ours, theirs = (path(transform) for transform in PAIRS[pair])
    for name in ("x", "y"):
        assert abs(float(ours[name][-1] - ours[name][0])) > 1e-3
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-10)
