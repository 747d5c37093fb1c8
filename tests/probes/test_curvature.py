"""Curvature probes against explicit matrices, in float64."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax.precision import in_precision
from initopt_jax.probes.curvature import (
    gauss_newton_product,
    gauss_newton_top,
    hessian_density,
    hessian_ends,
    hessian_product,
    hessian_top,
    hessian_trace,
    smooth_density,
)

_SPEC = importlib.util.spec_from_file_location(
    "curvature_cases", Path(__file__).with_name("curvature_cases.py")
)
cases = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(cases)


@pytest.mark.parametrize("name", [*cases.FAMILIES, "tied"])
def test_products_with_the_hessian_are_those_of_the_explicit_one(name):
    """On the model's own operations, which know reverse differentiation alone."""
    with in_precision("float64"):
        network, params, batch = cases.tied() if name == "tied" else cases.family(name)
        # Max-pooling too knows reverse differentiation alone.
        jacobian = jax.jacrev if name == "patches" else jax.jacfwd
        hessian = cases.explicit_hessian(network, params, batch, jacobian)

        @jax.jit
        def ours(params, vectors):
            product, _ = hessian_product(cases.mean_loss(network), params, batch)
            return jax.lax.map(product, vectors)

        vectors = np.random.default_rng(0).normal(size=(3, len(hessian)))
        found = ours(params, vectors)
    assert_same(found, vectors @ hessian)


@pytest.mark.parametrize("name", ["mlp", "patches", "tied"])
def test_products_with_the_gauss_newton_matrix_are_those_of_the_explicit_one(name):
    with in_precision("float64"):
        network, params, batch = cases.tied() if name == "tied" else cases.family(name)
        matrix = cases.explicit_gauss_newton(network, params, batch)

        @jax.jit
        def ours(params, vectors):
            product, _ = gauss_newton_product(
                lambda params: network.apply(params, batch.inputs),
                lambda outputs: jnp.mean(network.loss(outputs, batch.targets)),
                params,
            )
            return jax.lax.map(product, vectors)

        vectors = np.random.default_rng(0).normal(size=(3, len(matrix)))
        found = ours(params, vectors)
    assert_same(found, vectors @ matrix)


def assert_same(found, wanted):
    scale = np.abs(wanted).max()
    assert scale > 1e-3
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10 * scale)


@pytest.fixture(scope="module")
def mlp():
    """A net, its weights, a batch, and the eigenvalues of both matrices, ascending."""
    with in_precision("float64"):
        network, params, batch = cases.family("mlp")
        hessian = cases.explicit_hessian(network, params, batch)
        gauss_newton = cases.explicit_gauss_newton(network, params, batch)
    return network, params, batch, np.linalg.eigvalsh(hessian), np.linalg.eigvalsh(gauss_newton)


def test_the_largest_and_smallest_eigenvalues(mlp):
    network, params, batch, eigenvalues, outer = mlp
    loss = cases.mean_loss(network)

    @jax.jit
    def measure(params, key):
        return (
            hessian_top(loss, params, batch, key, k=5),
            hessian_ends(loss, params, batch, key),
            gauss_newton_top(network, params, batch, key, k=3),
        )

    with in_precision("float64"):
        top, ends, newton = measure(params, jax.random.key(5))
    assert top.dtype == np.float64
    np.testing.assert_allclose(top, eigenvalues[::-1][:5], rtol=1e-6)
    np.testing.assert_allclose(ends["hessian_largest"], eigenvalues[-1], rtol=1e-6)
    assert eigenvalues[0] < 0
    np.testing.assert_allclose(ends["hessian_smallest"], eigenvalues[0], rtol=1e-6)
    np.testing.assert_allclose(newton, outer[::-1][:3], rtol=1e-6)


def test_all_eigenvalues_of_a_small_net(mlp):
    """As many iterations as weights: nothing is left out, and nothing is found twice."""
    network, params, batch, eigenvalues, _ = mlp
    count = len(eigenvalues)
    with in_precision("float64"):
        loss, key = cases.mean_loss(network), jax.random.key(1)
        found = hessian_top(loss, params, batch, key, k=count + 2, iterations=count + 2)
    assert np.isnan(found[count:]).all()
    scale = np.abs(eigenvalues).max()
    np.testing.assert_allclose(found[:count], eigenvalues[::-1], rtol=0, atol=1e-9 * scale)


def test_the_trace_lies_within_its_interval(mlp):
    """So do the means of 40 repetitions, as often as their standard errors say."""
    network, params, batch, eigenvalues, _ = mlp
    with in_precision("float64"):
        keys = jax.random.split(jax.random.key(2), 40)
        found = jax.jit(
            jax.vmap(lambda key: hessian_trace(cases.mean_loss(network), params, batch, key))
        )(keys)
    trace, error = (np.asarray(found[name]) for name in ("hessian_trace", "hessian_trace_error"))
    off = (trace - eigenvalues.sum()) / error
    # Student's t with 31 degrees: |t| < 2.04 in 95% of 40, at least 33 but for one case in 1,000.
    assert np.sum(np.abs(off) < 2.04) >= 33
    assert 0.6 < off.std() < 1.6


