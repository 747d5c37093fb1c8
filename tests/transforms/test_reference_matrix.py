"""Methods with roots, eigenvectors or orthogonal steps, against float64 NumPy from their papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax import transforms
from initopt_jax.transforms import matrices
from tests.transforms.reference import PRECISIONS, Case, assert_follows


def unfolded(tensor, axis):
    return np.moveaxis(tensor, axis, 0).reshape(tensor.shape[axis], -1)


def times(matrix, tensor, axis):
    return np.moveaxis(np.tensordot(matrix, tensor, axes=(1, axis)), 0, axis)


def shampoo(w, g, s, t, learning_rate, eps, refresh_every=1, max_size=1200):
    """Gupta, Koren and Singer (2018), algorithm 2; for a matrix it is algorithm 1."""
    if t == 1:
        s["H"] = [eps * np.eye(n) for n in w.shape]
    for axis in range(w.ndim):
        square = unfolded(g, axis) @ unfolded(g, axis).T
        long = w.shape[axis] > max_size
        s["H"][axis] = s["H"][axis] + (np.diag(np.diag(square)) if long else square)
    if (t - 1) % refresh_every == 0:
        s["roots"] = []
        for h in s["H"]:
            values, vectors = np.linalg.eigh(h)
            s["roots"].append(vectors * values ** (-1 / (2 * w.ndim)) @ vectors.T)
    for axis, root in enumerate(s["roots"]):
        g = times(root, g, axis)
    return w - learning_rate * g


def soap(w, g, s, t, learning_rate, b1, b2, eps, bias_correction=True):
    """Vyas et al. (2024), algorithms 3 and 4, bases anew every 10 steps.

    The start is ours: it makes the bases of a matrix by ten power iterations, and no step.
    """
    axes = range(w.ndim) if w.ndim > 1 else ()
    old = s.get("L", [0] * w.ndim)
    s["L"] = [b2 * old[i] + (1 - b2) * unfolded(g, i) @ unfolded(g, i).T for i in axes]
    if axes:
        t = t - 1
        if t == 0:
            s["Q"] = [np.eye(n) for n in w.shape]
            for _ in range(10):
                s["Q"] = [np.linalg.qr(s["L"][i] @ s["Q"][i])[0] for i in axes]
            return w
    turned = g
    for i in axes:
        turned = times(s["Q"][i].T, turned, i)
    s["M"] = b1 * s.get("M", 0) + (1 - b1) * g
    s["V"] = b2 * s.get("V", 0) + (1 - b2) * turned**2
    m, v = s["M"], s["V"]
    for i in axes:
        m = times(s["Q"][i].T, m, i)
    if bias_correction:
        m, v = m / (1 - b1**t), v / (1 - b2**t)
    n = m / (np.sqrt(v) + eps)
    for i in axes:
        n = times(s["Q"][i], n, i)
    if axes and t % 10 == 0:
        s["Q"] = [np.linalg.qr(s["L"][i] @ s["Q"][i])[0] for i in axes]
    return w - learning_rate * n


def newton_schulz(g, steps=5):
    """Jordan (2024), the listing; no epsilon."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g / np.linalg.norm(g)
    if g.shape[0] > g.shape[1]:
        x = x.T
    for _ in range(steps):
        A = x @ x.T
        B = b * A + c * A @ A
        x = a * x + B @ x
    return x.T if g.shape[0] > g.shape[1] else x


def muon(
    w, g, s, t, learning_rate, decay, b1, b2, eps, adam_scale, nesterov=True, shape_scale=True
):
    """Jordan (2024), algorithm 2; vectors by Adam, Kingma and Ba (2015), algorithm 1."""
    if w.ndim < 2:
        s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
        s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
        m_hat, v_hat = s["m"] / (1 - b1**t), s["v"] / (1 - b2**t)
        return w - adam_scale * learning_rate * m_hat / (np.sqrt(v_hat) + eps)
    s["B"] = decay * s.get("B", 0) + g
    o = newton_schulz(g + decay * s["B"] if nesterov else s["B"])
    scale = max(1, w.shape[1] / w.shape[0]) ** 0.5 if shape_scale else 1
    return w - learning_rate * scale * o


