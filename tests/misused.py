"""Functions that users get wrong, a kind each; `test_misused.py` says what they are told."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn


def draws_of_two(key, shape):
    return jnp.zeros(shape)


def draws_nothing(key, shape, dtype):
    return None


def draws_a_pair(key, shape, dtype):
    return jnp.zeros(shape), 1


def draws_another_shape(key, shape, dtype):
    return jnp.zeros(3)


def draws_integers(key, shape, dtype):
    return jnp.zeros(shape, jnp.int32)


def draws_a_function(key, shape, dtype):
    return jax.nn.initializers.normal()


def draws_and_fails(key, shape, dtype):
    return {}["no key"]


def draw_factory(scale=1.0):
    return jax.nn.initializers.normal(scale)


def refines_nothing(key, params, network):
    return None


def refines_without_info(key, params, network):
    return params


def refines_with_arrays(key, params, network):
    return params, {"all": jnp.zeros(3)}


def refines_of_two(key, params):
    return params, {}


def transforms_to_nothing(learning_rate):
    return None


def transforms_to_a_function(learning_rate):
    return lambda grads: grads


def needs_a_number(learning_rate, beta):
    return optax.sgd(learning_rate, beta)


def takes_no_rate():
    return optax.sgd(0.1)


def updates_of_one(learning_rate):
    return optax.GradientTransformation(lambda params: (), lambda updates: updates)


def updates_without_state(learning_rate):
    return optax.GradientTransformation(lambda params: (), lambda updates, state, params: updates)


def updates_to_numbers(learning_rate):
    return optax.stateless(lambda updates, params: jax.tree.map(jnp.sum, updates))


def updates_and_fails(learning_rate):
    return optax.stateless(lambda updates, params: updates["no leaf"])


def updates_by_an_if(learning_rate):
    def update(updates, params):
        return updates if optax.tree.norm(updates) > 1 else params

    return optax.stateless(update)


def negates_its_rate(learning_rate):
    return optax.stateless(
        lambda updates, params: jax.tree.map(lambda g: -learning_rate * g, updates)
    )


def negates_its_rate_at_once(learning_rate):
    return optax.scale(-learning_rate)


made_transform = optax.sgd(0.1)


def schedules_nothing(count, steps):
    return None


def schedules_a_pair(count, steps):
    return 1.0, 2.0


def schedules_many(count, steps):
    return jnp.ones(3)


def schedules_by_an_if(count, steps):
    return 0.1 if count < 3 else 1.0


def schedules_by_math(count, steps):
    return math.cos(count / steps)


def schedule_factory(init_value=0.1, decay=0.9):
    return optax.exponential_decay(init_value, 10, decay)


def schedules_by_one(count):
    return 1.0


def other_names_of_a_schedule(step, total, *, end=0.0):
    return end + (1 - end) * (1 - step / total)


def modifies_to_nothing():
    return None


def modifies_and_fails():
    raise RuntimeError("boom")


def modifies_shapes():
    return optax.stateless(lambda updates, params: jax.tree.map(lambda leaf: leaf[0], updates))


def modifies_by_an_if(scale=1.0):
    return optax.scale(scale) if scale > 0 else optax.identity()


class WithoutOutputs(nn.Module):
    num_classes: int = 10

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes)(x)


class OfADictionary(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x):
        return {"logits": nn.Dense(self.outputs)(x)}


def model_of_nothing(*, outputs):
    return None


def model_class(*, outputs):
    return nn.Dense


def model_without_outputs():
    return nn.Dense(10)


def task_of_nothing():
    return None


def data_of_nothing():
    return None


def data_of_two_lengths():
    return np.zeros((100, 4)), np.zeros(90, int)


def data_from(path):
    return np.zeros((100, 4)), np.zeros(100, int)


def probes_nothing(params):
    return None


def probes_text(params):
    return {"word": "x"}


def probes_a_tree(params):
    return {"all": {"b": jnp.zeros(())}}


def probes_by_float(params):
    return {"size": float(optax.tree.norm(params))}


def probes_what_is_not_given(x, y):
    return {"x": x}


def augments_to_nothing(key, examples):
    return None


def augments_by_one(examples):
    return examples


def augments_by_an_if(key, examples):
    return examples if jax.random.uniform(key) > 0.5 else -examples


def costs_nothing(x, y):
    return None


def costs_by_math(x, y):
    return math.sin(x) + y


def costs_a_pair(x, y):
    return x, y
