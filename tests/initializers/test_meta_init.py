"""Initializers that search for the scales of the leaves: MetaInit and GradInit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax.data.digits import load_digits
from initopt_jax.data.source import Request
from initopt_jax.data.split import SplitSpec
from initopt_jax.initializers import default_rules, initialize
from initopt_jax.initializers.model_level import grad_init, make_network, meta_init
from initopt_jax.initializers.model_level.meta_init import gradient_quotient
from initopt_jax.models import REGISTRY, param_shapes
from initopt_jax.models.convolution import as_stock

# A linear network of two layers on one example: its cost, gradient and Hessian in plain NumPy.
INPUT, TARGET = np.array([1.0, -2.0]), 0.7
FIRST = np.array([0.5, -0.3, 0.8, 0.2, 1.1, -0.6])  # W [2, 3]
SECOND = np.array([0.9, -0.4, 0.35])  # v [3]


def cost(first, second):
    return (INPUT @ first.reshape(2, 3) @ second - TARGET) ** 2 / 2


def gradient(first, second):
    hidden = INPUT @ first.reshape(2, 3)
    error = hidden @ second - TARGET
    return np.concatenate([error * np.outer(INPUT, second).ravel(), error * hidden])


def slopes_of(function, point, step=1e-5):
    """Central differences, one column per coordinate."""
    columns = [
        (function(point + step * unit) - function(point - step * unit)) / (2 * step)
        for unit in np.eye(len(point))
    ]
    return np.stack(columns, axis=-1)


def quotient(weights, eps=1e-5):
    """Eq. 1 of Dauphin and Schoenholz."""
    g = gradient(weights[:6], weights[6:])
    hessian = slopes_of(lambda w: gradient(w[:6], w[6:]), weights)
    return np.abs((g - hessian @ g) / (g + eps * np.where(g >= 0, 1, -1)) - 1).mean()


def two_layers(dtype):
    """Fifteen times the same example, so that every batch is the same."""

    def apply(params, inputs):
        return inputs.astype(params["w"].dtype) @ params["w"] @ params["v"]

    params = {"w": jnp.asarray(FIRST.reshape(2, 3)), "v": jnp.asarray(SECOND[:, None])}
    network = make_network(
        apply,
        lambda outputs, targets: (outputs[:, 0] - targets) ** 2 / 2,
        params,
        jnp.asarray(np.tile(INPUT, (15, 1)), dtype),
        jnp.full(15, TARGET),
    )
    return network, params


def test_gradient_quotient_is_equation_1():
    with jax.enable_x64(True):
        network, params = two_layers("float64")
        found = gradient_quotient(
            lambda params: network.mean_loss(params, network.inputs, network.targets), params
        )
        expected = quotient(np.concatenate([FIRST, SECOND]))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_gradient_quotient_of_a_zero_gradient():
    """`sgn(0) = 1`: the quotient is |0 / eps - 1|."""
    found = gradient_quotient(lambda x: (x**2).sum(), jnp.zeros(3))
    assert float(found) == 1


def test_meta_init_is_algorithm_1():
    with jax.enable_x64(True):
        network, params = two_layers("int64")  # whole numbers are taken from the data
        found, info = meta_init(jax.random.key(0), params, network, steps=5)
        units = {"w": FIRST / np.linalg.norm(FIRST), "v": SECOND / np.linalg.norm(SECOND)}
        norms = np.array([np.linalg.norm(FIRST), np.linalg.norm(SECOND)])

        def objective(norms):
            return quotient(np.concatenate([norms[0] * units["w"], norms[1] * units["v"]]))

        velocity, path = np.zeros(2), [norms]
        for _ in range(4):
            velocity = 0.9 * velocity - 0.1 * np.sign(slopes_of(objective, norms))
            norms = norms + velocity
            path.append(norms)
        values = [objective(norms) for norms in path]
        best = path[int(np.argmin(values))]
        assert 0 < np.argmin(values) < 4  # momentum goes too far: the last is not the best
        np.testing.assert_allclose(found["w"].ravel(), best[0] * units["w"], rtol=1e-9)
        np.testing.assert_allclose(found["v"].ravel(), best[1] * units["v"], rtol=1e-9)
        np.testing.assert_allclose(info["gradient_quotient_before"], values[0], rtol=1e-6)
        np.testing.assert_allclose(info["gradient_quotient_after"], min(values), rtol=1e-6)


def test_meta_init_turns_no_weight_around():
    """Left alone, momentum would carry both norms below 0 from the sixth step on."""
    network, params = two_layers("float32")
    found, _ = meta_init(jax.random.key(0), params, network, steps=12)
    assert all((np.sign(found[name]) == np.sign(params[name])).all() for name in params)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_grad_init_is_algorithm_1(optimizer):
    step_size, rate, steps = 0.05, 0.1, 12
    gamma = {"sgd": 2.0, "adam": 5.0}[optimizer]

    def slopes(m):
        return np.repeat(m, [6, 3]), gradient(m[0] * FIRST, m[1] * SECOND)

    def norm(m):
        return np.linalg.norm(slopes(m)[1], 1 if optimizer == "adam" else 2)

    def loss(m):
        scale, g = slopes(m)
        move = np.sign(g) if optimizer == "adam" else g
        stepped = scale * np.concatenate([FIRST, SECOND]) - step_size * move
        return cost(stepped[:6], stepped[6:])

    scales, counts = np.ones(2), {norm: 0, loss: 0}
    means = {norm: np.zeros((2, 2)), loss: np.zeros((2, 2))}
    for _ in range(steps):
        goal = norm if norm(scales) > gamma else loss
        slope = slopes_of(goal, scales)
        counts[goal] += 1
        means[goal] = means[goal] * [[0.9], [0.999]] + [0.1 * slope, 0.001 * slope**2]
        mean, square = means[goal] / [[1 - 0.9 ** counts[goal]], [1 - 0.999 ** counts[goal]]]
        scales = np.maximum(scales - rate * mean / (np.sqrt(square) + 1e-8), 0.01)
    assert min(counts.values()) > 1  # both branches
    with jax.enable_x64(True):
        network, params = two_layers("float64")
        found, info = grad_init(
            jax.random.key(0),
            params,
            network,
            optimizer=optimizer,
            step_size=step_size,
            gamma=gamma,
            learning_rate=rate,
            steps=steps,
        )
        np.testing.assert_allclose(found["w"].ravel(), scales[0] * FIRST, rtol=1e-5)
        np.testing.assert_allclose(found["v"].ravel(), scales[1] * SECOND, rtol=1e-5)
        np.testing.assert_allclose(info["gradient_norm_after"], norm(scales), rtol=1e-5)
        np.testing.assert_allclose(info["loss_before"], loss(np.ones(2)), rtol=1e-6)
        np.testing.assert_allclose(info["loss_after"], loss(scales), rtol=1e-5, atol=1e-9)


def test_grad_init_keeps_the_lower_bound():
    network, params = two_layers("float32")
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    found, _ = grad_init(
        jax.random.key(0), params, network, learning_rate=5.0, smallest=0.5, steps=1, gamma=0.1
    )
    np.testing.assert_allclose(found["w"], params["w"] / 2, rtol=1e-6)
    np.testing.assert_allclose(found["v"], params["v"] / 2, rtol=1e-6)


@functools.cache
def on_digits(name):
    """A model of the package on the digits, reduced to 4 x 4 pixels."""
    train = load_digits(Request("digits", "classification", SplitSpec())).train
    pictures = np.asarray(train.inputs).reshape(-1, 4, 2, 4, 2).mean((2, 4))
    inputs, targets = jnp.asarray(pictures.reshape(-1, 16)), jnp.asarray(train.targets)
    options = {
        "mlp": {"hidden": (16, 16, 16), "activation": "relu"},
        "cnn": {"channels": (3, 4), "hidden": (6,), "activation": "relu"},
    }[name]
    model = REGISTRY[name].make(outputs=10, **options)
    shapes = param_shapes(model, inputs)

    def apply(params, inputs):
        return model.apply(params, {}, inputs)[0]

    with as_stock():
        network = make_network(
            apply, optax.softmax_cross_entropy_with_integer_labels, shapes, inputs, targets
        )
    return network, shapes


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize(
    ("method", "options", "objective"),
    [
        (meta_init, {}, "gradient_quotient"),
        (grad_init, {}, "loss"),
        (grad_init, {"optimizer": "adam", "step_size": 1e-3, "gamma": 30.0}, "loss"),
    ],
    ids=["meta_init", "grad_init-sgd", "grad_init-adam"],
)
def test_every_seed_lowers_its_objective(name, method, options, objective):
    network, shapes = on_digits(name)

    @jax.jit
    def refine(key):
        rules = default_rules("he_normal")
        params = initialize(key, shapes, rules, network.anatomy.layouts)
        return params, *method(key, params, network, **options)

    for seed in range(5):
        start, params, info = refine(jax.random.key(seed))
        assert info[f"{objective}_after"] < info[f"{objective}_before"], (seed, info)
        if method is grad_init:
            limit = options.get("gamma", 1.0)
            assert info["gradient_norm_after"] < 1.1 * limit, info
        # Only the length of a leaf changes; biases are zeros and stay.
        for one, other in zip(jax.tree.leaves(start), jax.tree.leaves(params), strict=True):
            ratio = jnp.vdot(one, other) / jnp.maximum(jnp.vdot(one, one), 1e-30)
            np.testing.assert_allclose(other, ratio * one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (meta_init, {"steps": 1.5}, "steps must be a whole number above 0, got 1.5"),
        (meta_init, {"momentum": 1.0}, "momentum must be at least 0 and below 1"),
        (grad_init, {"optimizer": "adm"}, "unknown optimizer 'adm'; did you mean 'adam'"),
        (grad_init, {"gamma": 0.0}, "gamma must be a finite number above 0"),
        (grad_init, {"steps": True}, "steps must be a whole number"),
    ],
)
def test_what_is_refused(method, options, message):
    network, params = two_layers("float32")
    with pytest.raises(ValueError, match=message):
        method(jax.random.key(0), params, network, **options)
