"""Probes of weights against float64 NumPy, and the symmetry meter on layers made by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax import models, tasks
from initopt_jax.initializers import make_network
from initopt_jax.probes.weights import PROBES, distance, spectrum, symmetry, weight_histogram
from initopt_jax.tree import named_leaves
from initopt_jax.types import Split

EPS = float(np.finfo(np.float32).eps)
RANDOM = np.random.default_rng(0)
FAMILIES = {
    "mlp": ({"hidden": [7, 5]}, (6,)),
    "cnn": ({}, (8, 8, 1)),
    "resnet": ({"depth": 9, "width": 2}, (8, 8, 3)),
    "lstm": ({"hidden": 6}, (4, 3)),
    "vit": ({"width": 8, "heads": 2, "depth": 1}, (8, 8, 1)),
}


def quick(function, **options):
    """Compiled in little time: small programs run only a few times."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0}, **options)


def network_of(module, shape):
    """A network, and its weights, all random."""
    inputs = jnp.ones((2, *shape))
    params = jax.eval_shape(module.init, jax.random.key(0), inputs)["params"]
    network = make_network(
        lambda p, x: module.apply({"params": p}, x), lambda o, t: o[:, 0], params, inputs, inputs
    )
    return network, drawn(params)


def drawn(shapes):
    return jax.tree.map(lambda leaf: RANDOM.normal(size=leaf.shape).astype(np.float32), shapes)


def family(name):
    options, shape = FAMILIES[name]
    model = models.REGISTRY[name].make(outputs=3, **options)
    train = Split(RANDOM.normal(size=(4, *shape)).astype(np.float32), np.zeros(4, np.int32))
    params, state = jax.eval_shape(model.init, jax.random.key(0), train.inputs)
    network = models.network_of(
        model, tasks.REGISTRY["classification"], params, drawn(state), train
    )
    return network, drawn(params)


def two_dense(bias=True):
    return network_of(nn.Sequential([nn.Dense(6, use_bias=bias), nn.tanh, nn.Dense(2)]), (4,))


# --- movement ------------------------------------------------------------------------------------


def test_distance_is_that_of_numpy():
    start = {"a": RANDOM.normal(size=(5, 4)), "b": RANDOM.normal(size=7), "zero": np.zeros(3)}
    step = {key: 0.7 * RANDOM.normal(size=leaf.shape) for key, leaf in start.items()}
    params = {key: leaf + step[key] for key, leaf in start.items()}
    single = [jax.tree.map(lambda leaf: leaf.astype(np.float32), tree) for tree in (params, start)]
    found = quick(distance)(*single)
    exact = np.array([np.linalg.norm(step[key]) for key in start])
    length = np.array([np.linalg.norm(leaf) for leaf in start.values()])
    np.testing.assert_allclose(found["distance"], exact, rtol=20 * EPS)
    np.testing.assert_allclose(
        found["relative_distance"][:2], exact[:2] / length[:2], rtol=20 * EPS
    )
    assert np.isnan(found["relative_distance"][2])
    signs = [np.mean(np.sign(params[key]) != np.sign(start[key])) for key in start]
    np.testing.assert_allclose(found["sign_changes"], signs, rtol=EPS)
    assert found["sign_changes"][2] == 1  # what leaves 0 counts


def test_distance_of_lost_weights_is_not_a_number():
    lost = {"w": jnp.array([jnp.nan, 1.0]), "x": jnp.array([jnp.inf, 1.0])}
    found = distance(lost, {"w": jnp.ones(2), "x": jnp.ones(2)})
    assert np.isnan(found["distance"][0])
    assert np.isnan(found["sign_changes"][0])
    assert found["distance"][1] == np.inf


# --- histogram -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bins", [1, 5, 32])
def test_histogram_is_that_of_numpy(bins):
    # Steps of 1/64 lie on the edges of bins, or well off them.
    leaves = {"a": RANDOM.integers(-64, 65, (9, 8)) / 64, "b": RANDOM.integers(0, 9, 50) / 64}
    leaves = {key: leaf.astype(np.float32) for key, leaf in leaves.items()}
    found = quick(weight_histogram, static_argnames="bins")(leaves, bins=bins)
    for row, leaf in enumerate(leaves.values()):
        counts, edges = np.histogram(leaf, bins)
        np.testing.assert_array_equal(found["weight_histogram"][row], counts)
        np.testing.assert_array_equal(found["weight_range"][row], edges[[0, -1]])


