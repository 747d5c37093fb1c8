"""What an optimizer makes of curvature: its diagonal, its limits, sharpness beside them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax import transforms
from initopt_jax.precision import in_precision
from initopt_jax.probes.curvature import (
    effective_rate,
    preconditioned_sharpness,
    preconditioned_top,
    preconditioner,
    sharpness,
    stability_limit,
)
from initopt_jax.probes.probe import LaneOptimizer
from initopt_jax.schedules import REGISTRY as SCHEDULES

RATE, STEPS = 0.05, 7
MATRIX = np.array([[3.0, 1.0, 0.2], [1.0, 2.0, -0.5], [0.2, -0.5, 1.0]])
EPS = 1e-3


def cost(params, batch):
    """A quadratic with another weight for the batch."""
    return batch * (params["w"] @ jnp.asarray(MATRIX, params["w"].dtype) @ params["w"]) / 2


def trained(transform, steps=STEPS, start=(1.0, -2.0, 0.5)):
    """The transform, its state and weights after some steps, with the gradients that it saw."""
    params = {"w": jnp.asarray(start)}
    state = transform.init(params)
    seen = []
    for _ in range(steps):
        grads = jax.grad(cost)(params, 1.0)
        seen.append(np.asarray(grads["w"], np.float64))
        updates, state = transform.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    seen.append(np.asarray(jax.grad(cost)(params, 1.0)["w"], np.float64))
    return LaneOptimizer(transform, state, params), np.array(seen)


def faded(gradients, decay, power=2):
    """`sum_s (1 - decay) decay^(t - s) g_s^power` over all gradients, the next step's included."""
    ages = np.arange(len(gradients))[::-1, None]
    return np.sum((1 - decay) * decay**ages * gradients**power, axis=0)


def adam_diagonal(g, b1=0.9, b2=0.99):
    """Cohen et al. 2022, P of the step that sees the last gradient."""
    t = len(g)
    return (1 - b1**t) * (np.sqrt(faded(g, b2) / (1 - b2**t)) + EPS)


def adadelta_diagonal(g, rho=0.9):
    """Zeiler's two means, step by step."""
    of_gradient = of_step = np.zeros(g.shape[1])
    for gradient in g:
        of_gradient = rho * of_gradient + (1 - rho) * gradient**2
        diagonal = np.sqrt(of_gradient + EPS) / np.sqrt(of_step + EPS)
        of_step = rho * of_step + (1 - rho) * (gradient / diagonal) ** 2
    return diagonal


CASES = {
    "adam": ({"b1": 0.9, "b2": 0.99, "eps": EPS}, adam_diagonal),
    "adamw": ({"b1": 0.9, "b2": 0.99, "eps": EPS, "weight_decay": 0.1}, adam_diagonal),
    "rmsprop": ({"decay": 0.8, "eps": EPS}, lambda g: np.sqrt(faded(g, 0.8)) + EPS),
    "adagrad": ({"eps": EPS}, lambda g: np.sqrt(np.sum(g**2, axis=0)) + EPS),
    "adadelta": ({"rho": 0.9, "eps": EPS}, adadelta_diagonal),
    "gd": ({}, lambda g: np.ones(3)),
    "momentum": ({"decay": 0.9}, lambda g: np.ones(3)),
    "momentum_dampened": ({"decay": 0.9, "dampening": 0.3}, lambda g: np.ones(3)),
    "nesterov": ({"decay": 0.9}, lambda g: np.ones(3)),
    "qhm": ({"decay": 0.9, "nu": 0.6}, lambda g: np.ones(3)),
}


def lane(method, steps=STEPS):
    """The lane of a method of ours after some steps, its gradients and hyperparameters."""
    options, _ = CASES[method]
    numbers = {"learning_rate": RATE, **options}
    return *trained(transforms.REGISTRY[method].make(**numbers), steps), numbers


@pytest.mark.parametrize("steps", [0, STEPS])
@pytest.mark.parametrize("method", CASES)
def test_the_diagonal_is_that_of_the_paper(method, steps):
    with in_precision("float64"):
        optimizer, gradients, numbers = lane(method, steps)
        found = np.asarray(preconditioner(cost, 1.0, optimizer, method, numbers)["w"])
    np.testing.assert_allclose(found, CASES[method][1](gradients), rtol=1e-9)


