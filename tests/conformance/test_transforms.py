"""What the registered transforms keep beyond the contracts of any transform.

Those are in `test_contracts.py`: lanes, traced numbers, schedules, masks, donation and the like.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax.transforms import REGISTRY
from initopt_jax.types import option_names
from tests.conformance.variants import EACH, options, required

# Two values of each hyperparameter; a new name must be given its own here.
VALUES = {
    "learning_rate": (0.3, 0.05),
    "decay": (0.0, 0.9),
    "rho": (0.5, 0.95),
    "b1": (0.9, 0.0),
    "b2": (0.999, 0.9),
    "eps": (1e-8, 1e-3),
    "initial_accumulator": (0.0, 0.1),
    # Of the variants of momentum, Adagrad, RMSprop and Adam:
    "dampening": (0.5, 0.1),
    "interval": (1.0, 2.0),
    "lr_decay": (1.0, 0.1),
    "max_decay": (0.3, 0.6),
    "momentum": (0.0, 0.9),
    "momentum_decay": (100.0, 1.0),
    "multiplier": (0.5, 1.0),
    "nu": (0.2, 0.7),
    "nu1": (0.2, 0.7),
    "nu2": (0.3, 0.9),
    "scale": (0.5, 0.1),
    # Of the methods that see layers, matrices or the loss around the weights:
    "adam_scale": (1.0, 0.5),
    "clip": (0.2, 1.0),
    "decay_power": (0.5, 0.8),
    "initial_distance": (0.3, 0.1),
    "min_scale": (2.0, 0.001),
    "trust_coefficient": (0.5, 0.1),
    "weight_decay": (0.5, 0.01),
}
# In float32, roots and bases of nearly singular matrices amplify rounding to 1e-4 and more.
# A mean with b1 of 0 is the gradient, to which other numbers make no difference.
SLOW = {"b1": (0.5, 0.9)}
VALUES_OF = {
    "shampoo": {"eps": (1.0, 0.1)},
    "soap": {"eps": (1.0, 0.1)},
    "adagrad_full": {"eps": (1.0, 0.1)},
    "lion": SLOW | {"learning_rate": (0.9, 0.5)},  # signs turn
    "nadam": SLOW,
    "qhadam": SLOW,
}
ABOVE_ONE = {"decay", "rho", "b1", "b2"}
# What is left of a step in the next one, whose learning rate is 0: a velocity holds the rates of
# its gradients, and decays.
LEFT = {
    ("lars",): 0.9,
    ("momentum",): 0.9,
    ("momentum", "ema"): 0.9,
    ("nesterov",): 0.9**2 / 1.9,
    ("rmsprop_graves",): 0.9,
    ("sutskever_momentum",): 0.5,
    ("sutskever_momentum", "nesterov"): 0.6 * 0.5 / 1.5,
}
# Each step sees the whole training set.
FULL_BATCH = {"gd", "gradient_flow", "lbfgs"}
# Their `rho` is a distance, not a decay.
FREE_RHO = {"sam"}
# Numbers about all weights, roots of matrices and line searches would be lost in bfloat16: part of
# the state is kept in the working dtype.
WIDE_STATE = {
    "adagrad_full",
    "lbfgs",
    "nadam",
    "nesterov_1983",
    "prodigy",
    "schedule_free_adam",
    "schedule_free_sgd",
    "shampoo",
    "soap",
}
NESTED = {
    "dense_0": {"kernel": np.linspace(-1, 1, 6).reshape(2, 3), "bias": np.array([0.3, -0.7, 0.1])},
    "rest": [np.array(0.5), (np.array([[1.5]]),)],
}


def values(name, key):
    return VALUES_OF.get(name, {}).get(key, VALUES[key])


def numbers(name, which=1):
    return {key: jnp.float32(values(name, key)[which]) for key in options(name, flags=False)}


def tree(dtype=jnp.float32):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), NESTED)


def gradients(params):
    """Of a loss that is not quadratic; keeps structure, shapes and dtypes."""
    return jax.tree.map(lambda p: jnp.sin(3 * p) + p / 4, params)


def loss(params):
    """The function whose gradient `gradients` is."""
    terms = jax.tree.map(lambda p: jnp.sum(p * p / 8 - jnp.cos(3 * p) / 3), params)
    return sum(term.astype(jnp.float32) for term in jax.tree.leaves(terms))


def update(transform, grads, state, params=None, value_fn=None):
    """One update with all that the engine hands on; without a loss, a linear one fits."""

    def linear(params):
        products = jax.tree.map(lambda g, p: jnp.sum(g * p).astype(jnp.float32), grads, params)
        return sum(jax.tree.leaves(products))

    params = grads if params is None else params
    value_fn = value_fn or linear
    return optax.with_extra_args_support(transform).update(
        grads,
        state,
        params,
        value=value_fn(params),
        grad=grads,
        value_fn=lambda params, key=None: value_fn(params),
        key=jax.random.key(0),
    )


@functools.cache
def compiled(name, flags):
    """An update that is compiled once per dtype, for the tests that only change the numbers."""

    def one_update(hyperparameters, grads, state):
        return update(REGISTRY[name].make(**hyperparameters, **dict(flags)), grads, state)

    return jax.jit(one_update)


def assert_close(ours, expected, rtol=1e-6, atol=1e-7):
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(
            np.asarray(one, np.float64), np.asarray(other, np.float64), rtol=rtol, atol=atol
        )


def assert_same_types(ours, expected):
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert (one.shape, one.dtype, one.weak_type) == (other.shape, other.dtype, other.weak_type)


@pytest.mark.parametrize("name", REGISTRY)
def test_entry_and_docstring(name):
    entry = REGISTRY[name]
    assert entry.name == name
    assert "theta <- theta" in entry.formula
    assert entry.reference
    assert entry.full_batch == (name in FULL_BATCH)
    for section in ("Args:", "Returns:", "Raises:", "Reference:", ">>> "):
        assert section in (inspect.getdoc(entry.make) or "")


@pytest.mark.parametrize("name", REGISTRY)
def test_names_of_arguments(name):
    found = option_names(REGISTRY[name].make)
    assert next(iter(found)) == "learning_rate"
    assert set(options(name, flags=False)) <= set(VALUES)
    assert set(required(name)) <= {"learning_rate"}


def types_of_one_update(name, flags, hyperparameters, params):
    """Types of the first state, the next one, the gradients and the updates; nothing is run."""

    def one_update(hyperparameters, params):
        transform = REGISTRY[name].make(**hyperparameters, **flags)
        state, grads = transform.init(params), gradients(params)
        updates, new_state = update(transform, grads, state, params, loss)
        return state, new_state, grads, updates

    return jax.eval_shape(one_update, hyperparameters, params)


@EACH
def test_update_keeps_structure_shapes_and_dtypes(name, flags):
    for dtype in (jnp.float32, jnp.bfloat16):
        params = tree(dtype)
        state, new_state, grads, updates = types_of_one_update(name, flags, numbers(name), params)
        assert_same_types(new_state, state)
        assert_same_types(updates, grads)
        whole = (jnp.int32, jnp.bool_)
        accumulators = [leaf for leaf in jax.tree.leaves(state) if leaf.dtype not in whole]
        kept = {dtype, jnp.float32} if name in WIDE_STATE else {dtype}
        assert {leaf.dtype for leaf in accumulators} <= {jnp.dtype(one) for one in kept}


@EACH
def test_update_keeps_dtypes_in_x64(name, flags):
    # A float32 hyperparameter must not lower float64 weights, nor a float64 one raise float32 ones.
    with jax.enable_x64(True):
        for of_weights, of_numbers in ((jnp.float64, jnp.float32), (jnp.float32, jnp.float64)):
            hyper = jax.tree.map(lambda x, to=of_numbers: x.astype(to), numbers(name))
            params = jnp.linspace(-1, 1, 4, dtype=of_weights)
            state, new_state, _, updates = types_of_one_update(name, flags, hyper, params)
            assert_same_types(new_state, state)
            assert updates.dtype == of_weights


@EACH
def test_strict_dtype_promotion(name, flags):
    grads = {"wide": jnp.ones(3, jnp.float32), "narrow": jnp.ones(3, jnp.bfloat16)}

    def one_update(hyperparameters, grads):
        transform = REGISTRY[name].make(**hyperparameters, **flags)
        return update(transform, grads, transform.init(grads))[0]

    with jax.numpy_dtype_promotion("strict"):
        assert_same_types(jax.eval_shape(one_update, numbers(name), grads), grads)


@EACH
def test_bfloat16_follows_float32(name, flags):
    # Two steps: a dozen roundings of 2^-9 each in the accumulators and the updates.
    hyper, step = numbers(name, 0), compiled(name, tuple(flags.items()))
    transform = REGISTRY[name].make(**hyper, **flags)
    grads = jnp.array([[0.5, -2.0, 0.01], [1.0, -1.5, -0.03]], jnp.bfloat16)
    narrow, wide = grads, grads.astype(jnp.float32)
    states = [transform.init(narrow[0]), transform.init(wide[0])]
    for t in range(2):
        ours, states[0] = step(hyper, narrow[t], states[0])
        expected, states[1] = step(hyper, wide[t], states[1])
        assert_close(ours, expected, rtol=0.03)


@EACH
def test_no_gradient_means_no_step(name, flags):
    step, given = compiled(name, tuple(flags.items())), numbers(name)
    if "initial_accumulator" in given:
        given["initial_accumulator"] = jnp.float32(0.0)
    for hyper in [given, *([{**given, "eps": jnp.float32(0.0)}] if "eps" in given else [])]:
        transform = REGISTRY[name].make(**hyper, **flags)
        for dtype in (jnp.float32, jnp.bfloat16):
            zero = jnp.zeros(3, dtype)
            state = transform.init(zero)
            for _ in range(2):
                updates, state = step(hyper, zero, state)
                np.testing.assert_array_equal(np.asarray(updates, np.float32), 0)
                assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))


@EACH
def test_a_schedule_sets_the_learning_rate_of_its_step(name, flags):
    hyper = {**numbers(name), "learning_rate": lambda count: jnp.where(count < 1, 0.5, 0.0)}
    if name == "adamw_paper":  # its decay does not depend on the learning rate
        hyper["weight_decay"] = 0.0
    transform = REGISTRY[name].make(**hyper, **flags)
    gradient = jnp.ones(3)
    step = jax.jit(functools.partial(update, transform))
    first, state = step(gradient, transform.init(gradient))
    second, _ = step(gradient, state, gradient + first)
    assert np.all(first < 0)
    left = LEFT.get((name, *(flag for flag, on in flags.items() if on)), 0.0)
    np.testing.assert_allclose(second, left * first, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "key", "values", "steps"),
    [
        ("adafactor", "min_scale", (2.0, 0.001), 1),
        ("sutskever_momentum", "interval", (1.0, 2.0), 5),
    ],
)
def test_numbers_that_act_late_or_on_small_weights_alone(name, key, values, steps):
    """Those that `listens_to_its_numbers` cannot look at on its quadratic."""

    def last(number):
        transform = REGISTRY[name].make(**(numbers(name) | {key: number}))
        params = jnp.array([0.3, -0.7, 0.1])
        state = transform.init(params)
        for _ in range(steps):
            updates, state = update(transform, gradients(params), state, params, loss)
            params = optax.apply_updates(params, updates)
        return params

    one, other = (last(jnp.float32(number)) for number in values)
    assert np.max(np.abs(one - other)) > 1e-4


def bad_numbers(name):
    """Options of a method, with values that it must refuse."""
    for key in options(name, flags=False):
        above = key in ABOVE_ONE and not (key == "rho" and name in FREE_RHO)
        for value in ("fast", None, True, float("nan"), float("inf"), -0.5, *[1.0] * above):
            yield key, value
    for key in options(name, flags=True):
        yield key, "yes"
    for key, default in option_names(REGISTRY[name].make).items():
        if type(default) is int:
            yield from ((key, 0), (key, 2.5))


@pytest.mark.parametrize("name", REGISTRY)
def test_wrong_numbers_are_refused_while_building(name):
    for key, value in bad_numbers(name):
        with pytest.raises(ValueError, match=f"^{key} must be .*, got "):
            REGISTRY[name].make(**{"learning_rate": 0.1, key: value})