def test_histogram_of_constants_and_of_the_whole_range():
    most = float(np.finfo(np.float32).max)
    found = weight_histogram(
        {"a": jnp.zeros(6), "b": jnp.full((2, 3), 1.5), "c": jnp.array([-most, 0.0, most])}, bins=4
    )
    np.testing.assert_array_equal(
        found["weight_histogram"], [[0, 0, 6, 0], [0, 0, 6, 0], [1, 0, 1, 1]]
    )
    np.testing.assert_array_equal(found["weight_range"][1], [1.5, 1.5])


@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
def test_histogram_of_lost_weights_is_not_a_number(lost):
    found = weight_histogram({"a": jnp.array([1.0, lost, 2.0]), "b": jnp.array([1.0, 2.0, 2.0])})
    assert np.isnan(found["weight_histogram"][0]).all()
    assert np.isnan(found["weight_range"][0]).all()
    assert found["weight_histogram"][1].sum() == 3


def test_bins_are_checked():
    with pytest.raises(ValueError, match="bins must be a whole number above 0, got 0"):
        weight_histogram({"a": jnp.ones(2)}, bins=0)


# --- spectrum ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(FAMILIES))
def test_spectrum_is_that_of_numpy(name):
    network, params = family(name)
    leaves, found = (
        dict(named_leaves(params)),
        quick(lambda params: spectrum(params, network, k=5))(params),
    )
    assert len(found["spectral_norm"]) == len(network.anatomy.kernels) > 1
    for row, kernel in enumerate(network.anatomy.kernels):
        # Models of the registry have one kernel to a leaf, with its outputs last.
        units = int(np.prod([leaves[kernel.path].shape[axis] for axis in kernel.layout.outputs]))
        exact = np.linalg.svd(leaves[kernel.path].reshape(-1, units).astype(np.float64))[1]
        tolerance = 4 * len(exact) * EPS
        many = min(5, len(exact))
        np.testing.assert_allclose(
            found["singular_values"][row, :many], exact[:many], atol=tolerance * exact[0], rtol=0
        )
        assert np.isnan(found["singular_values"][row, many:]).all()
        np.testing.assert_allclose(found["spectral_norm"][row], exact[0], rtol=tolerance)
        stable = (exact**2).sum() / exact[0] ** 2
        np.testing.assert_allclose(found["stable_rank"][row], stable, rtol=2 * tolerance)
        shares = exact / exact.sum()
        rank = np.exp(-(shares * np.log(shares)).sum())
        # An error e of every share moves the entropy by less than e (1 + |log share|) each.
        slack = tolerance * (1 + np.abs(np.log(shares))).sum()
        np.testing.assert_allclose(found["effective_rank"][row], rank, rtol=slack)


def test_ranks_of_what_they_are_known_for():
    network, params = two_dense(bias=False)
    low = np.outer(np.arange(1, 5), np.arange(6) - 2.5).astype(np.float32)
    params["layers_0"]["kernel"], params["layers_2"]["kernel"] = low, np.eye(6, 2, dtype=np.float32)
    measure = quick(lambda params: spectrum(params, network))
    found = measure(params)
    np.testing.assert_allclose(found["stable_rank"], [1, 2], rtol=10 * EPS)
    # Three singular values of rounding, EPS each, add less than 3 EPS (1 - log EPS).
    np.testing.assert_allclose(found["effective_rank"], [1, 2], rtol=50 * EPS)
    zero = measure(jax.tree.map(np.zeros_like, params))
    np.testing.assert_array_equal(zero["spectral_norm"], [0, 0])
    assert np.isnan(zero["stable_rank"]).all()
    assert np.isnan(zero["effective_rank"]).all()


def test_groups_of_a_convolution_are_matrices_of_their_own():
    network, params = network_of(nn.Conv(6, (3, 3), feature_group_count=2), (5, 5, 4))
    kernel = params["kernel"].astype(np.float64)
    exact = np.stack(
        [np.linalg.svd(kernel[..., part].reshape(-1, 3))[1] for part in (slice(3), slice(3, 6))]
    )
    found = quick(lambda params: spectrum(params, network, k=3))(params)
    np.testing.assert_allclose(found["singular_values"][0], exact.max(axis=0), rtol=20 * EPS)
    stable = ((exact**2).sum(axis=1) / exact[:, 0] ** 2).mean()
    np.testing.assert_allclose(found["stable_rank"][0], stable, rtol=20 * EPS)


