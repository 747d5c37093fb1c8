"""Matching of units: permuted networks are the same function, copies are found again."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax import models, probes, tasks
from initopt_jax.models import network_of, param_shapes
from initopt_jax.networks.anatomy import anatomy
from initopt_jax.probes.slices import hidden_layers, permuted
from initopt_jax.types import Split

EPS = float(np.finfo(np.float32).eps)


def drawn(shapes: dict, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(0.4 * rng.standard_normal(shape), jnp.float32)
        for name, shape in shapes.items()
    }


def dense(p: dict, x: Any) -> Any:
    hidden = jnp.tanh(x @ p["in"] + p["in_bias"][None])
    return jnp.tanh(hidden @ p["mid"] + p["mid_bias"][None]) @ p["out"]


def convolved(p: dict, x: Any) -> Any:
    """Two convolutions, a normalization by the batch between them, flattened maps, two layers."""
    form = ("NHWC", "HWIO", "NHWC")
    for place in ("0", "1"):
        x = jax.lax.conv_general_dilated(
            x, p["conv" + place], (1, 1), "SAME", dimension_numbers=form
        )
        mean = x.mean((0, 1, 2), keepdims=True)
        x = (x - mean) / jnp.sqrt(jnp.square(x - mean).mean((0, 1, 2), keepdims=True) + 1e-5)
        x = jax.nn.relu(x * p["scale" + place] + p["shift" + place])
    return jax.nn.relu(x.reshape(len(x), -1) @ p["dense"]) @ p["out"]


DENSE = {"in": (5, 7), "in_bias": (7,), "mid": (7, 4), "mid_bias": (4,), "out": (4, 3)}
CONVOLVED = {
    "conv0": (3, 3, 1, 4), "scale0": (1, 1, 1, 4), "shift0": (1, 1, 1, 4),
    "conv1": (3, 3, 4, 6), "scale1": (1, 1, 1, 6), "shift1": (1, 1, 1, 6),
    "dense": (96, 5), "out": (5, 3),
}  # fmt: skip
CASES = {"dense": (dense, DENSE, (6, 5)), "convolved": (convolved, CONVOLVED, (6, 4, 4, 1))}


@pytest.mark.parametrize("name", list(CASES))
def test_a_permuted_network_is_the_same_function_and_is_matched_back(name: str) -> None:
    apply, shapes, size = CASES[name]
    apply, params = jax.jit(apply), drawn(shapes, 1)
    inputs = jnp.asarray(np.random.default_rng(0).standard_normal(size), jnp.float32)
    layers = hidden_layers(apply, params, inputs)
    assert len(layers) == (2 if name == "dense" else 3)
    rng = np.random.default_rng(2)
    shuffled = {layer.kernel: rng.permutation(layer.units) for layer in layers}
    assert all((order != np.arange(len(order))).any() for order in shuffled.values())
    copy = permuted(params, layers, anatomy(apply, params, inputs).layouts, shuffled)
    before, after = apply(params, inputs), apply(copy, inputs)
    # The same sums in another order, of at most 96 terms a layer, each rounded.
    np.testing.assert_allclose(after, before, rtol=0, atol=300 * EPS * np.abs(before).max())
    found = probes.match_units(apply, params, copy, inputs)
    jax.tree.map(np.testing.assert_array_equal, found.params, params)
    for layer in layers:
        wanted = np.argsort(shuffled[layer.kernel])
        np.testing.assert_array_equal(found.permutations[layer.kernel], wanted)

    def loss(
        params: Any, batch: Any
    ) -> jax.Array:  # how far it is from the first network's outputs
        return jnp.mean((apply(params, batch[0]) - batch[1]) ** 2)

    lines = [
        probes.interpolate(loss, params, end, (inputs, before), points=5)
        for end in (copy, found.params)
    ]
    assert float(probes.barrier(lines[0])) > 0.01 * float(jnp.mean(before**2))
    assert float(probes.barrier(lines[1])) <= (300 * EPS * float(np.abs(before).max())) ** 2


def test_matching_brings_other_networks_nearer_and_changes_nothing() -> None:
    first, second = drawn(DENSE, 1), drawn(DENSE, 2)
    inputs = jnp.asarray(np.random.default_rng(0).standard_normal((6, 5)), jnp.float32)
    found = probes.match_units(dense, first, second, inputs)

    def distance(a: Any, b: Any) -> float:
        return sum(
            float(np.sum((np.asarray(x, np.float64) - np.asarray(y, np.float64)) ** 2))
            for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        )

    assert distance(first, found.params) < distance(first, second)
    wanted = dense(second, inputs)
    np.testing.assert_allclose(
        dense(found.params, inputs), wanted, rtol=0, atol=100 * EPS * np.abs(wanted).max()
    )
    # No exchange of two units of one layer brings it nearer: the end of coordinate ascent.
    layers = hidden_layers(dense, found.params, inputs)
    layouts = anatomy(dense, first, inputs).layouts
    for layer in layers:
        for i in range(layer.units):
            for j in range(i):
                order = np.arange(layer.units)
                order[[i, j]] = order[[j, i]]
                swap = {one.kernel: np.arange(one.units) for one in layers} | {layer.kernel: order}
                other = permuted(found.params, layers, layouts, swap)
                assert distance(first, other) >= distance(first, found.params) - 1e-9


def test_one_layer_is_matched_as_well_as_any_permutation_could() -> None:
    """Against all 120 permutations of five units."""
    from itertools import permutations

    rng = np.random.default_rng(4)
    first, second = (
        {
            "a": rng.standard_normal((3, 5)),
            "b": rng.standard_normal((5, 2)),
            "c": rng.standard_normal(5),
        }
        for _ in range(2)
    )

    def apply(p: Any, x: Any) -> Any:
        return jnp.tanh(x @ p["a"] + p["c"][None]) @ p["b"]

    as_float32 = lambda net: jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), net)  # noqa: E731
    found = probes.match_units(apply, as_float32(first), as_float32(second), jnp.ones((2, 3)))
    best = max(
        permutations(range(5)),
        key=lambda p: (
            np.sum(first["a"] * second["a"][:, p])
            + np.sum(first["b"] * second["b"][list(p)])
            + np.sum(first["c"] * second["c"][list(p)])
        ),
    )
    assert tuple(found.permutations["a"].tolist()) == best


def residual(p: dict, x: Any) -> Any:
    x = x @ p["a"]
    return (x + jnp.tanh(x @ p["b"])) @ p["c"]


def recurrent(p: dict, x: Any) -> Any:
    def cell(state: Any, now: Any) -> Any:
        return jnp.tanh(now @ p["a"] + state @ p["b"]), None

    return jax.lax.scan(cell, jnp.zeros((len(x), 4)), jnp.stack([x, x]))[0] @ p["c"]


def attention(p: dict, x: Any) -> Any:
    """One head over the numbers of an example: products of two results of kernels."""
    keys, values = x[..., None] * p["d"][None, None], jnp.tanh(x @ p["a"])
    return jnp.einsum("bn,bnd->bd", values @ p["e"], keys) @ p["c"]


def forked(p: dict, x: Any) -> Any:
    hidden = jnp.tanh(x @ p["a"])
    return (hidden @ p["c"]) * jnp.sum(jnp.tanh(hidden @ p["b"]))


def ramped(p: dict, x: Any) -> Any:
    """A fixed ramp added to the units: by its parts a chain, by its function none."""
    return jnp.tanh(x @ p["a"] + jnp.arange(4.0)[None]) @ p["c"]


REFUSED = [
    (residual, "it has residual branches"),
    (recurrent, "'a' is used in a loop"),
    (attention, "'a'|'c'"),
    (forked, "'b' does not read what 'c' made"),
    (ramped, "its outputs change with them"),
]


@pytest.mark.parametrize(("apply", "why"), REFUSED)
def test_networks_whose_units_are_tied_are_refused(apply: Any, why: str) -> None:
    shapes = {"a": (3, 4), "b": (4, 4), "c": (4, 2), "d": (4,), "e": (4, 3)}
    params = drawn(shapes, 0)
    with pytest.raises(ValueError, match=f"cannot be permuted freely: .*({why})"):
        probes.match_units(apply, params, params, jnp.ones((2, 3)))


def test_lost_weights_are_left_as_they_are() -> None:
    params = drawn(DENSE, 0)
    lost = {**params, "mid": params["mid"].at[0, 0].set(jnp.nan)}
    found = probes.match_units(dense, params, lost, jnp.ones((2, 5)))
    jax.tree.map(np.testing.assert_array_equal, found.params, lost)


def test_a_cnn_of_the_package_is_a_chain() -> None:
    """By its own shapes and operations: kernels, biases and what reads them."""
    model = models.REGISTRY["cnn"].make(outputs=3, channels=[4, 6], hidden=[5])
    train = Split(np.zeros((2, 8, 8, 1), np.float32), np.zeros(2, np.int32))
    shapes = param_shapes(model, train.inputs)
    net = network_of(model, tasks.REGISTRY["classification"], shapes, {}, train)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    layers = hidden_layers(net.plain, zeros, train.inputs)
    found = [(layer.kernel, layer.beside, layer.reader, layer.units) for layer in layers]
    assert found == [
        ("conv_0/kernel", ("conv_0/bias",), "conv_1/kernel", 4),
        ("conv_1/kernel", ("conv_1/bias",), "dense_0/kernel", 6),
        ("dense_0/kernel", ("dense_0/bias",), found[2][2], 5),
    ]
