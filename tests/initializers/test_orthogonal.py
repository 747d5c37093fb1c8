"""Orthogonality, the Haar measure, and that many lanes on two devices never wait for ever."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from initopt_jax.initializers import orthogonal


def gram_error(weights, gain=1.0):
    matrix = np.asarray(weights, np.float64)
    matrix = matrix.reshape(-1, matrix.shape[-1]) / gain
    matrix = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    return np.abs(matrix.T @ matrix - np.eye(matrix.shape[1])).max()


def householder_reference(normals):
    """Stewart (1980): H_1 ... H_n diag(signs), one full float64 reflection at a time."""
    m, n = normals.shape
    product, signs = np.eye(m), np.ones(n)
    for k in range(n):
        x = np.zeros(m)
        x[k:] = normals[k:, k]
        sign = 1.0 if x[k] >= 0 else -1.0
        v = x.copy()
        v[k] += sign * np.linalg.norm(x)
        product = product @ (np.eye(m) - 2 * np.outer(v, v) / (v @ v))
        signs[k] = -sign
    return product[:, :n] * signs


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (3, 7), (17, 17), (3, 3, 4, 8), (2, 2, 2, 32)])
def test_rows_or_columns_are_orthonormal(shape):
    weights = orthogonal(jax.random.key(0), shape, gain=1.5)
    assert weights.shape == shape
    assert gram_error(weights, 1.5) < 1e-5


@pytest.mark.parametrize("shape", [(512, 512), (784, 300)])
def test_float32_error_of_large_matrices(shape):
    assert gram_error(orthogonal(jax.random.key(1), shape)) < 1e-5


@pytest.mark.parametrize("shape", [(1, 1), (17, 17), (64, 10), (33, 20)])
def test_is_the_product_of_the_reflections(shape):
    key = jax.random.key(2)
    normals = np.asarray(jax.random.normal(key, shape, jnp.float32), np.float64)
    np.testing.assert_allclose(orthogonal(key, shape), householder_reference(normals), atol=5e-6)


def test_float64_is_exact_to_float64():
    with jax.enable_x64(True):
        weights = orthogonal(jax.random.key(3), (64, 40), jnp.float64)
        assert weights.dtype == jnp.float64
        assert gram_error(weights) < 1e-14


def test_haar_moments():
    """Of Haar matrices: E Q_ij = 0, E Q_ij^2 = 1/n, E Q_ij^4 = 3 / (n (n + 2)), E tr Q = 0.

    The draws are independent, so each mean over draws has a standard error that is estimated from
    them; five of those are allowed.
    """
    n, draws = 5, 20_000
    keys = jax.random.split(jax.random.key(4), draws)
    q = np.asarray(jax.jit(jax.vmap(lambda key: orthogonal(key, (n, n))))(keys), np.float64)
    for power, expected in [(1, 0.0), (2, 1 / n), (4, 3 / (n * (n + 2)))]:
        moment = q**power
        error = moment.std(axis=0) / np.sqrt(draws)
        assert (np.abs(moment.mean(axis=0) - expected) < 5 * error).all()
    trace = np.trace(q, axis1=1, axis2=2)
    # E tr(Q)^2 = 1 for n >= 2, and E tr(Q)^4 = 3 for n >= 4 (Diaconis and Shahshahani, 1994).
    for power, expected in [(1, 0.0), (2, 1.0), (4, 3.0)]:
        moment = trace**power
        assert abs(moment.mean() - expected) < 5 * moment.std() / np.sqrt(draws)
    # Both signs of the determinant are as likely: the group has two halves.
    assert abs(np.mean(np.linalg.det(q) > 0) - 0.5) < 5 * 0.5 / np.sqrt(draws)


def test_haar_marginals_of_each_corner():
    """One entry is a coordinate of a random direction: Q_ij^2 ~ Beta(1/2, (m - 1)/2).

    Without the sign fix the diagonal has one sign only; with reflections of wrong dimension the
    last column differs from the first.
    """
    m, n, draws = 6, 4, 4_000
    keys = jax.random.split(jax.random.key(5), draws)
    q = np.asarray(jax.jit(jax.vmap(lambda key: orthogonal(key, (m, n))))(keys), np.float64)
    for i, j in [(0, 0), (0, n - 1), (m - 1, 0), (n - 1, n - 1), (m - 1, n - 1)]:
        entry = q[:, i, j]
        assert stats.kstest(entry**2, stats.beta(0.5, (m - 1) / 2).cdf).pvalue > 1e-6
        assert abs(np.mean(entry > 0) - 0.5) < 5 * 0.5 / np.sqrt(draws)


def test_eigenvalue_angles_are_uniform_in_two_dimensions():
    """A Haar rotation of the plane has a uniform angle."""
    keys = jax.random.split(jax.random.key(6), 4_000)
    q = np.asarray(jax.jit(jax.vmap(lambda key: orthogonal(key, (2, 2))))(keys), np.float64)
    rotations = q[np.linalg.det(q) > 0]
    angles = np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0])
    assert stats.kstest(angles, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-6


def test_vmap_over_gains():
    gains = jnp.array([0.5, 1.0, 2.0])
    many = jax.vmap(lambda gain: orthogonal(jax.random.key(7), (9, 4), gain=gain))(gains)
    for weights, gain in zip(many, gains, strict=True):
        assert gram_error(weights, float(gain)) < 1e-5


@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (3, 0)])
def test_refuses_shapes_without_a_matrix(shape):
    with pytest.raises(ValueError, match="at least two dimensions, none empty"):
        orthogonal(jax.random.key(0), shape)


def test_many_lanes_on_two_devices_finish(finishes_on_two_devices):
    """A batched LAPACK factorization never returns here; the limit is 20 times what this takes."""
    program = """
        import jax
        jax.config.update("jax_num_cpu_devices", 2)
        from initopt_jax.initializers import orthogonal

        def network(key):
            keys = jax.random.split(key, 3)
            shapes = [(64, 64), (64, 64), (64, 10)]
            return [orthogonal(k, shape) for k, shape in zip(keys, shapes)]

        draw = jax.jit(jax.vmap(network))

        def work(device):
            keys = jax.device_put(jax.random.split(jax.random.key(device.id), 64), device)
            for _ in range(5):
                jax.block_until_ready(draw(keys))
    """
    finishes_on_two_devices(program)
