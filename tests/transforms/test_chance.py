"""Noise of other people's transformations: of the lane's seed, in a state that can be stored."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax.transforms.chance import holds_keys, seeded, with_words
from initopt_jax.types import EvaluatedTransform, option_names


def by_seed(learning_rate, seed=0, **rest):
    def update(updates, state, params=None):
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(seed), state), (3,))
        return noise * learning_rate, state + 1

    return optax.GradientTransformation(lambda params: jnp.int32(0), update)


@pytest.mark.parametrize("make", [optax.noisy_sgd, by_seed])
def test_a_factory_draws_from_the_key_that_it_is_given(make):
    zeros = jnp.zeros(3)
    made = seeded(make)
    assert not {"key", "seed"} & set(option_names(made))

    def noise(number):
        transform = made(0.1, noise_key=jax.random.key(number))
        return np.asarray(transform.update(zeros, transform.init(zeros), zeros)[0])

    np.testing.assert_array_equal(noise(1), noise(1))
    assert (noise(1) != noise(2)).all()


def test_a_factory_without_a_key_stays_what_it_is():
    assert seeded(optax.adam) is optax.adam


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_words_in_place_of_keys_change_no_update(impl):
    plain = optax.chain(optax.add_noise(1.0, 0.5, key=jax.random.key(3, impl=impl)), optax.sgd(0.1))
    worded = with_words(plain)
    params = updates = jnp.ones(3)
    state, other = plain.init(params), worded.init(params)
    assert holds_keys(state)
    for _ in range(3):
        assert not holds_keys(other)
        one, state = plain.update(updates, state, params)
        two, other = jax.jit(worded.update)(updates, other, params)
        np.testing.assert_allclose(one, two, rtol=1e-6)  # one is compiled
    np.testing.assert_array_equal(jax.random.key_data(state[0].rng_key), other[0].rng_key)


def test_weights_to_evaluate_are_still_offered():
    noisy = optax.add_noise(1.0, 0.5, key=0)
    made = EvaluatedTransform(
        noisy.init,
        optax.with_extra_args_support(noisy).update,
        lambda state, params: params + jax.random.normal(state.rng_key, params.shape),
    )
    params, worded = jnp.zeros(3), with_words(made)
    assert isinstance(worded, EvaluatedTransform)
    evaluated = worded.eval_params(worded.init(params), params)
    np.testing.assert_array_equal(evaluated, made.eval_params(made.init(params), params))
