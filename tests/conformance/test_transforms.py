"""What every transform of the registry keeps, whatever its method."""

import functools
import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax.transforms import REGISTRY
from initopt_jax.types import option_names

# Three values of each hyperparameter; a new name must be given its own here.
VALUES = {
    "learning_rate": [0.3, 0.05, 0.001],
    "decay": [0.0, 0.9, 0.99],
    "rho": [0.5, 0.95, 0.99],
    "b1": [0.9, 0.0, 0.5],
    "b2": [0.999, 0.9, 0.99],
    "eps": [1e-8, 1e-3, 1e-6],
    "initial_accumulator": [0.0, 0.1, 0.01],
    # Of the variants of momentum, Adagrad, RMSprop and Adam:
    "dampening": [0.5, 0.1, 0.0],
    "interval": [1.0, 2.0, 3.0],
    "lr_decay": [1.0, 0.1, 0.0],
    "max_decay": [0.3, 0.6, 0.9],
    "momentum": [0.0, 0.9, 0.5],
    "momentum_decay": [100.0, 1.0, 10.0],
    "multiplier": [0.5, 1.0, 2.0],
    "nu": [0.2, 0.7, 1.0],
    "nu1": [0.2, 0.7, 1.0],
    "nu2": [0.3, 0.9, 1.0],
    "scale": [0.5, 0.1, 0.9],
    # Of the methods that see layers, matrices or the cost around the weights:
    "adam_scale": [1.0, 0.5, 0.1],
    "clip": [0.2, 1.0, 0.5],
    "decay_power": [0.5, 0.8, 1.0],
    "initial_distance": [0.3, 0.1, 0.03],
    "min_scale": [2.0, 0.001, 0.1],
    "trust_coefficient": [0.5, 0.1, 0.02],
    "weight_decay": [0.5, 0.01, 0.0],
}
# In float32, roots and bases of nearly singular matrices amplify rounding to 1e-4 and more.
# A mean with b1 of 0 is the gradient, to which other numbers make no difference.
SLOW = {"b1": [0.5, 0.9, 0.0]}
VALUES_OF = {
    "shampoo": {"eps": [1.0, 0.1, 0.03]},
    "soap": {"eps": [1.0, 0.1, 0.03]},
    "adagrad_full": {"eps": [1.0, 0.1, 0.03]},
    "lion": SLOW | {"learning_rate": [0.9, 0.5, 0.001]},  # signs turn
    "nadam": SLOW,
    "qhadam": SLOW,
}
# Relative rounding of five steps; L-BFGS divides by differences of gradients, a tenth as large.
ROUNDING = {"lbfgs": 2e-4}
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
# They ask for the cost at other weights, all of them: a mask hides some.
LOOK_AROUND = {"gradient_flow", "lbfgs", "sam"}
NESTED = {
    "dense_0": {"kernel": np.linspace(-1, 1, 6).reshape(2, 3), "bias": np.array([0.3, -0.7, 0.1])},
    "rest": [np.array(0.5), (np.array([[1.5]]),)],
}


def options(name, flags):
    """Names of the hyperparameters of a method, or of its flags; not counts, text or layouts."""
    found = option_names(REGISTRY[name].make)
    return [
        key
        for key, default in found.items()
        if isinstance(default, bool) == flags and type(default) not in (int, str, type(None))
    ]


def variants(leave_out=frozenset()):
    """Every method with every setting of its flags; `gd` is the function of `sgd`."""
    for name in sorted(set(REGISTRY) - {"gd"} - leave_out):
        flags = options(name, flags=True)
        for settings in itertools.product([False, True], repeat=len(flags)):
            chosen = dict(zip(flags, settings, strict=True))
            yield pytest.param(
                name, chosen, id=" ".join([name, *(k for k, on in chosen.items() if on)])
            )


EACH = pytest.mark.parametrize(("name", "flags"), list(variants()))


def values(name, key):
    return VALUES_OF.get(name, {}).get(key, VALUES[key])


def numbers(name, which=1):
    return {key: jnp.float32(values(name, key)[which]) for key in options(name, flags=False)}


def tree(dtype=jnp.float32):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), NESTED)


def gradients(params):
    """Of a cost that is not quadratic; keeps structure, shapes and dtypes."""
    return jax.tree.map(lambda p: jnp.sin(3 * p) + p / 4, params)


def cost(params):
    """The function whose gradient `gradients` is."""
    terms = jax.tree.map(lambda p: jnp.sum(p * p / 8 - jnp.cos(3 * p) / 3), params)
    return sum(term.astype(jnp.float32) for term in jax.tree.leaves(terms))