# --- symmetry ------------------------------------------------------------------------------------


def meter(network):
    """`(params) -> (copies, shares)`, compiled once."""
    measure = quick(lambda params, tolerance: symmetry(params, network, tolerance=tolerance))

    def read(params, tolerance=1e-5):
        found = measure(params, jnp.float32(tolerance))
        return found["copies"].tolist(), found["symmetric_share"].round(4).tolist()

    return read


def test_copies_of_a_dense_layer():
    network, params = two_dense()
    read = meter(network)
    kernel, bias = params["layers_0"]["kernel"], params["layers_0"]["bias"]
    assert read(params) == ([0, 0], [0, 0])
    kernel[:, 3], bias[3] = kernel[:, 1], bias[1]
    kernel[:, 5], bias[5] = kernel[:, 1], bias[1]
    assert read(params) == ([2, 0], [0.5, 0])
    bias[5] += 0.01  # a bias tells units apart
    np.testing.assert_allclose(read(params), [[1, 0], [2 / 6, 0]], atol=1e-4)


def test_zeros_and_constants_are_all_copies():
    network, params = two_dense()
    read = meter(network)
    for value in (0.0, 0.3):
        same = jax.tree.map(lambda leaf, value=value: np.full_like(leaf, value), params)
        assert read(same) == ([5, 1], [1, 1])
    # One unit among zeros is no copy of them, however small its weight.
    alone = jax.tree.map(np.zeros_like, params)
    alone["layers_0"]["kernel"][2, 4] = 1e-30
    assert read(alone)[0] == [4, 1]


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_near_copies_are_told_by_the_tolerance(scale):
    network, params = two_dense()
    read = meter(network)
    kernel, bias = params["layers_0"]["kernel"], params["layers_0"]["bias"]
    kernel[:, 0], bias[0] = 1, 0.5
    kernel[:, 1], bias[1] = 1, 0.5
    kernel[2, 1] += 3e-6
    kernel[:, 2], bias[2] = 1, 0.5
    kernel[2, 2] -= 3e-5
    kernel *= scale
    bias *= scale
    assert read(params)[0] == [1, 0]
    assert read(params, tolerance=1e-6)[0] == [0, 0]
    assert read(params, tolerance=1e-4)[0] == [2, 0]


def test_copies_of_a_convolution_are_channels():
    network, params = network_of(nn.Conv(4, (3, 3)), (5, 5, 2))
    read = meter(network)
    params["kernel"][..., 2], params["bias"][2] = params["kernel"][..., 0], params["bias"][0]
    assert read(params) == ([1], [0.5])
    params["kernel"][0, 0, 0, 2] += 1
    assert read(params) == ([0], [0])


def test_channels_of_different_groups_are_no_copies():
    network, params = network_of(nn.Conv(6, (3, 3), feature_group_count=2), (5, 5, 4))
    read = meter(network)
    kernel, bias = params["kernel"], params["bias"]
    kernel[..., 3], bias[3] = kernel[..., 0], bias[0]  # of the other group: other inputs
    assert read(params) == ([0], [0])
    kernel[..., 5], bias[5] = kernel[..., 3], bias[3]
    np.testing.assert_allclose(read(params), [[1], [2 / 6]], atol=1e-4)
    bias[5] += 1
    assert read(params) == ([0], [0])


def test_copies_of_heads():
    network, params = family("vit")
    read = meter(network)
    paths = [kernel.path for kernel in network.anatomy.kernels]
    query = params["block_0"]["attention"]["query"]
    assert query["kernel"].shape == (8, 2, 4)
    query["kernel"][:, 1, 3], query["bias"][1, 3] = query["kernel"][:, 0, 2], query["bias"][0, 2]
    counts, shares = read(params)
    place = paths.index("block_0/attention/query/kernel")
    assert (counts[place], shares[place]) == (1, 0.25)
    assert sum(counts) == 1
    query["bias"][1, 3] += 1
    assert sum(read(params)[0]) == 0


