"""Leaves that transformations and modifiers take: real floating numbers; others are refused."""

import inspect

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax import modifiers, transforms
from initopt_jax.types import option_names

NUMBERS = {
    **dict.fromkeys(("learning_rate", "max_value", "max_norm", "weight_decay"), 0.1),
    "every": 2.0,
    "steps": 10.0,
    "by_path": {"*": 0.1},
    "multipliers": {"block/w": 1.0, "b": 1.0},
    "paths": "b",
    "inner": transforms.sgd(0.1),
    "direction": optax.identity(),
    "velocities": 2,
    "scale": 0.5,
}
CORES = [name for name in transforms.__all__ if name.startswith("scale_by_")]
MAKES = {
    **{name: entry.make for name, entry in transforms.REGISTRY.items()},
    **{name: getattr(transforms, name) for name in (*CORES, "schedule_free", "decay_and_multiply")},
    **{name: entry.make for name, entry in modifiers.REGISTRY.items()},
}
REFUSED = ("complex64", "int32", "bool")


def built(make):
    empty = inspect.Parameter.empty
    needed = [name for name, default in option_names(make).items() if default is empty]
    return optax.with_extra_args_support(make(**{name: NUMBERS[name] for name in needed}))


def tree(dtype):
    return {"b": jnp.ones((2, 2)), "block": {"w": jnp.ones((2, 2), dtype)}}


@pytest.mark.parametrize("name", MAKES)
def test_leaves_that_are_not_real_are_refused_by_name(name):
    transform, good = built(MAKES[name]), tree("float32")
    state = transform.init(good)
    for dtype in REFUSED:
        message = f"and block/w is {dtype}"
        with pytest.raises(ValueError, match=message):
            transform.init(tree(dtype))
        with pytest.raises(ValueError, match=message):
            transform.update(tree(dtype), state, good)


def test_a_schedule_refuses_them_too():
    transform = transforms.sgd(optax.constant_schedule(0.1))
    state = transform.init(tree("float32"))
    with pytest.raises(ValueError, match="gradients must be real floating numbers"):
        transform.update(tree("complex64"), state)


def test_what_to_do_instead():
    for dtype, advice in (("complex64", "two leaves"), ("int32", "collection of its own")):
        with pytest.raises(ValueError, match=advice):
            transforms.adam(0.1).init(tree(dtype))
    with pytest.raises(ValueError, match="and the leaf is complex64"):
        transforms.adam(0.1).init(np.ones(2, np.complex64))
