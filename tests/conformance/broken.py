"""Transforms, and an initializer, that break a contract each: every contract can be broken."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from initopt_jax.types import EvaluatedTransform

RANDOM = np.random.default_rng(0)


def stateless(step):
    """`step(gradients, params) -> updates`."""
    return optax.GradientTransformation(
        lambda params: (), lambda updates, state, params=None: (step(updates, params), state)
    )


def scaled(rate, updates):
    return jax.tree.map(lambda g: -rate * g, updates)


def refuses(learning_rate):
    raise ValueError(f"{learning_rate} is no\nlearning rate")


def returns_nothing(learning_rate):
    return None


def wants_more(learning_rate):
    return optax.GradientTransformationExtraArgs(
        lambda params: (), lambda updates, state, params=None, *, obj_fn, **_: (updates, state)
    )


def halves_the_precision(learning_rate):
    return stateless(
        lambda updates, _: jax.tree.map(lambda g: (-learning_rate * g).astype("float16"), updates)
    )


def counts_in_float(learning_rate):
    return optax.GradientTransformation(
        lambda params: jnp.int32(0),
        lambda updates, state, params=None: (scaled(learning_rate, updates), state + 1.0),
    )


def draws_from_outside(learning_rate):
    return stateless(lambda updates, _: scaled(learning_rate * RANDOM.uniform(1, 2), updates))


def counts_in_secret(learning_rate):
    calls = []
    return stateless(
        lambda updates, _: calls.append(1) or scaled(learning_rate * len(calls), updates)
    )


def leaves_jax(learning_rate):
    def outside(g):
        return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(g.shape, g.dtype), g)

    return stateless(lambda updates, _: scaled(learning_rate, jax.tree.map(outside, updates)))


def branches_on_a_number(learning_rate, decay=0.5):
    return optax.sgd(learning_rate, decay if decay > 0.1 else None)


def ignores_its_rate(learning_rate):
    return optax.sgd(0.01)


def ignores_its_eps(learning_rate, eps=1e-3):
    return optax.sgd(learning_rate)


def knows_one_tree(learning_rate):
    return stateless(lambda updates, _: {**scaled(learning_rate, updates), "bias": jnp.zeros(3)})


def reads_schedules_late(learning_rate):
    rate = 2 * learning_rate(0) if callable(learning_rate) else learning_rate
    return optax.sgd(rate)


def divides_by_the_norm(learning_rate):
    return stateless(lambda updates, _: scaled(learning_rate / optax.tree.norm(updates), updates))


def climbs(learning_rate):
    return optax.sgd(learning_rate, momentum=0.9) if callable(learning_rate) else stateless(
        lambda updates, _: scaled(-learning_rate, updates)
    )  # fmt: skip


def offers_other_types(learning_rate):
    plain = optax.with_extra_args_support(optax.sgd(learning_rate))
    return EvaluatedTransform(
        plain.init,
        plain.update,
        lambda state, params: jax.tree.map(lambda leaf: leaf.astype("bfloat16"), params),
    )


def shares_the_weights(learning_rate):
    return optax.GradientTransformation(
        lambda params: params,
        lambda updates, state, params=None: (scaled(learning_rate, updates), state),
    )


def knows_numbers_that_are_written(key, shape, dtype=jnp.float32, gain=1.0):
    """An initializer."""
    scale = gain if isinstance(gain, float) else 1.0
    return jnp.asarray(scale, dtype) * jax.random.normal(key, shape, dtype)


def shrinks(learning_rate, shrink=0.5):
    """Nothing is broken: the rate shrinks where the loss rises, and may be a schedule."""

    def init(params):
        return jnp.float32(1), jnp.float32(jnp.inf), jnp.int32(0)

    def update(updates, state, params=None, *, value, **extra):
        factor, loss, count = state
        factor = factor * jnp.where(value <= loss, 1, shrink)
        rate = learning_rate(count) if callable(learning_rate) else learning_rate
        steps = jax.tree.map(lambda g: -jnp.asarray(factor * rate, g.dtype) * g, updates)
        return steps, (factor, value.astype(jnp.float32), count + 1)

    return optax.GradientTransformationExtraArgs(init, update)