def test_layers_of_a_stack_are_looked_at_one_by_one():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.tanh(nn.Dense(4)(x)), None

    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x):
            many = nn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True},
                           length=3)  # fmt: skip
            return many()(x, None)[0]

    network, params = network_of(Stack(), (4,))
    read = meter(network)
    (leaf,) = params.values()
    kernel, bias = leaf["Dense_0"]["kernel"], leaf["Dense_0"]["bias"]
    kernel[1], bias[1] = kernel[0], bias[0]  # layers alike, units not
    assert read(params) == ([0], [0])
    kernel[2, :, 1], bias[2, 1] = kernel[2, :, 0], bias[2, 0]
    np.testing.assert_allclose(read(params), [[1], [2 / 12]], atol=1e-4)
    bias[2, 1] += 1
    assert read(params) == ([0], [0])


def test_a_network_without_kernels_has_nothing_to_measure():
    inputs = np.ones((2, 3), np.float32)
    params = {"shift": jnp.ones(3)}
    network = make_network(
        lambda p, x: x + p["shift"][None], lambda o, t: o[:, 0], params, inputs, inputs
    )
    assert spectrum(params, network, k=4)["singular_values"].shape == (0, 4)
    for found in (spectrum(params, network)["effective_rank"], symmetry(params, network)["copies"]):
        assert found.shape == (0,)


def test_double_precision_is_kept():
    with jax.enable_x64(True):
        network, params = two_dense()
        params = jax.tree.map(np.float64, params)
        start = jax.tree.map(lambda leaf: leaf + 1e-9, params)
        found = quick(lambda p, s: {**distance(p, s), **spectrum(p, network)})(params, start)
        assert {value.dtype for value in found.values()} == {np.dtype(np.float64)}
        # Leaves in order: a bias of 6, a kernel of 4 x 6, ...
        np.testing.assert_allclose(found["distance"][:2], 1e-9 * np.sqrt([6, 24]), rtol=1e-6)
        exact = np.linalg.svd(params["layers_0"]["kernel"])[1]
        np.testing.assert_allclose(found["singular_values"][0, :4], exact, rtol=1e-12)


def test_options_are_checked():
    network, params = two_dense()
    with pytest.raises(ValueError, match="tolerance must be a finite number of at least 0"):
        symmetry(params, network, tolerance=-1.0)
    with pytest.raises(ValueError, match="k must be a whole number above 0, got 0"):
        spectrum(params, network, k=0)


# --- all of them ---------------------------------------------------------------------------------


def test_a_lost_lane_touches_no_other():
    network, params = two_dense()
    lanes = jax.tree.map(lambda leaf: np.stack([leaf, leaf, 2 * leaf]), params)
    lanes["layers_0"]["kernel"][1, 0, 0] = np.nan
    lanes["layers_2"]["kernel"][1, 0, 0] = np.inf

    def measure(params, start):
        found = {**distance(params, start), **weight_histogram(params)}
        return {**found, **spectrum(params, network), **symmetry(params, network)}

    start = jax.tree.map(np.zeros_like, params)
    together = quick(jax.vmap(measure, in_axes=(0, None)))(lanes, start)
    names = {name for probe in PROBES for name in probe.dims}
    assert set(together) == names
    alone = quick(measure)
    for lane in (0, 2):
        expected = alone(jax.tree.map(lambda leaf, lane=lane: leaf[lane], lanes), start)
        for name in names:
            np.testing.assert_allclose(
                together[name][lane], expected[name], rtol=10 * EPS, err_msg=name
            )
    for name in ("spectral_norm", "effective_rank", "copies", "symmetric_share"):
        assert np.isnan(together[name][1]).all(), name


def test_singular_values_on_two_devices_at_once(finishes_on_two_devices):
    finishes_on_two_devices(
        """
        import jax
        import jax.numpy as jnp
        jax.config.update("jax_num_cpu_devices", 2)
        from initopt_jax.probes.weights.spectrum import singular_values
        sizes = ((64, 64), (80, 30), (64, 10))
        leaves = [jax.random.normal(jax.random.key(0), (16, *size)) for size in sizes]
        leaves[0] = leaves[0].at[3].set(jnp.nan)
        measure = jax.jit(lambda leaves: [jax.vmap(singular_values)(leaf) for leaf in leaves])

        def work(device):
            mine = jax.device_put(leaves, device)
            for _ in range(5):
                jax.block_until_ready(measure(mine))
        """
    )