def test_the_density_has_the_moments_of_the_eigenvalues(mlp):
    network, params, batch, eigenvalues, _ = mlp
    with in_precision("float64"):
        keys = jax.random.split(jax.random.key(3), 500)

        def measure(key):
            loss = cases.mean_loss(network)
            return hessian_density(loss, params, batch, key, draws=20, iterations=12)

        found = {
            name: np.concatenate(value) for name, value in jax.jit(jax.vmap(measure))(keys).items()
        }
        nodes, weights = (np.asarray(found[f"density_{name}"]) for name in ("nodes", "weights"))
        grid = np.linspace(eigenvalues[0] - 1, eigenvalues[-1] + 1, 4001)
        density = np.asarray(smooth_density(nodes[:50], weights[:50], jnp.asarray(grid), 0.05))
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    for power in (1, 2, 3, 4):
        moment = np.sum(weights * nodes**power, axis=1)
        wanted = np.mean(eigenvalues**power)
        error = moment.std(ddof=1) / np.sqrt(len(moment))
        size = np.mean(np.abs(eigenvalues) ** power)  # of odd powers, much cancels in the mean
        assert error < 0.01 * size
        assert abs(moment.mean() - wanted) < min(4 * error, 0.01 * size)
    np.testing.assert_allclose(np.trapezoid(density, grid), 1, rtol=1e-6)
    mean = np.trapezoid(density * grid, grid)
    np.testing.assert_allclose(mean, np.sum(weights[:50] * nodes[:50]) / 50, rtol=1e-6)


def test_one_draw_is_exact_for_polynomials(mlp):
    """Gauss quadrature: `z^T H^k z / P` up to degree 2m - 1."""
    network, params, batch, *_ = mlp
    key = jax.random.key(4)
    with in_precision("float64"):
        hessian = cases.explicit_hessian(network, params, batch)
        found = hessian_density(cases.mean_loss(network), params, batch, key, draws=1, iterations=5)
        z = np.asarray(jax.random.rademacher(key, (1, len(hessian)), jnp.float64))[0]
    size = np.abs(hessian).max()
    scaled, nodes = hessian / size, np.asarray(found["density_nodes"])[0] / size
    weights = np.asarray(found["density_weights"])[0]
    vector = z
    for power in range(10):
        wanted = z @ vector / len(z)
        np.testing.assert_allclose(np.sum(weights * nodes**power), wanted, rtol=1e-9, atol=1e-12)
        vector = scaled @ vector


def quadratic(matrix):
    return lambda params, batch: params @ matrix @ params / 2 + 0.0 * batch


def test_spaces_that_end_early_go_on():
    """The Hessian of zero nets may be 0 or of low rank; multiple eigenvalues are found as such."""
    diagonals = np.array(
        [[0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [3, 3, 1, 0, 0, 0], [-1, -2, -3, -4, -5, -5]],
        np.float32,
    )

    def measure(diagonal):
        loss = quadratic(jnp.diag(diagonal))
        return hessian_top(loss, jnp.ones(6), 0.0, jax.random.key(0), k=6, iterations=9)

    found = jax.jit(jax.vmap(measure))(diagonals)
    np.testing.assert_allclose(found, np.sort(diagonals)[:, ::-1], atol=3e-6)


def test_a_diverged_lane_gives_nan_and_its_neighbour_stays():
    matrix = jnp.diag(jnp.arange(1.0, 5.0))

    def measure(params, key):
        loss = lambda params, batch: jnp.sum((matrix @ params) ** 4)  # noqa: E731
        top = hessian_top(loss, params, None, key, k=2)
        return top, hessian_density(loss, params, None, key), hessian_trace(loss, params, None, key)

    rows = jnp.ones((3, 4)).at[1, 2].set(jnp.nan).at[2, 0].set(jnp.inf)
    good = jnp.ones((3, 4))
    keys = jax.random.split(jax.random.key(0), 3)
    measured = jax.jit(jax.vmap(measure))
    mixed, alone = measured(rows, keys), measured(good, keys)
    for one, other in zip(jax.tree.leaves(mixed), jax.tree.leaves(alone), strict=True):
        assert not np.isfinite(one[1:]).all(axis=tuple(range(1, one.ndim))).any()
        np.testing.assert_array_equal(one[0], other[0])
    assert np.isnan(mixed[0][1:]).all()


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (hessian_top, {"k": 0}, "k must be a whole number above 0, got 0"),
        (hessian_top, {"k": 5, "iterations": 4}, r"iterations \(4\), not 5"),
        (hessian_ends, {"iterations": 0}, "iterations must be a whole number above 0, got 0"),
        (hessian_trace, {"probes": 1}, "probes must be at least 2, not 1"),
        (hessian_density, {"draws": 0}, "draws must be a whole number above 0, got 0"),
    ],
)
def test_options_out_of_range_are_refused(function, options, message):
    with pytest.raises(ValueError, match=message):
        function(quadratic(jnp.eye(2)), jnp.ones(2), 0.0, jax.random.key(0), **options)


def test_two_devices_at_once(finishes_on_two_devices):
    finishes_on_two_devices("""
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_num_cpu_devices", 2)

        from initopt_jax.probes.curvature import hessian_density

        def loss(params, batch):
            return jnp.mean(jnp.tanh(batch @ params["a"]) @ params["b"]) ** 2

        def measure(params, batch, key):
            return hessian_density(loss, params, batch, key, draws=2, iterations=30)

        measured = jax.jit(jax.vmap(measure, in_axes=(0, None, 0)))

        def work(device):
            keys = jax.random.split(jax.random.key(0), 16)
            draw = lambda *shape: jax.random.normal(keys[0], shape)
            params = {"a": draw(16, 64, 64), "b": draw(16, 64, 4)}
            given = jax.device_put((params, draw(512, 64), keys), device)
            for _ in range(2):
                jax.block_until_ready(measured(*given))
        """)