def update(transform, grads, state, params=None, value_fn=None):
    """One update with all that the engine hands on; without a cost, a linear one fits."""

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


def train(name, flags, hyperparameters, params, count=5):
    """The parameters after some steps, the transform built here, from what may be traced."""
    transform = REGISTRY[name].make(**hyperparameters, **flags)

    def step(carry, _):
        params, state = carry
        updates, state = update(transform, gradients(params), state, params, cost)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, transform.init(params)), length=count)[0]


@functools.cache
def compiled(name, flags):
    """`train` from the same start, compiled once for the tests that only change the numbers."""
    return jax.jit(lambda hyperparameters: train(name, dict(flags), hyperparameters, tree()))


def trained(name, flags, hyperparameters):
    return compiled(name, tuple(flags.items()))(hyperparameters)


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
    required = [key for key, default in found.items() if default is inspect.Parameter.empty]
    assert set(required) <= {"learning_rate"}


def types_of_one_update(name, flags, hyperparameters, params):
    """Types of the first state, the next one, the gradients and the updates; nothing is run."""

    def one_update(hyperparameters, params):
        transform = REGISTRY[name].make(**hyperparameters, **flags)
        state, grads = transform.init(params), gradients(params)
        updates, new_state = update(transform, grads, state, params, cost)
        return state, new_state, grads, updates

    return jax.eval_shape(one_update, hyperparameters, params)


@EACH
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_update_keeps_structure_shapes_and_dtypes(name, flags, dtype):
    for params in (tree(dtype), jnp.ones(4, dtype), jnp.asarray(2.0, dtype)):
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
def test_compiled_equals_uncompiled(name, flags):
    params = tree()
    transform = REGISTRY[name].make(**numbers(name), **flags)
    state = transform.init(params)
    for _ in range(5):
        updates, state = update(transform, gradients(params), state, params, cost)
        params = optax.apply_updates(params, updates)
    ours = trained(name, flags, numbers(name))
    assert_close(ours, (params, state), rtol=ROUNDING.get(name, 1e-5))


@EACH
def test_lanes_of_all_hyperparameters_equal_one_by_one(name, flags):
    lanes = {key: jnp.asarray(values(name, key), jnp.float32) for key in options(name, flags=False)}
    together = jax.jit(jax.vmap(lambda n: train(name, flags, n, tree())[0]))(lanes)
    alone = [trained(name, flags, numbers(name, which))[0] for which in range(3)]
    assert_close(together, jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone), rtol=1e-5)
    kernels = np.asarray(together["dense_0"]["kernel"])
    assert not np.allclose(kernels[0], kernels[1], atol=1e-4)  # the numbers reached the lanes


@EACH
def test_each_hyperparameter_matters(name, flags):
    base = numbers(name)
    expected, _ = trained(name, flags, base)
    for key in base:
        # A large eps: the others of VALUES are meant not to be felt.
        changed = jnp.float32(0.5 if key == "eps" else values(name, key)[0])
        moved, _ = trained(name, flags, {**base, key: changed})
        pairs = zip(jax.tree.leaves(moved), jax.tree.leaves(expected), strict=True)
        assert max(np.max(np.abs(one - other)) for one, other in pairs) > 1e-4, key


@EACH
def test_a_number_as_python_float_equals_the_traced_one(name, flags):
    written = {key: values(name, key)[1] for key in numbers(name)}
    ours = jax.jit(lambda: train(name, flags, written, tree()))()
    assert_close(ours, trained(name, flags, numbers(name)))


@EACH
def test_bfloat16_follows_float32(name, flags):
    # Two steps: a dozen roundings of 2^-9 each in the accumulators and the updates.
    transform = REGISTRY[name].make(**numbers(name, 0), **flags)
    grads = jnp.array([[0.5, -2.0, 0.01], [1.0, -1.5, -0.03]], jnp.bfloat16)
    narrow, wide = grads, grads.astype(jnp.float32)
    states = [transform.init(narrow[0]), transform.init(wide[0])]
    for t in range(2):
        ours, states[0] = update(transform, narrow[t], states[0])
        expected, states[1] = update(transform, wide[t], states[1])
        assert_close(ours, expected, rtol=0.03)


@EACH
def test_a_changed_number_does_not_recompile(name, flags):
    traces = []

    @jax.jit
    def run(hyperparameters):
        traces.append(1)
        return train(name, flags, hyperparameters, jnp.ones(3))[0]

    results = [run(numbers(name, which)) for which in range(3)]
    assert len(traces) == 1
    assert not np.allclose(results[0], results[1], atol=1e-4)


