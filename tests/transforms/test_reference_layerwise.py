"""Methods that see whole leaves, against float64 NumPy written from their papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax import transforms
from tests.transforms.reference import PRECISIONS, Case, assert_follows


def lars(theta, g, s, t, learning_rate, decay, weight_decay, trust_coefficient):
    """You, Gitman and Ginsburg (2017), algorithm 1."""
    norm = np.linalg.norm
    local = trust_coefficient * norm(theta) / (norm(g) + weight_decay * norm(theta))
    s["v"] = decay * s.get("v", 0) + learning_rate * local * (g + weight_decay * theta)
    return theta - s["v"]


def lamb(x, g, s, t, learning_rate, b1, b2, eps, weight_decay):
    """You et al. (2020), algorithm 2, with the identity for phi."""
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
    r = (s["m"] / (1 - b1**t)) / (np.sqrt(s["v"] / (1 - b2**t)) + eps)
    whole = r + weight_decay * x
    return x - learning_rate * np.linalg.norm(x) / np.linalg.norm(whole) * whole


def adafactor(x, g, s, t, learning_rate, eps, min_scale, clip, decay_power):
    """Shazeer and Stern (2018), algorithms 4 (matrices) and 5 (vectors), numbers of algorithm 6."""

    def rms(array):
        return np.sqrt(np.mean(array**2))

    alpha = max(min_scale, rms(x)) * min(learning_rate, 1 / np.sqrt(t))
    beta = 1 - t**-decay_power
    square = g**2 + eps
    if x.ndim == 2:
        ones_m, ones_n = np.ones(x.shape[0]), np.ones(x.shape[1])
        s["R"] = beta * s.get("R", 0) + (1 - beta) * square @ ones_n
        s["C"] = beta * s.get("C", 0) + (1 - beta) * ones_m @ square
        v = np.outer(s["R"], s["C"]) / (ones_m @ s["R"])
    else:
        s["V"] = v = beta * s.get("V", 0) + (1 - beta) * square
    u = g / np.sqrt(v)
    return x - alpha * u / max(1, rms(u) / clip)


def prodigy(x, g, s, t, gradients, learning_rate, b1, b2, eps, initial_distance):
    """Mishchenko and Defazio (2023), algorithm 4; all weights as one vector."""
    shapes = [array.shape for array in x]
    vector, g = (np.concatenate([a.ravel() for a in arrays]) for arrays in (x, g))
    start, d = s.setdefault("x0", vector), s.get("d", initial_distance)
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * d * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * d**2 * g**2
    root = np.sqrt(b2)
    weight = (1 - root) * learning_rate * d**2
    s["r"] = root * s.get("r", 0) + weight * (g @ (start - vector))
    s["s"] = root * s.get("s", 0) + weight * g
    s["d"] = max(d, s["r"] / np.sum(np.abs(s["s"])))
    vector = vector - learning_rate * d * s["m"] / (np.sqrt(s["v"]) + d * eps)
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = np.split(vector, ends)
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


ADAM = {"b1": 0.9, "b2": 0.999}
CASES = {
    "lars": Case(
        transforms.lars,
        lars,
        {"learning_rate": 0.5, "decay": 0.9, "weight_decay": 0.0005, "trust_coefficient": 0.001},
    ),
    "lars, decayed": Case(
        transforms.lars,
        lars,
        {"learning_rate": 0.1, "decay": 0.5, "weight_decay": 0.1, "trust_coefficient": 0.02},
    ),
    "lamb": Case(
        transforms.lamb,
        lamb,
        {"learning_rate": 0.001, **ADAM, "eps": 1e-6, "weight_decay": 0.01},
    ),
    "adafactor": Case(
        transforms.adafactor,
        adafactor,
        {
            "learning_rate": 0.001,
            "eps": 1e-30,
            "min_scale": 0.001,
            "clip": 1.0,
            "decay_power": 0.8,
        },
    ),
    "adafactor, other numbers": Case(
        transforms.adafactor,
        adafactor,
        {"learning_rate": 0.01, "eps": 0.01, "min_scale": 2.5, "clip": 0.5, "decay_power": 0.5},
    ),
    "prodigy": Case(
        transforms.prodigy,
        prodigy,
        {"learning_rate": 0.01, **ADAM, "eps": 1e-8, "initial_distance": 0.1},
        whole=True,
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(*PRECISIONS)
def test_follows_the_paper_for_1000_steps(case, dtype, tolerance):
    assert_follows(CASES[case], dtype, tolerance)


WEIGHTS = {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([0.5, -1.0])}
GRADIENTS = {"kernel": jnp.array([[0.3, 1.0], [-2.0, 0.2]]), "bias": jnp.array([0.1, 4.0])}


def first_step(transform, gradients=GRADIENTS, weights=WEIGHTS):
    return transform.update(gradients, transform.init(weights), weights)[0]


def norms(tree):
    return np.array([np.linalg.norm(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize(
    "transform",
    [
        transforms.lars(1.0, weight_decay=0.0, trust_coefficient=0.1),
        transforms.lamb(0.1, eps=0.0, weight_decay=0.0),
    ],
    ids=["lars", "lamb"],
)
def test_steps_have_a_given_share_of_the_norm_of_their_leaf(transform):
    step = first_step(transform)
    np.testing.assert_allclose(norms(step), 0.1 * norms(WEIGHTS), rtol=1e-6)
    # Neither feels the size of the gradient; both grow with the weights.
    loud = first_step(transform, jax.tree.map(lambda g: 1000 * g, GRADIENTS))
    large = first_step(transform, weights=jax.tree.map(lambda w: 8 * w, WEIGHTS))
    for name in WEIGHTS:
        np.testing.assert_allclose(loud[name], step[name], rtol=2e-6)
        np.testing.assert_allclose(large[name], 8 * step[name], rtol=2e-6)


@pytest.mark.parametrize("make", [transforms.lars, transforms.lamb])
def test_weights_of_zero_leave_zero(make):
    zero = jax.tree.map(jnp.zeros_like, WEIGHTS)
    assert np.all(norms(first_step(make(0.1), weights=zero)) > 0)


def test_adafactor_is_exact_where_squares_are_an_outer_product():
    # Then u is the sign, of root mean square 1, and the step a share of the weights'.
    rows, columns = np.array([1.0, -3.0]), np.array([0.1, 2.0, 5.0])
    weights = jnp.full((2, 3), 2.0)
    step = first_step(transforms.adafactor(0.25), jnp.asarray(np.outer(rows, columns)), weights)
    np.testing.assert_allclose(step, -0.5 * np.sign(np.outer(rows, columns)), rtol=1e-6)


def test_adafactor_factors_the_last_two_axes():
    gradient = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    core = transforms.scale_by_adafactor(clip=1e6)
    whole = core.update(jnp.asarray(gradient), core.init(jnp.asarray(gradient)))[0]
    for ours, one in zip(whole, gradient, strict=True):
        alone, _ = core.update(jnp.asarray(one), core.init(jnp.asarray(one)))
        np.testing.assert_allclose(ours, alone, rtol=1e-6)
    state = core.init(jnp.asarray(gradient))
    assert state.rows.shape == (3, 4)
    assert state.columns.shape == (3, 5)


def test_prodigy_finds_the_distance_by_itself():
    # |x - x*| is 50 in each coordinate; d starts at 1e-6 and must come near the largest of them.
    transform = transforms.prodigy()

    def step(carry, _):
        x, state = carry
        updates, state = transform.update(jnp.sign(x) + x / 100, state, x)
        return (x + updates, state), None

    start = jnp.array([50.0, -50.0])
    (x, state), _ = jax.lax.scan(step, (start, transform.init(start)), length=400)
    assert 1 < state.distance <= 50
    assert np.all(np.abs(x) < 5)


def test_prodigy_does_not_see_the_scale_of_the_cost():
    loud = jax.tree.map(lambda g: 64 * g, GRADIENTS)
    transform = transforms.prodigy(eps=0.0, initial_distance=0.1)
    states = [transform.init(WEIGHTS)] * 2
    weights = WEIGHTS
    for _ in range(3):
        updates, states[0] = transform.update(GRADIENTS, states[0], weights)
        louder, states[1] = transform.update(loud, states[1], weights)
        for name in WEIGHTS:
            np.testing.assert_allclose(louder[name], updates[name], rtol=1e-6)
        weights = jax.tree.map(jnp.add, weights, updates)
    np.testing.assert_allclose(states[0].distance, states[1].distance, rtol=1e-6)
    assert states[0].distance > 0.1
