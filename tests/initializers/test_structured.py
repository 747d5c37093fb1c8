"""Structured weights against float64 NumPy from the papers: values, supports, ranks, distributions.

Statistical comparisons are at five standard errors: a healthy draw fails one in two million times,
and the keys are fixed.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from initopt_jax import initializers
from initopt_jax.audits import audit_leaf
from initopt_jax.initializers import REGISTRY
from initopt_jax.networks.fans import fans

# Shared with the conformance suite: each shape costs a compilation per family.
DENSE, CONVOLUTION, LARGE = (64, 10), (3, 3, 4, 8), (400, 250)
FIVE = 5.0
STRUCTURED = [
    "delta_orthogonal",
    "hadamard",
    "identity",
    "looks_linear",
    "signed_constant",
    "sparse",
    "zero_hadamard",
]
NEED_A_MATRIX = [name for name in STRUCTURED if name != "signed_constant"]


def draw(name, shape, seed=0, dtype=jnp.float32, **options):
    return np.asarray(REGISTRY[name].draw(jax.random.key(seed), shape, dtype, **options))


def kronecker_hadamard(order):
    """H_2n = H_2 (x) H_n, by matrix products of +1 and -1 alone."""
    matrix = np.ones((1, 1))
    while len(matrix) < order:
        matrix = np.kron([[1.0, 1.0], [1.0, -1.0]], matrix)
    return matrix


def ceil_log2(n):
    return next(m for m in itertools.count() if 2**m >= n)


def zero_reference(rows, columns):
    """Algorithm 1 of Zhao et al. for W [P_l, P_l-1], transposed to (inputs, outputs)."""
    p_before, p = rows, columns
    if p == p_before:
        return np.eye(p)
    if p < p_before:
        return np.eye(p, p_before).T
    m = ceil_log2(p)
    c = 2.0 ** (-(m - 1) / 2)
    return (c * np.eye(p, 2**m) @ kronecker_hadamard(2**m) @ np.eye(2**m, p_before)).T


def audit(name, weights, **options):
    distribution = REGISTRY[name].distribution(weights.shape, **options)
    return audit_leaf("kernel", "*", weights, distribution, fans(weights.shape))


MATRICES = [(1, 1), (1, 6), (6, 1), (3, 8), (4, 8), (5, 7), (7, 5), (16, 16), DENSE]


@pytest.mark.parametrize("shape", MATRICES)
def test_deterministic_matrices(shape):
    rows, columns = shape
    np.testing.assert_array_equal(draw("identity", shape, gain=1.5), 1.5 * np.eye(*shape))
    expected = zero_reference(*shape)
    np.testing.assert_allclose(draw("zero_hadamard", shape), expected, rtol=1e-7)
    corner = kronecker_hadamard(2 ** ceil_log2(max(shape)))[:rows, :columns]
    # Two roundings to float32, of 1 / sqrt(fan_in) and of the product with the gain.
    np.testing.assert_allclose(
        draw("hadamard", shape, gain=1.5), 1.5 / math.sqrt(rows) * corner, rtol=2e-7
    )


def test_deterministic_convolutions():
    """One matrix at the centre tap; Hadamard weights fill the window."""
    for name, matrix in [
        ("identity", np.eye(4, 8)),
        ("zero_hadamard", zero_reference(4, 8)),
    ]:
        expected = np.zeros(CONVOLUTION)
        expected[1, 1] = matrix
        np.testing.assert_allclose(draw(name, CONVOLUTION), expected, rtol=1e-7)
    expected = kronecker_hadamard(64)[:36, :8].reshape(CONVOLUTION) / 6
    np.testing.assert_allclose(draw("hadamard", CONVOLUTION), expected, rtol=2e-7)


def test_deterministic_float64_is_exact_to_float64():
    with jax.enable_x64(True):
        for name, expected in [
            ("zero_hadamard", zero_reference(5, 9)),
            ("hadamard", kronecker_hadamard(16)[:5, :9] / math.sqrt(5)),
        ]:
            weights = draw(name, (5, 9), dtype=jnp.float64)
            assert weights.dtype == np.float64
            np.testing.assert_allclose(weights, expected, rtol=1e-15)


@pytest.mark.parametrize("window", [(1, 1), (2, 2), (3, 3), (4, 5)])
def test_identity_convolution_returns_its_input(window):
    """With the padding SAME, whether the window has a middle or not."""
    images = jax.random.normal(jax.random.key(0), (2, 6, 7, 3))
    returned = jax.lax.conv_general_dilated(
        images,
        initializers.identity(jax.random.key(1), (*window, 3, 3)),
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_array_equal(returned, images)


def test_hadamard_is_orthogonal_where_it_says_so():
    tall, wide = draw("hadamard", (64, 10)).astype(float), draw("hadamard", (6, 16)).astype(float)
    np.testing.assert_allclose(tall.T @ tall, np.eye(10), atol=1e-6)
    np.testing.assert_allclose(wide @ wide.T, 16 / 6 * np.eye(6), atol=1e-6)
    # Any fan-in: units of norm 1, none equal to another up to the next power of two.
    odd = draw("hadamard", (5, 8))
    np.testing.assert_allclose(np.sum(odd.astype(float) ** 2, axis=0), 1, atol=1e-6)
    assert len(np.unique(odd, axis=1).T) == 8
    assert len(np.unique(draw("hadamard", (5, 12)), axis=1).T) == 8


def test_zero_hadamard_lifts_the_rank_that_the_identity_bounds():
    """Section 3 of Zhao et al.: rectified features of P inputs, partial identity against ZerO."""
    inputs, hidden = 5, 32
    x = np.random.default_rng(0).normal(size=(200, inputs))

    def feature_rank(name):
        first, second = draw(name, (inputs, hidden)), draw(name, (hidden, hidden))
        features = np.maximum(np.maximum(x @ first.astype(float), 0) @ second, 0)
        return np.linalg.matrix_rank(features)

    assert feature_rank("identity") == inputs
    assert feature_rank("zero_hadamard") == 8  # the least power of two that is not below 5


@pytest.mark.parametrize(("shape", "connections"), [(DENSE, 15), (DENSE, 3), (CONVOLUTION, 15)])
def test_sparse_connections_per_unit(shape, connections):
    weights = draw("sparse", shape, connections=connections).reshape(-1, shape[-1])
    assert (np.count_nonzero(weights, axis=0) == connections).all()


def test_sparse_with_as_many_connections_as_inputs_is_dense():
    assert np.count_nonzero(draw("sparse", DENSE, connections=64)) == 640
    assert np.count_nonzero(draw("sparse", DENSE, connections=1e6)) == 640
    assert (np.count_nonzero(draw("sparse", DENSE, connections=2.5), axis=0) == 3).all()


def test_sparse_subsets_are_all_as_likely():
    """Chi-squared over the 10 subsets of 2 of 5 inputs, and over all inputs of a large layer."""
    units = 20_000
    weights = draw("sparse", (5, units), 1, connections=2)
    chosen = np.packbits(weights != 0, axis=0, bitorder="little")[0]
    _, counts = np.unique(chosen, return_counts=True)
    assert len(counts) == 10
    assert stats.chisquare(counts).pvalue > 1e-6
    # Independent units: an input's count is binomial, and less varied than for Poisson.
    counts = np.count_nonzero(draw("sparse", LARGE, 2), axis=1)
    assert stats.chisquare(counts).pvalue > 1e-6
    rate = 15 / 400
    assert (abs(counts - 250 * rate) < FIVE * math.sqrt(250 * rate * (1 - rate)) + 1).all()


def test_sparse_values_are_normal():
    weights = draw("sparse", LARGE, 3, stddev=0.5).astype(float)
    values = weights[weights != 0] / 0.5
    n = values.size
    assert n == 15 * 250
    # Standard errors: of a mean, 1 / sqrt(n); of a variance, sqrt(2 / n); of a fourth moment,
    # sqrt((105 - 9) / n), from the eighth moment of a normal.
    assert abs(values.mean()) < FIVE / math.sqrt(n)
    assert abs(values.var() - 1) < FIVE * math.sqrt(2 / n)
    assert abs(np.mean(values**4) - 3) < FIVE * math.sqrt(96 / n)
    assert abs(np.mean(values > 0) - 0.5) < FIVE * 0.5 / math.sqrt(n)
    assert stats.kstest(values, stats.norm.cdf).pvalue > 1e-6


def test_signed_constant_has_two_values_and_fair_signs():
    weights = draw("signed_constant", LARGE, 4, gain=1.5).astype(float)
    magnitude = 1.5 * math.sqrt(2 / 400)
    np.testing.assert_allclose(abs(weights), magnitude, rtol=2e-7)
    signs = np.sign(weights)
    # A sum of n fair signs has the standard deviation sqrt(n); so has that of neighbours' products.
    assert abs(signs.mean()) < FIVE / math.sqrt(signs.size)
    for a, b in [(signs[1:], signs[:-1]), (signs[:, 1:], signs[:, :-1])]:
        assert abs(np.mean(a * b)) < FIVE / math.sqrt(a.size)
    # The fourth moment is the least there is: kurtosis 1.
    assert np.mean((weights / magnitude) ** 4) == pytest.approx(1, abs=1e-5)
    # Rows and columns are fair, too: 650 sums, each within five deviations and a half.
    assert (abs(signs.sum(axis=0)) < 5.5 * math.sqrt(400)).all()
    assert (abs(signs.sum(axis=1)) < 5.5 * math.sqrt(250)).all()


def test_delta_orthogonal_of_any_fans():
    for shape in [CONVOLUTION, (3, 3, 8, 4), (2, 3, 5, 5), (3, 2, 6)]:
        weights = draw("delta_orthogonal", shape, gain=1.5).astype(float)
        middle = tuple((taps - 1) // 2 for taps in shape[:-2])
        matrix = weights[middle] / 1.5
        gram = matrix @ matrix.T if shape[-2] <= shape[-1] else matrix.T @ matrix
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)
        assert np.count_nonzero(weights) == np.count_nonzero(matrix) == matrix.size


def test_delta_orthogonal_of_a_dense_layer_is_orthogonal():
    np.testing.assert_array_equal(draw("delta_orthogonal", DENSE), draw("orthogonal", DENSE))


@pytest.mark.parametrize(
    ("shape", "mirror", "block"),
    [
        (DENSE, "even", (32, 5)),
        (DENSE, "both", (32, 5)),
        (DENSE, "outputs", (64, 5)),
        (DENSE, "inputs", (32, 10)),
        ((7, 4), "even", (7, 2)),
        ((4, 1), "even", (2, 1)),
        ((7, 4), "outputs", (7, 2)),
        ((4, 7), "inputs", (2, 7)),
        (CONVOLUTION, "even", (2, 4)),
        ((2, 3, 3, 4), "even", (3, 2)),
    ],
)
def test_looks_linear_blocks(shape, mirror, block):
    weights = draw("looks_linear", shape, gain=1.5, mirror=mirror).astype(float)
    centre = weights[tuple((taps - 1) // 2 for taps in shape[:-2])]
    q = centre[: block[0], : block[1]]
    signs = np.ones((shape[-2] // block[0], shape[-1] // block[1]))
    signs[1:, 0] = signs[0, 1:] = -1
    np.testing.assert_array_equal(centre, np.kron(signs, q))
    gram = q.T @ q if block[0] >= block[1] else q @ q.T
    np.testing.assert_allclose(gram, 1.5**2 * np.eye(min(block)), atol=3e-5)
    assert np.count_nonzero(weights) == centre.size


@pytest.mark.parametrize(
    ("shape", "mirror", "message"),
    [
        ((3, 5), "even", r"an even number of inputs or of outputs to mirror, got \(3, 5\)"),
        ((3, 4), "both", r"an even number of inputs for mirror 'both', got \(3, 4\)"),
        ((4, 3), "both", r"an even number of outputs for mirror 'both', got \(4, 3\)"),
        ((4, 3), "outputs", "an even number of outputs for mirror 'outputs'"),
        ((3, 4), "inputs", "an even number of inputs for mirror 'inputs'"),
        ((4, 4), "rows", "mirror must be one of even, both, inputs, outputs, got 'rows'"),
    ],
)
def test_looks_linear_refuses_what_it_cannot_halve(shape, mirror, message):
    for function in (
        lambda: draw("looks_linear", shape, mirror=mirror),
        lambda: REGISTRY["looks_linear"].distribution(shape, mirror=mirror),
    ):
        with pytest.raises(ValueError, match=message):
            function()


@pytest.mark.parametrize("name", NEED_A_MATRIX)
@pytest.mark.parametrize("shape", [(), (5,), (0, 4), (4, 0), (0, 3, 4, 4)])
def test_refuses_shapes_without_a_matrix(name, shape):
    with pytest.raises(ValueError, match="at least two dimensions, none empty"):
        draw(name, shape)
    with pytest.raises(ValueError, match="at least two dimensions, none empty"):
        REGISTRY[name].distribution(shape)


@pytest.mark.parametrize("shape", [(), (0, 4)])
def test_signed_constant_refuses_shapes_without_fans(shape):
    for function in (
        REGISTRY["signed_constant"].distribution,
        lambda s: draw("signed_constant", s),
    ):
        with pytest.raises(ValueError, match="at least one dimension, none of them empty"):
            function(shape)


@pytest.mark.parametrize("name", STRUCTURED)
def test_laws_hold_for_small_shapes_and_narrow_dtypes(name):
    for shape in [(2, 2), (1, 2), (2, 1), (1, 1, 2, 2), (5, 2, 4)]:
        assert audit(name, draw(name, shape)).reason == ""
    for dtype in (jnp.bfloat16, jnp.float16):
        assert audit(name, draw(name, CONVOLUTION, dtype=dtype)).reason == ""


def shuffled(weights):
    """The same numbers elsewhere: moments and numbers of zeros stay."""
    return np.random.default_rng(0).permutation(weights.ravel()).reshape(weights.shape)


def one_off(weights):
    """The largest weight 5 % smaller."""
    wrong = weights.copy()
    wrong.flat[np.argmax(np.abs(weights))] *= 0.95
    return wrong


def one_gone(weights):
    """A weight that should be there is 0."""
    wrong = weights.copy()
    wrong.flat[np.argmax(np.abs(weights))] = 0
    return wrong


def doubled(weights):
    return 2 * weights


def beside_the_centre(weights):
    """The whole window turned by one tap."""
    return np.roll(weights, 1, axis=0)


WRONG = [
    *itertools.product(["identity", "zero_hadamard"], [shuffled, one_off, one_gone, doubled]),
    *itertools.product(["hadamard"], [shuffled, one_off, one_gone, doubled]),
    *itertools.product(["signed_constant"], [one_off, one_gone, doubled, np.abs]),
    *itertools.product(["sparse"], [shuffled, one_gone, doubled, np.sign, np.abs]),
    *itertools.product(["delta_orthogonal"], [shuffled, one_off, one_gone, doubled]),
    *itertools.product(["looks_linear"], [shuffled, one_off, one_gone, doubled, np.abs]),
    *itertools.product(
        ["identity", "zero_hadamard", "delta_orthogonal", "looks_linear"], [beside_the_centre]
    ),
]


@pytest.mark.parametrize(("name", "spoil"), WRONG)
def test_law_refuses_wrong_weights(name, spoil):
    weights = draw(name, (3, 3, 4, 8) if spoil is beside_the_centre else DENSE, 5)
    assert audit(name, weights).verdict == "ok"
    assert audit(name, spoil(weights)).verdict == "fails"


def test_law_follows_the_options():
    for name, given, other in [
        ("sparse", {"connections": 10.0}, {"connections": 11.0}),
        ("sparse", {"stddev": 0.5}, {"stddev": 0.8}),
        ("identity", {"gain": 0.5}, {"gain": 0.51}),
        ("hadamard", {"gain": 0.5}, {"gain": 0.51}),
        ("signed_constant", {"gain": 0.5}, {"gain": 0.51}),
        ("delta_orthogonal", {"gain": 0.5}, {"gain": 0.51}),
        ("looks_linear", {"gain": 0.5}, {"gain": 0.51}),
        ("looks_linear", {"mirror": "outputs"}, {"mirror": "both"}),
        ("looks_linear", {"mirror": "both"}, {"mirror": "inputs"}),
    ]:
        weights = draw(name, DENSE, 6, **given)
        assert audit(name, weights, **given).verdict == "ok", (name, given)
        assert audit(name, weights, **other).verdict == "fails", (name, other)


def test_sparse_over_lanes_of_connections():
    """A tile whose lanes have different numbers of connections draws each as alone."""
    keys, connections = jax.random.split(jax.random.key(7), 3), jnp.array([1.0, 15.0, 100.0])
    many = jax.vmap(lambda k, c: initializers.sparse(k, DENSE, connections=c))(keys, connections)
    counts = np.count_nonzero(many, axis=1)
    np.testing.assert_array_equal(counts, np.array([[1], [15], [64]]).repeat(10, axis=1))