def partly(reference, **settings):
    def bound(*arguments, **numbers):
        return reference(*arguments, **numbers, **settings)

    return bound


MUON = {"decay": 0.95, "b1": 0.9, "b2": 0.95, "eps": 1e-8}
PLAIN = {"nesterov": False, "shape_scale": False}
SOAP = {"b1": 0.95, "b2": 0.95}
CASES = {
    # A step of Shampoo is as wrong as the smallest eigenvalue of its factors: rounding, 6e-8 of the
    # largest one, over (smallest * root): a large eps leaves something to compare in float32.
    "shampoo": Case(transforms.shampoo, shampoo, {"learning_rate": 1.0, "eps": 10.0}),
    "shampoo, seldom": Case(
        transforms.shampoo,
        partly(shampoo, refresh_every=7),
        {"learning_rate": 1.0, "eps": 10.0},
        {"refresh_every": 7},
    ),
    "shampoo, diagonal": Case(
        transforms.shampoo,
        partly(shampoo, max_size=2),
        {"learning_rate": 1.0, "eps": 10.0},
        {"max_size": 2},
    ),
    "soap": Case(transforms.soap, soap, {"learning_rate": 0.002, **SOAP, "eps": 1e-2}),
    "soap, uncorrected": Case(
        transforms.soap,
        partly(soap, bias_correction=False),
        {"learning_rate": 0.002, **SOAP, "eps": 1e-2},
        {"bias_correction": False},
    ),
    "muon": Case(transforms.muon, muon, {"learning_rate": 0.002, **MUON, "adam_scale": 0.5}),
    "muon, plain": Case(
        transforms.muon,
        partly(muon, **PLAIN),
        {"learning_rate": 0.001, **MUON, "adam_scale": 1.5},
        PLAIN,
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(*PRECISIONS)
def test_follows_the_paper_for_1000_steps(case, dtype, tolerance):
    assert_follows(CASES[case], dtype, tolerance)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def one_update(transform, gradient):
    gradient = jnp.asarray(gradient)
    return np.asarray(transform.update(gradient, transform.init(gradient))[0])


@pytest.mark.parametrize("root", [2, 4, 6])
def test_inverse_roots_are_those_of_the_eigenvalues(root):
    # Eigenvalues from 1e-4 to 1: float64 knows the smallest to 1e-12, and its root better.
    vectors = np.linalg.qr(random(6, 6))[0]
    values = np.geomspace(1e-4, 1, 6)
    with jax.enable_x64(True):
        ours = matrices.inverse_root(jnp.asarray(vectors * values @ vectors.T), root)
    expected = vectors * values ** (-1 / root) @ vectors.T
    np.testing.assert_allclose(ours, expected, atol=1e-11 * np.abs(expected).max())


def test_roots_and_bases_of_singular_matrices_are_finite():
    thin = random(8, 2).astype(np.float32) * 100
    square = jnp.asarray(thin @ thin.T)  # six eigenvalues are rounding, of either sign
    for matrix in (square, jnp.zeros((8, 8))):
        root = matrices.inverse_root(matrix, 4)
        assert np.all(np.isfinite(root))
        basis = matrices.power_iteration(matrix, jnp.eye(8))
        np.testing.assert_allclose(basis.T @ basis, np.eye(8), atol=2e-6)
    assert not np.any(matrices.inverse_root(jnp.zeros((8, 8)), 4))


def test_orthonormal_is_the_q_of_qr():
    matrix = random(7, 7)
    q, r = np.linalg.qr(matrix)
    with jax.enable_x64(True):
        ours = matrices.orthonormal(jnp.asarray(matrix))
    np.testing.assert_allclose(ours, q * np.sign(np.diag(r)), atol=1e-13)


def test_power_iterations_end_at_eigenvectors():
    factor = random(5, 5)
    with jax.enable_x64(True):
        matrix, basis = jnp.asarray(factor @ factor.T), jnp.eye(5)
        basis = jax.lax.fori_loop(
            0, 300, lambda _, basis: matrices.power_iteration(matrix, basis), basis
        )
        turned = np.asarray(basis.T @ matrix @ basis)
    np.testing.assert_allclose(turned, np.diag(np.diag(turned)), atol=1e-10)


def test_the_first_step_of_shampoo_is_orthogonal():
    # (g g^T)^(-1/4) g (g^T g)^(-1/4) = U V^T for g = U S V^T.
    gradient = random(4, 4) + 3 * np.eye(4)
    u, _, vt = np.linalg.svd(gradient)
    with jax.enable_x64(True):
        core = transforms.scale_by_shampoo(eps=0.0)
        np.testing.assert_allclose(one_update(core, gradient), u @ vt, atol=1e-12)
        # So the size of the gradient does not matter.
        np.testing.assert_allclose(one_update(core, 50 * gradient), u @ vt, atol=1e-12)


def test_shampoo_has_a_factor_for_each_axis():
    gradient = random(2, 3, 4)
    memory = {}
    expected = -shampoo(np.zeros((2, 3, 4)), gradient, memory, 1, 1.0, 0.5)
    with jax.enable_x64(True):
        ours = one_update(transforms.scale_by_shampoo(eps=0.5), gradient)
    np.testing.assert_allclose(ours, expected, atol=1e-13)


def test_soap_has_a_basis_for_each_axis_that_is_not_too_long():
    gradient = random(2, 3, 4)
    core = transforms.scale_by_soap(eps=0.1, max_size=3)
    with jax.enable_x64(True):
        gradient = jnp.asarray(gradient)
        _, state = core.update(gradient, core.init(gradient))
        step, state = core.update(gradient, state)
        shapes = [basis.shape for basis in state.bases[0]]
        two, three = map(np.asarray, state.bases[0][:2])
    assert shapes == [(2, 2), (3, 3), (0, 0)]
    turned = times(three.T, times(two.T, np.asarray(gradient), 0), 1)
    expected = times(three, times(two, turned / (np.abs(turned) + 0.1), 0), 1)
    np.testing.assert_allclose(step, expected, atol=1e-13)


def test_steps_of_muon_keep_singular_vectors_and_forget_singular_values():
    gradient = random(4, 6).astype(np.float32)
    core = transforms.scale_by_muon(shape_scale=False)
    step = one_update(core, gradient)
    u, s, vt = np.linalg.svd(gradient, full_matrices=False)
    found = u.T @ step @ vt.T
    assert np.max(np.abs(found - np.diag(np.diag(found)))) < 1e-5
    assert s.max() / s.min() > 2
    assert np.all((np.diag(found) > 0.68) & (np.diag(found) < 1.21))
    # A product with a power of two is exact.
    np.testing.assert_array_equal(one_update(core, 1024 * gradient), step)


def test_muon_takes_a_kernel_of_four_axes_as_one_matrix():
    gradient = random(2, 2, 3, 5).astype(np.float32)
    core = transforms.scale_by_muon()
    flat = one_update(core, gradient.reshape(12, 5))
    np.testing.assert_allclose(one_update(core, gradient), flat.reshape(2, 2, 3, 5), rtol=1e-6)
    with pytest.raises(ValueError, match="at least two axes"):
        core.init(jnp.ones(3))


def test_roots_and_bases_finish_on_two_devices(finishes_on_two_devices):
    # Batched LAPACK calls under `vmap` have hung here.
    finishes_on_two_devices(
        """
        import jax
        import jax.numpy as jnp
        import optax
        from initopt_jax import transforms

        jax.config.update("jax_num_cpu_devices", 2)

        def step(gradients, make):
            transform = make(0.1)
            state = transform.init(gradients)
            for _ in range(2):
                updates, state = transform.update(gradients, state)
            return updates

        def work(device):
            keys = jax.random.split(jax.random.key(0), 3)
            shapes = [(16, 12), (12, 12), (12,)]
            leaves = [jax.random.normal(k, (64, *s)) for k, s in zip(keys, shapes)]
            leaves = jax.device_put(leaves, device)
            for name in ("shampoo", "soap", "muon", "adagrad_full"):
                make = getattr(transforms, name)
                lanes = jax.jit(jax.vmap(lambda leaves, make=make: step(leaves, make)))
                few = leaves[1:] if name == "adagrad_full" else leaves  # a matrix of all weights
                for _ in range(3):
                    updates = jax.block_until_ready(lanes(few))
                assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in updates)
        """
    )