@pytest.mark.parametrize(
    ("made", "numbers", "method", "twin"),
    [
        (optax.adam(RATE, b2=0.99, eps=EPS), {}, "optax.adam", "adam"),
        (optax.rmsprop(RATE, 0.8, EPS, eps_in_sqrt=False), {}, "optax.rmsprop", "rmsprop"),
        (optax.sgd(RATE, momentum=0.9), {"momentum": 0.9}, "optax.sgd", "momentum"),
    ],
)  # fmt: skip
def test_those_of_optax_are_the_same(made, numbers, method, twin):
    with in_precision("float64"):
        optimizer, gradients = trained(made)
        numbers = {"learning_rate": RATE, **numbers}
        found = np.asarray(preconditioner(cost, 1.0, optimizer, method, numbers)["w"])
    np.testing.assert_allclose(found, CASES[twin][1](gradients), rtol=1e-9)
    wanted = stability_limit(twin, {"learning_rate": RATE, "b1": 0.9, "decay": 0.9})
    np.testing.assert_allclose(stability_limit(method, numbers), wanted)


def test_eigenvalues_of_the_preconditioned_hessian():
    with in_precision("float64"):
        optimizer, gradients, numbers = lane("adam")
        found = preconditioned_top(cost, 1.0, jax.random.key(0), optimizer, "adam", numbers, k=3)
        share = preconditioned_sharpness(cost, 1.0, jax.random.key(0), optimizer, "adam", numbers)
        raw = sharpness(cost, optimizer.params, 2.0, jax.random.key(0), optimizer, "adam", numbers)
    scale = 1 / np.sqrt(adam_diagonal(gradients))
    wanted = np.linalg.eigvalsh(scale[:, None] * MATRIX * scale)[::-1]
    np.testing.assert_allclose(found["preconditioned_top"], wanted, rtol=1e-8)
    np.testing.assert_allclose(found["preconditioned_limit"], 38 / RATE)
    np.testing.assert_allclose(share["preconditioned_sharpness"], wanted[0], rtol=1e-8)
    np.testing.assert_allclose(share["stability_share"], wanted[0] * RATE / 38, rtol=1e-8)
    np.testing.assert_allclose(raw["sharpness"], 2 * np.linalg.eigvalsh(MATRIX)[-1], rtol=1e-8)
    assert np.isnan(raw["sharpness_limit"])  # it is not H that has a limit


LIMITS = {
    "gd": 2,
    "momentum": 2 * 1.9,
    "momentum_dampened": 2 * 1.9 / 0.7,
    "nesterov": 2 * 1.9 / 2.8,
    "qhm": 2 * 1.9 / (1 + 0.9 * (1 - 2 * 0.6)),
}


@pytest.mark.parametrize("method", LIMITS)
def test_limits_of_methods_that_do_not_adapt(method):
    """PAPERS' formulas, and the method itself: steps shrink 2% below the limit and grow above."""
    with in_precision("float64"):
        optimizer, _, numbers = lane(method)
        found = sharpness(
            cost, optimizer.params, 1.0, jax.random.key(0), optimizer, method, numbers
        )
        np.testing.assert_allclose(found["sharpness_limit"], LIMITS[method] / RATE, rtol=1e-12)
        np.testing.assert_allclose(
            stability_limit(method, numbers), LIMITS[method] / RATE, rtol=1e-12
        )
        for factor, grows in ((0.98, False), (1.02, True)):
            curvature = factor * LIMITS[method] / RATE
            assert (distance_after(optimizer.transform, curvature) > 1) == grows


def distance_after(transform, curvature, steps=1500):
    def step(_, carry):
        x, state = carry
        update, state = transform.update(curvature * x, state, x)
        return x + update, state

    x = jnp.ones(())
    return jnp.abs(jax.lax.fori_loop(0, steps, step, (x, transform.init(x)))[0])


def test_the_limit_of_adam_with_its_preconditioner_held():
    """With b2 next to 1 and a state that knows its gradients' size, Adam is linear."""
    b1, diagonal = 0.9, 4.0
    with in_precision("float64"):
        numbers = {"learning_rate": RATE, "b1": b1}
        transform = transforms.adam(RATE, b1, 1 - 1e-12, eps=diagonal)
        for factor, grows in ((0.98, False), (1.02, True)):
            # D is eps alone while the gradients stay far below it.
            curvature = factor * stability_limit("adam", numbers) * diagonal
            scaled = optax.chain(optax.scale(1e-30), transform, optax.scale(1e30))
            assert (distance_after(scaled, curvature) > 1) == grows


