"""Leaves taken apart in kernels, and how layers use them: fans where frameworks get them wrong."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax.audits import audit_params
from initopt_jax.initializers import Layout, default_rules, initialize, layouts, standard_layout
from initopt_jax.networks.layout import EMBEDDING
from initopt_jax.tree import named_leaves

GROUPED = Layout("convolution", window=(0, 1), inputs=(2,), outputs=(3,), groups=3)
CASES = [
    ((7,), standard_layout((7,)), (7,), 1),
    ((4, 3), standard_layout((4, 3)), (4, 3), 1),
    ((3, 3, 4, 5), standard_layout((3, 3, 4, 5)), (3, 3, 4, 5), 1),
    ((4, 2, 3), Layout("dense", inputs=(0,), outputs=(1, 2)), (4, 6), 1),
    ((2, 3, 5), Layout("dense", inputs=(0, 1), outputs=(2,)), (6, 5), 1),
    ((2, 3, 2, 6), GROUPED, (2, 3, 2, 2), 3),
    ((5, 4), EMBEDDING, (1, 4), 5),
    ((3, 4, 5), Layout("dense", inputs=(2,), outputs=(1,), batch_axes=(0,)), (5, 4), 3),
    ((3, 5), Layout("vector", outputs=(1,), batch_axes=(0,)), (5,), 3),
]


@pytest.mark.parametrize(("shape", "layout", "kernel", "count"), CASES)
def test_kernels_of_a_leaf_and_back(shape, layout, kernel, count):
    leaf = np.arange(math.prod(shape)).reshape(shape)
    apart = layout.take_apart(leaf)
    assert apart.shape == (count, *kernel)
    assert (layout.kernel_shape(shape), layout.kernels(shape)) == (kernel, count)
    np.testing.assert_array_equal(layout.put_together(apart, shape), leaf)
    np.testing.assert_array_equal(layout.put_together(jnp.asarray(apart), shape), leaf)


def test_a_group_is_a_run_of_outputs():
    leaf = np.random.default_rng(0).normal(size=(2, 3, 2, 6))
    np.testing.assert_array_equal(GROUPED.take_apart(leaf)[1], leaf[..., 2:4])


class Tied(nn.Module):
    """One table for reading words and for scoring them."""

    @nn.compact
    def __call__(self, words):
        table = nn.Embed(100, 16)
        return table.attend(nn.Dense(16)(table(words)))


class Positions(nn.Module):
    """A table of positions is added; its numbers then meet each other in a product."""

    @nn.compact
    def __call__(self, inputs):
        table = self.param("table", nn.initializers.normal(), (1, 5, 64))
        heads = nn.DenseGeneral((4, 16))(inputs + table)
        return jnp.einsum("bthd,bshd->bhts", heads, heads)


class Stack(nn.Module):
    """Three layers in one leaf, run by a loop."""

    @nn.compact
    def __call__(self, inputs):
        def layer(module, carry, _):
            return nn.Dense(8, name="dense")(carry), None

        stack = nn.scan(layer, {"params": 0}, split_rngs={"params": True}, length=3)
        return stack(self, inputs, None)[0]


class Standardized(nn.Module):
    """A convolution whose kernel is standardized and scaled on the way."""

    @nn.compact
    def __call__(self, inputs):
        kernel = self.param("kernel", nn.initializers.normal(), (3, 3, 4, 8))
        every = {"axis": (0, 1, 2), "keepdims": True}
        kernel = (kernel - kernel.mean(**every)) / kernel.std(**every)
        gain = self.param("gain", nn.initializers.ones, (8,))
        kernel = jnp.broadcast_to(gain, kernel.shape) * kernel
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            inputs, kernel, (1, 1), "SAME", dimension_numbers=layout
        )


HEADS = nn.MultiHeadDotProductAttention(num_heads=8, qkv_features=128)
TOKENS, PICTURES = jnp.ones((2, 5, 64)), jnp.ones((2, 8, 8, 16))
# What `(*window, inputs, outputs)` read off the shape alone gives is noted where it is wrong.
FANS = [
    (nn.Dense(4), [TOKENS], {"kernel": (64, 4), "bias": (64, 4)}),
    (nn.Conv(32, (3, 3)), [PICTURES], {"kernel": (144, 288)}),
    (nn.Conv(32, (1, 1)), [PICTURES], {"kernel": (16, 32)}),
    # shape alone: fan-out 288, four times too large
    (nn.Conv(32, (3, 3), feature_group_count=4), [PICTURES], {"kernel": (36, 72)}),
    # depthwise, by shape alone: fan-out 288
    (nn.Conv(32, (3, 3), feature_group_count=16), [PICTURES], {"kernel": (9, 18)}),
    # (8 * 64, 16 * 64) and (8 * 16, 8 * 64): no head is a receptive field
    (HEADS, [TOKENS, TOKENS], {"query/kernel": (64, 128), "out/kernel": (128, 64)}),
    # a bias has the fans of its layer, with an axis for heads too: (8, 16) and (64, 64)
    (HEADS, [TOKENS, TOKENS], {"value/bias": (64, 128), "out/bias": (128, 64)}),
    # two axes of each, by shape alone: 72 and 90
    (nn.DenseGeneral((4, 5), axis=(-2, -1)), [jnp.ones((2, 3, 6))], {"kernel": (18, 20)}),
    # one row is read at a time: (100, 16)
    (nn.Embed(100, 16), [jnp.ones((2, 5), int)], {"embedding": (1, 16)}),
    (Tied(), [jnp.ones((2, 5), int)], {"Embed_0/embedding": (1, 16), "Dense_0/kernel": (16, 16)}),
    # heads are summed over in one einsum, and stand alone in the other: (128, 512) for both
    (nn.Einsum((8, 16, 64), "bnd,nde->be"), [jnp.ones((2, 8, 16))], {"kernel": (128, 64)}),
    (nn.Einsum((8, 16, 64), "bnd,nde->bne"), [jnp.ones((2, 8, 16))], {"kernel": (16, 64)}),
    # outputs come first: (40, 30)
    (nn.Einsum((30, 40), "bi,oi->bo", use_bias=False), [jnp.ones((2, 40))], {"kernel": (40, 30)}),
    # a stack of three layers: (24, 24)
    (Stack(), [jnp.ones((2, 8))], {"dense/kernel": (8, 8)}),
    (nn.RNN(nn.GRUCell(32)), [jnp.ones((2, 6, 10))],
     {"cell/in/kernel": (10, 32), "cell/hn/kernel": (32, 32)}),
    # (5, 64): a window of width 1
    (Positions(), [TOKENS], {"table": (1, 64), "DenseGeneral_0/kernel": (64, 64)}),
    (Standardized(), [jnp.ones((2, 5, 5, 4))], {"kernel": (36, 72), "gain": None}),
    (nn.WeightNorm(nn.Dense(7)), [TOKENS], {"layer_instance/kernel": (64, 7)}),
    (nn.remat(nn.Dense)(4), [TOKENS], {"kernel": (64, 4)}),
]  # fmt: skip


def traced(module, inputs):
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    shapes = nn.unbox(shapes)
    found = layouts(lambda params, *x: module.apply({"params": params}, *x), shapes, *inputs)
    return shapes, found


@pytest.mark.parametrize(("module", "inputs", "expected"), FANS)
def test_fans_of_the_layer(module, inputs, expected):
    shapes, found = traced(module, inputs)
    leaves = dict(named_leaves(shapes))
    assert set(found) == set(leaves)
    for path, fans in expected.items():
        assert found[path].fans(leaves[path].shape) == fans, path


def test_fan_in_is_what_a_unit_sums_over():
    """By counting: with all weights and inputs 1, an output is its fan-in."""
    for module, inputs, expected in FANS[:5] + FANS[7:8] + FANS[10:13]:
        shapes, _ = traced(module, inputs)
        ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
        ones = {name: 0 * leaf if name == "bias" else leaf for name, leaf in ones.items()}
        outputs = module.apply({"params": ones}, *inputs)
        assert float(outputs.max()) == expected["kernel"][0]


@pytest.mark.parametrize(
    ("module", "inputs"),
    [(HEADS, [TOKENS, TOKENS]), (nn.Conv(32, (3, 3), feature_group_count=4), [PICTURES]),
     (Stack(), [jnp.ones((2, 8))])],
)  # fmt: skip
@pytest.mark.parametrize("name", ["orthogonal", "glorot_normal"])
def test_drawn_for_the_layer_and_audited(module, inputs, name):
    shapes, found = traced(module, inputs)
    rules = default_rules(name)
    params = initialize(jax.random.key(1), shapes, rules, found)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    rows = audit_params(params, rules, layouts=found)
    assert [row.verdict for row in rows] == ["ok"] * len(rows)
    if name == "orthogonal":
        assert all(row.coherence < 1e-5 for row in rows if row.coherence is not None and row.std)
        if isinstance(module, nn.Conv):
            return  # columns of the whole leaf are columns of a group
        blind = initialize(jax.random.key(1), shapes, rules)
        wrong = audit_params(blind, rules, layouts=found)
        assert any(row.verdict == "fails" for row in wrong)


def test_heads_draw_as_one_matrix_keeps_variance():
    shapes, found = traced(HEADS, [TOKENS, TOKENS])
    params = initialize(jax.random.key(2), shapes, default_rules("lecun_normal"), found)
    weights = np.asarray(params["out"]["kernel"], np.float64)
    n = weights.size
    # five standard errors of a variance, sigma^2 sqrt(2 / n)
    assert abs(weights.var() * 128 - 1) < 5 * math.sqrt(2 / n)


def test_a_copy_of_a_unit_shows_in_the_coherence():
    params = {"kernel": jnp.ones((8, 3))}
    (row,) = audit_params(params, {"*": "ones"})
    assert row.coherence == pytest.approx(1)
    assert row.zeros == 0


def test_layouts_of_plain_functions_and_of_what_is_not_followed():
    params = {"w": jnp.ones((6, 6)), "unused": jnp.ones((2, 3, 4)), "cut": jnp.ones((4, 6))}

    def apply(params, inputs):
        cut = params["cut"].reshape(4, 2, 3)[:, 0]
        return jnp.tanh(inputs @ params["w"].T @ params["w"]).sum() + (inputs[:, :4] @ cut).sum()

    found = layouts(apply, params, jnp.ones((2, 6)))
    assert found["w"] == Layout("dense", inputs=(1,), outputs=(0,))
    assert found["unused"].describe() == "unknown: no operation of the network is seen to use it"
    # Four of its six columns, in two halves of three, of which one is used.
    assert found["cut"].text((4, 6)) == "i 2a*o"