@EACH
def test_schedules_are_accepted(name, flags):
    hyper = numbers(name)
    rate = float(hyper.pop("learning_rate"))
    steady = {**hyper, "learning_rate": optax.constant_schedule(rate)}
    expected, _ = trained(name, flags, numbers(name))
    assert_close(train(name, flags, steady, tree())[0], expected, rtol=1e-5)


@EACH
def test_a_schedule_sets_the_learning_rate_of_its_step(name, flags):
    hyper = {**numbers(name), "learning_rate": lambda count: jnp.where(count < 1, 0.5, 0.0)}
    if name == "adamw_paper":  # its decay does not depend on the learning rate
        hyper["weight_decay"] = 0.0
    transform = REGISTRY[name].make(**hyper, **flags)
    gradient = jnp.ones(3)
    first, state = update(transform, gradient, transform.init(gradient))
    second, _ = update(transform, gradient, state, gradient + first)
    assert np.all(first < 0)
    left = LEFT.get((name, *(flag for flag, on in flags.items() if on)), 0.0)
    np.testing.assert_allclose(second, left * first, rtol=1e-6)


@pytest.mark.parametrize(("name", "flags"), list(variants(leave_out=LOOK_AROUND)))
def test_masked_touches_only_what_is_asked(name, flags):
    params = {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([0.5])}
    plain = REGISTRY[name].make(**numbers(name), **flags)
    masked = optax.masked(plain, {"kernel": True, "bias": False})
    grads = gradients(params)
    updates, _ = masked.update(grads, masked.init(params), params)
    expected, _ = plain.update(grads["kernel"], plain.init(params["kernel"]), params["kernel"])
    np.testing.assert_array_equal(updates["bias"], grads["bias"])
    np.testing.assert_array_equal(updates["kernel"], expected)


@EACH
@pytest.mark.parametrize("eps", [None, 0.0])
def test_no_gradient_means_no_step(name, flags, eps):
    hyper = numbers(name)
    if eps is not None:
        hyper = {key: jnp.float32(eps) if key == "eps" else value for key, value in hyper.items()}
    if "initial_accumulator" in hyper:
        hyper["initial_accumulator"] = jnp.float32(0.0)
    transform = REGISTRY[name].make(**hyper, **flags)
    for dtype in (jnp.float32, jnp.bfloat16):
        zero = jnp.zeros(3, dtype)
        state = transform.init(zero)
        for _ in range(2):
            updates, state = update(transform, zero, state, zero)
            np.testing.assert_array_equal(np.asarray(updates, np.float32), 0)
            assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))


@EACH
def test_a_fresh_state_may_be_donated(name, flags):
    transform = REGISTRY[name].make(**numbers(name), **flags)
    params = tree()
    donating = jax.jit(lambda state, g: update(transform, g, state, params), donate_argnums=0)
    expected, _ = update(transform, gradients(params), transform.init(params), params)
    updates, _ = donating(transform.init(params), gradients(params))
    assert_close(updates, expected, rtol=1e-5)


@EACH
def test_strict_dtype_promotion(name, flags):
    grads = {"wide": jnp.ones(3, jnp.float32), "narrow": jnp.ones(3, jnp.bfloat16)}
    with jax.numpy_dtype_promotion("strict"):
        transform = REGISTRY[name].make(**numbers(name), **flags)
        updates, _ = update(transform, grads, transform.init(grads))
    assert_same_types(updates, grads)


def bad_numbers():
    for name in REGISTRY:
        for key in options(name, flags=False):
            bad = ["fast", None, True, float("nan"), float("inf"), -0.5]
            above = key in ABOVE_ONE and not (key == "rho" and name in FREE_RHO)
            bad += [1.0] if above else []
            for value in bad:
                yield pytest.param(name, key, value, id=f"{name} {key} {value}")
        for key in options(name, flags=True):
            yield pytest.param(name, key, "yes", id=f"{name} {key} yes")
        for key, default in option_names(REGISTRY[name].make).items():
            if type(default) is int:
                yield pytest.param(name, key, 0, id=f"{name} {key} 0")
                yield pytest.param(name, key, 2.5, id=f"{name} {key} 2.5")


@pytest.mark.parametrize(("name", "key", "value"), list(bad_numbers()))
def test_wrong_numbers_are_refused_while_building(name, key, value):
    with pytest.raises(ValueError, match=f"^{key} must be .*, got "):
        REGISTRY[name].make(**{"learning_rate": 0.1, key: value})
