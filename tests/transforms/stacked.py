"""A model whose hidden layers are one leaf, and transforms of one's own that ask for layouts."""

import jax
import jax.numpy as jnp
import optax

from initopt_jax.types import Model

WIDTH = 8


def stacked(outputs):
    """Two hidden layers in one leaf, run by a loop, between a first and a last one."""
    shapes = {"first": (64, WIDTH), "last": (WIDTH, outputs), "layers": (2, WIDTH, WIDTH)}

    def init(key, inputs):
        del inputs
        keys = jax.random.split(key, len(shapes))
        draw = jax.random.normal
        return {n: draw(k, s) / 4 for k, (n, s) in zip(keys, shapes.items(), strict=True)}, {}

    def apply(params, model_state, inputs, *, key=None, train=False):
        del key, train
        x = inputs.reshape(len(inputs), -1) @ params["first"]
        x, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, params["layers"])
        return x @ params["last"], model_state

    return Model(init, apply)


def by_kernel_count(learning_rate, layouts):
    """Every leaf moves by its number of kernels."""

    def update(updates, params):
        del params
        return {
            path: jnp.full_like(g, -learning_rate * layouts[path].kernels(g.shape))
            for path, g in updates.items()
        }

    return optax.stateless(update)


def times_kernels(layouts):
    """Every gradient times its number of kernels."""
    return optax.stateless(
        lambda updates, params: {p: g * layouts[p].kernels(g.shape) for p, g in updates.items()}
    )
