"""What a model costs, counted from its operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax.engine.model_size import model_size
from initopt_jax.models import REGISTRY, param_shapes
from initopt_jax.types import Model


def cost(model, shape):
    batch = jax.ShapeDtypeStruct(shape, np.float32)
    return model_size(model, param_shapes(model, batch), {}, batch)


def test_perceptron_by_hand():
    """Three products and biases, two activations; reshaping the input makes 64 numbers."""
    counted = cost(REGISTRY["mlp"].make(outputs=10, hidden=[32, 16]), (8, 64))
    assert counted.parameters == 64 * 32 + 32 + 32 * 16 + 16 + 16 * 10 + 10
    assert counted.flops == 2 * (64 * 32 + 32 * 16 + 16 * 10)
    layers = 32 + 16 + 10
    assert 3 * layers - 10 <= counted.activations <= 6 * layers + 64


@pytest.mark.parametrize("convolution", ["stock", "patches"])
def test_convolutions_cost_the_same_in_either_form(convolution):
    options = {"channels": [16, 32], "hidden": [64], "convolution": convolution}
    counted = cost(REGISTRY["cnn"].make(outputs=10, **options), (4, 28, 28, 1))
    products = 28**2 * 9 * 16 + 14**2 * 144 * 32 + 7**2 * 32 * 64 + 64 * 10
    assert counted.flops == pytest.approx(2 * products, rel=0.35)
    assert counted.activations > 28**2 * 16 + 14**2 * 32


def test_loops_count_as_often_as_they_run():
    def init(key, inputs):
        return {"w": jnp.zeros((5, 5))}, {}

    def apply(params, state, inputs, *, key=None, train=False):
        def body(carry, _):
            return carry @ params["w"], None

        return jax.lax.scan(body, inputs, None, length=7)[0], state

    assert cost(Model(init, apply), (3, 5)).flops == 7 * 2 * 25


def test_what_is_written_into_an_array_counts_not_the_array():
    def apply(params, state, inputs, *, train):
        def write(number, made):
            return jax.lax.dynamic_update_slice(made, inputs[:, :2] * 2, (0, 2 * number))

        return jax.lax.fori_loop(0, 5, write, jnp.zeros((8, 1000))), state

    cost = model_size(
        Model(init=apply, apply=apply), {}, {}, jax.ShapeDtypeStruct((8, 4), "float32")
    )
    # 1,000 zeros, and five times 2 numbers sliced, 2 doubled, 2 written and a few of places
    assert 1_000 < cost.activations < 1_100