def test_a_schedule_and_rates_per_leaf_are_in_the_measured_rate():
    cosine = SCHEDULES["cosine"].multiplier
    made = transforms.sgd(lambda count: RATE * cosine(count, 20.0))
    with in_precision("float64"):
        optimizer, _ = trained(made)
        found = sharpness(cost, optimizer.params, 1.0, jax.random.key(0), optimizer, "sgd")
        wanted = 2 / (RATE * cosine(jnp.asarray(STEPS), 20.0))
        np.testing.assert_allclose(found["sharpness_limit"], wanted, rtol=1e-6)

        adam = transforms.adam(lambda count: RATE * cosine(count, 20.0), b2=0.99, eps=EPS)
        optimizer, gradients = trained(adam)
        rate = effective_rate(optimizer, {"w": jnp.asarray(gradients[-1])})["w"]
        wanted = 2 * 0.1 / (wanted * adam_diagonal(gradients))
    np.testing.assert_allclose(rate, wanted, rtol=1e-6)

    params = {"a": jnp.ones(2), "b": jnp.ones(1)}
    uneven = optax.chain(transforms.sgd(RATE), transforms.scale_by_leaf({"a": 2.0, "b": 0.5}))
    state = uneven.init(params)
    rates = effective_rate(LaneOptimizer(uneven, state, params), params)
    np.testing.assert_allclose(rates["a"], 2 * RATE, rtol=1e-6)
    np.testing.assert_allclose(rates["b"], RATE / 2, rtol=1e-6)
    squares = lambda params, batch: batch * jnp.sum(params["a"] ** 2) + params["b"][0] ** 2  # noqa: E731
    optimizer = LaneOptimizer(uneven, state, params)
    found = sharpness(squares, params, 1.0, jax.random.key(0), optimizer, "sgd")
    assert np.isnan(found["sharpness_limit"])
    share = preconditioned_sharpness(
        squares, 1.0, jax.random.key(0), optimizer, "sgd", {"learning_rate": RATE}
    )
    np.testing.assert_allclose(share["stability_share"], 2 * (2 * RATE) / 2, rtol=1e-5)


@pytest.mark.parametrize("method", ["adam", "adagrad", "adadelta"])
def test_every_number_may_be_traced_and_a_weight_without_gradient_counts_for_nothing(method):
    options, _ = CASES[method]

    def idle(params, batch):
        return cost({"w": params["w"][:3]}, batch)

    def measure(rate, key):
        numbers = {"learning_rate": rate, **options, "eps": 0.0} if "eps" in options else {
            "learning_rate": rate, **options
        }  # fmt: skip
        if method == "adadelta":
            numbers["eps"] = 1e-6
        transform = transforms.REGISTRY[method].make(**numbers)
        params = {"w": jnp.arange(1.0, 6.0)}
        optimizer = LaneOptimizer(transform, transform.init(params), params)
        return preconditioned_top(idle, 1.0, key, optimizer, method, numbers, k=5)

    keys = jax.random.split(jax.random.key(0), 2)
    found = jax.jit(jax.vmap(measure))(jnp.array([0.1, jnp.nan]), keys)
    top = np.asarray(found["preconditioned_top"])
    assert np.isfinite(top[0]).all()
    np.testing.assert_allclose(top[0, 3:], 0, atol=1e-5 * top[0, 0])
    assert np.isnan(top[1]).all()
    assert np.isnan(found["preconditioned_limit"][1])


def test_unknown_methods_have_no_limit():
    optimizer, _, numbers = lane("gd")
    key = jax.random.key(0)
    for method, given in (("mine:own", numbers), ("", numbers), ("gd", numbers | {"ema.decay": 1})):
        assert np.isnan(preconditioner(cost, 1.0, optimizer, method, given)["w"]).all()
        assert np.isnan(stability_limit(method, given))
    lost = preconditioned_top(cost, 1.0, key, optimizer, "mine:own", numbers, k=2)
    assert np.isnan(lost["preconditioned_top"]).all()
    assert np.isnan(lost["preconditioned_limit"])
    assert np.isnan(stability_limit("gd", {}))
    free = preconditioned_top(cost, 1.0, key, optimizer, None, numbers, k=1)
    np.testing.assert_allclose(
        free["preconditioned_top"], np.linalg.eigvalsh(MATRIX)[-1:], rtol=1e-5
    )
    bare = sharpness(cost, optimizer.params, 1.0, key)
    assert np.isnan(bare["sharpness_limit"])
