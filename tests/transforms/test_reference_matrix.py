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
    # largest one, over (smallest * root). The eps holds the largest over the smallest below 30.
    "shampoo": Case(transforms.shampoo, shampoo, {"learning_rate": 0.1, "eps": 10.0}),
    "shampoo, seldom": Case(
        transforms.shampoo,
        partly(shampoo, refresh_every=7),
        {"learning_rate": 0.1, "eps": 10.0},
        {"refresh_every": 7},
    ),
    "shampoo, diagonal": Case(
        transforms.shampoo,
        partly(shampoo, max_size=2),
        {"learning_rate": 0.1, "eps": 10.0},
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
