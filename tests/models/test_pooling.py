import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from initopt_jax.models.pooling import average_pool, max_pool

SHAPES = [(3, 8, 6, 5), (1, 7, 9, 4), (2, 5, 5, 1)]


def reduce_window(pictures, window, *, largest):
    start, combine = (-jnp.inf, lax.max) if largest else (0.0, lax.add)
    sizes = (1, window, window, 1)
    total = lax.reduce_window(pictures, start, combine, sizes, sizes, "VALID")
    return total if largest else total / window**2


def value_and_pull_back(pool, pictures):
    values, pull_back = jax.vjp(pool, pictures)
    cotangent = np.random.default_rng(1).normal(size=values.shape).astype(np.float32)
    return values, pull_back(cotangent)[0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("ties", [False, True])
def test_max_pooling_equals_reduce_window_exactly(shape, window, ties):
    pictures = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    if ties:  # three values only: most windows hold their largest number more than once
        pictures = np.sign(np.round(pictures))
    found = jax.jit(lambda x: value_and_pull_back(lambda x: max_pool(x, window), x))(pictures)
    wanted = value_and_pull_back(lambda x: reduce_window(x, window, largest=True), pictures)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_first_largest_number_gets_the_gradient():
    pictures = jnp.array([[3.0, 1.0], [3.0, 3.0]]).reshape(1, 2, 2, 1)
    gradient = jax.grad(lambda x: max_pool(x, 2).sum())(pictures)
    assert gradient.ravel().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [1, 2, 3])
def test_average_pooling_equals_reduce_window(shape, window):
    pictures = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = value_and_pull_back(lambda x: average_pool(x, window), pictures)
    wanted = value_and_pull_back(lambda x: reduce_window(x, window, largest=False), pictures)
    for one, other in zip(found, wanted, strict=True):
        # at most nine terms of order 1 in another order
        np.testing.assert_allclose(one, other, rtol=0, atol=9 * np.finfo(np.float32).eps)


def test_lanes_pool_as_one_does():
    pictures = np.random.default_rng(0).normal(size=(4, 2, 6, 6, 3)).astype(np.float32)
    gradient = jax.grad(lambda x: jnp.sum(max_pool(x, 2) ** 2))
    together = jax.vmap(gradient)(pictures)
    for lane, one in zip(together, pictures, strict=True):
        np.testing.assert_array_equal(lane, gradient(one))
