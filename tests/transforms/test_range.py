"""Gradients of any size that the dtype holds: their squares may leave its range, steps may not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax import modifiers, transforms
from initopt_jax.norms import cosine, norm, root_mean_square, standard_deviation, unit

SIZES = (2.0**67, 2.0**-83)  # 1.5e20 and 1e-25; by powers of two, equal steps have equal bits
STEPS = 3
WEIGHTS = {"bias": np.array([0.5, -0.25]), "kernel": np.linspace(-1, 1.5, 6).reshape(3, 2)}

# By their formulas, without constants beside the gradient, these do not feel its size.
EXACT = {
    "sign_descent": {},
    "signum": {},
    "lion": {},
    "adamax": {},
    "lars": {"weight_decay": 0.0},
    "novograd": {"eps": 0.0},
}
# Nor do these; but they keep squares of entries, and where float32 cannot hold them the step is
# NaN, never 0.
SQUARES = {
    name: {"eps": 0.0}
    for name in (
        *("adagrad", "adagrad_full", "adagrad_torch", "rmsprop", "rmsprop_torch", "adam", "adamw"),
        *("adamw_paper", "amsgrad", "nadam", "nadam_optax", "adabelief", "qhadam", "yogi", "lamb"),
        *("adafactor", "shampoo", "soap", "schedule_free_adam", "prodigy", "muon"),
    )
} | {"adagrad_optax": {"eps": 0.0, "initial_accumulator": 0.0}}
LINEAR = (
    *("sgd", "gd", "momentum", "momentum_dampened", "nesterov", "nesterov_1983", "qhm", "aggmo"),
    "sutskever_momentum",
)
# A constant beside the squares, steps without them at first, sums with the weights, costs around.
OTHERS = {
    *("adadelta", "rmsprop_graves", "radam", "schedule_free_sgd", "sam", "lbfgs", "gradient_flow"),
}


def steps(transform, size, weights=None):
    """Updates [STEPS, ...] for the same gradients times a number, at weights that stay."""
    tree = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), weights or WEIGHTS)
    key = np.random.default_rng(3)
    gradients = jax.tree.map(
        lambda leaf: jnp.asarray(key.normal(size=(STEPS, *leaf.shape)), jnp.float32), tree
    )

    def step(state, gradient):
        updates, state = transform.update(
            jax.tree.map(lambda leaf: size * leaf, gradient), state, tree
        )
        return state, updates

    return jax.lax.scan(step, transform.init(tree), gradients)[1]


def paths(name, options):
    """Updates with gradients as they are, then with those of other sizes."""
    options = {"learning_rate": 0.5} | options
    walk = jax.jit(jax.vmap(lambda size: steps(getattr(transforms, name)(**options), size)))
    found = walk(jnp.array([1.0, *SIZES], jnp.float32))
    return [jax.tree.map(lambda leaf, row=row: np.asarray(leaf[row]), found) for row in range(3)]


def test_every_transform_is_looked_at():
    assert {*EXACT, *SQUARES, *LINEAR, *OTHERS} == {*transforms.REGISTRY, "gd"}


@pytest.mark.parametrize("name", EXACT)
def test_steps_that_do_not_feel_the_size_of_gradients(name):
    usual, *others = paths(name, EXACT[name])
    for other in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), usual, other)


@pytest.mark.parametrize("name", SQUARES)
def test_squares_beyond_float32_are_never_a_step_of_0(name):
    usual, *others = paths(name, SQUARES[name])
    for other in others:
        for expected, found in zip(*map(jax.tree.leaves, (usual, other)), strict=True):
            assert np.isfinite(expected).all()
            assert np.any(expected)
            known = ~np.isnan(found)
            np.testing.assert_allclose(found[known], expected[known], rtol=1e-6)


def test_muon_of_matrices_does_not_feel_the_size_of_gradients():
    usual, *others = paths("muon", {})
    for other in others:
        np.testing.assert_allclose(usual["kernel"], other["kernel"], rtol=1e-6)


def test_soap_and_shampoo_far_from_order_1():
    # Squares of their factors, which are squares already, leave the range long before.
    for name, sizes in (("soap", (2.0**40, 2.0**-40)), ("shampoo", (2.0**50, 2.0**-50))):
        transform = getattr(transforms, name)(0.5, eps=0.0)
        usual, *others = (steps(transform, size) for size in (1.0, *sizes))
        for other in others:
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), usual, other)


@pytest.mark.parametrize("make", [transforms.adam, transforms.adagrad_optax, transforms.adadelta])
def test_with_constants_too_a_square_beyond_float32_is_no_step_of_0(make):
    updates = steps(make(0.5), 1e20)
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(updates))


def test_weights_without_gradient_stay_where_others_are_lost():
    transform = transforms.adam(0.5, eps=0.0)
    gradient = jnp.array([0.0, 3.0, 1e-25, 1e20])
    updates, _ = transform.update(gradient, transform.init(gradient))
    np.testing.assert_allclose(updates, [0.0, -0.5, np.nan, np.nan], rtol=1e-6)


@pytest.mark.parametrize("name", LINEAR)
def test_steps_in_proportion_to_gradients(name):
    usual, *others = paths("sgd" if name == "gd" else name, {})
    for size, other in zip(SIZES, others, strict=True):
        scaled = jax.tree.map(lambda leaf, size=size: size * leaf, usual)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), scaled, other)


CLIPS = {
    "clip_by_global_norm": (modifiers.clip_by_global_norm(1.0), 0.5),
    "clip_by_leaf_norm": (modifiers.clip_by_leaf_norm(1.0), 0.5),
    "adaptive_clip": (modifiers.adaptive_clip(0.5), 0.5),
}


@pytest.mark.parametrize(("clip", "expected"), CLIPS.values(), ids=CLIPS)
def test_clipping_gradients_whose_squares_overflow(clip, expected):
    weights = jnp.ones(4)  # of norm 2, of which adaptive clipping takes half
    for size in (1e20, 3e38):  # the norm of the second is beyond float32
        for dtype in (jnp.float32, jnp.bfloat16):
            gradient = jnp.full(4, size, dtype)
            clipped, _ = clip.update(gradient, clip.init(weights), weights)
            assert clipped.dtype == dtype
            np.testing.assert_allclose(clipped.astype(np.float32), expected, rtol=1e-6)


@pytest.mark.parametrize(("clip", "expected"), CLIPS.values(), ids=CLIPS)
def test_what_clipping_does_with_0_and_with_what_is_not_finite(clip, expected):
    del expected
    weights = jnp.ones(2)
    for gradient, found in (
        ([0.0, 0.0], [0.0, 0.0]),
        ([1e-30, -2e-30], [1e-30, -2e-30]),
        ([np.inf, 1.0], [np.nan, np.nan]),
        ([np.nan, 1.0], [np.nan, np.nan]),
    ):
        clipped, _ = clip.update(jnp.array(gradient), clip.init(weights), weights)
        np.testing.assert_array_equal(clipped, jnp.array(found))
    empty, _ = clip.update(jnp.zeros((0, 2)), clip.init(weights), jnp.zeros((0, 2)))
    assert empty.shape == (0, 2)


def test_clipping_to_tiny_norms():
    clip = modifiers.clip_by_global_norm(1e-30)
    clipped, _ = clip.update(jnp.array([3e-25, 4e-25]), clip.init(None))
    np.testing.assert_allclose(clipped, [6e-31, 8e-31], rtol=1e-6)


def test_a_global_norm_beyond_float32_of_leaves_whose_norms_are_not():
    clip = modifiers.clip_by_global_norm(1.0)
    gradient = {str(place): jnp.full(1, 3e38) for place in range(4)}
    clipped, _ = clip.update(gradient, clip.init(None))
    np.testing.assert_allclose(list(clipped.values()), 0.5, rtol=1e-6)


def test_sam_looks_as_far_away_for_gradients_of_any_size():
    def cost(w):
        return jnp.sum(w**2) / 2

    for size in (1.0, *SIZES):
        transform = transforms.sam(1.0, rho=0.5)
        weights = jnp.array([1.0, 2.0])
        gradient = jnp.array([3.0, -4.0]) * size
        # The gradient of the cost at the point is the point.
        updates, _ = transform.update(gradient, transform.init(weights), weights, value_fn=cost)
        np.testing.assert_allclose(updates, [-1.3, -1.6], rtol=1e-6)


VECTORS = [
    [3.0, -4.0],
    [1e20, 1e20, 1e20, 1e20],
    [1e-25, 2e-25],
    [3e38, 1.0],
    [1.2e-38, 1.2e-38],
    [1e30, 1e-30],
    [0.0, 0.0],
    [np.inf, 1.0],
    [np.nan, 1.0],
    [],
]


@pytest.mark.parametrize("values", VECTORS, ids=str)
def test_norms_against_float64(values):
    array = jnp.array(values, jnp.float32)
    exact = np.asarray(array, np.float64)
    mean = np.sqrt(np.mean(exact**2)) if values else 0.0
    for measure in (norm, jax.jit(norm)):
        np.testing.assert_allclose(measure(array), np.sqrt(np.sum(exact**2)), rtol=3e-7)
    np.testing.assert_allclose(root_mean_square(array), mean, rtol=3e-7)


@pytest.mark.parametrize("seed", range(3))
def test_ordinary_norms_have_the_bits_of_the_plain_formula(seed):
    array = np.random.default_rng(seed).normal(size=(40, 30)).astype(np.float32)
    plain = jax.jit(lambda x: jnp.sqrt(jnp.sum(x * x)))
    np.testing.assert_array_equal(jax.jit(norm)(array), plain(array))


def test_norms_along_an_axis_and_of_several_arrays():
    array = np.random.default_rng(0).normal(size=(3, 4)) * np.array([[1e25], [1.0], [1e-25]])
    found = norm(jnp.asarray(array, jnp.float32), axis=1)
    np.testing.assert_allclose(found, np.linalg.norm(array, axis=1, keepdims=True), rtol=1e-6)
    together = norm(jnp.full(2, 1e30, jnp.bfloat16), jnp.full(2, 1e30, jnp.float32))
    np.testing.assert_allclose(together, 2e30, rtol=2e-3)  # of a spacing of bfloat16


def test_angles_and_spreads_of_any_size():
    one, other = jnp.array([1e30, 0.0]), jnp.array([1e-30, 1e-30])
    np.testing.assert_allclose(cosine(one, other), 0.5**0.5, rtol=1e-6)
    np.testing.assert_allclose(unit(1e-7 * other), [0.5**0.5] * 2, rtol=1e-6)
    assert np.isnan(cosine(one, 0 * one))
    assert np.isnan(unit(0 * one)).all()
    np.testing.assert_allclose(standard_deviation(jnp.array([1e25, 3e25])), 1e25, rtol=1e-6)


def test_the_slope_of_a_norm():
    slope = jax.grad(norm)
    np.testing.assert_allclose(slope(jnp.array([3e25, 4e25])), [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(slope(jnp.zeros(2)), [0, 0])
