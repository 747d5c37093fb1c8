"""The parts of a network as model-level initializers see them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax.networks.anatomy import kernel_sums
from tests.initializers.residual_models import Plain, ResNet, Stack, Transformer, survey


def test_residual_network():
    found, _, _ = survey(ResNet(), jnp.ones((2, 8, 8, 3)))
    assert (found.inputs, found.outputs, found.depth) == (("stem/kernel",), ("head/kernel",), 2)
    for number, branch in enumerate(found.branches):
        block = f"block_{number}"
        assert branch.kernels == (f"{block}/conv_1/kernel", f"{block}/conv_2/kernel")
        assert branch.scales == (f"{block}/norm_1/scale", f"{block}/norm_2/scale")
        assert f"{block}/project/kernel" not in branch.leaves
    assert found.bias_of("stem/kernel") == "stem/bias"
    assert found.bias_of("block_0/conv_1/kernel") is None


def test_transformer():
    found, _, _ = survey(Transformer(), jnp.ones((2, 5), int))
    assert found.depth == 4
    assert found.outputs == ("head/kernel",)
    attention, perceptron = found.branches[:2]
    names = [path.split("/")[1] for path in attention.kernels]
    assert sorted(names[:3]) == ["key", "query", "value"]
    assert names[3] == "out"
    assert perceptron.kernels == ("up_0/kernel", "down_0/kernel")
    assert perceptron.scales[-1] == "scale_0"


def test_a_stack_counts_its_layers():
    found, _, _ = survey(Stack(), jnp.ones((2, 8)))
    (branch,) = found.branches
    assert (branch.kernels, branch.times, found.depth) == (("dense/kernel",), 3, 3)
    assert found.kernels[0].in_scan


def test_plain_network_has_no_branch():
    found, _, _ = survey(Plain(), jnp.ones((2, 4)))
    assert found.branches == ()
    assert [kernel.path for kernel in found.kernels] == ["a/kernel", "b/kernel", "c/kernel"]
    assert found.kernels[2].upstream == {"a/kernel", "a/bias", "b/kernel", "b/bias"}


def test_sums_of_two_recurrent_products_are_no_branch():
    cell = nn.RNN(nn.GRUCell(8))
    found, _, _ = survey(nn.RNN(nn.SimpleCell(8)), jnp.ones((2, 4, 3)))
    assert found.branches == ()
    assert all(kernel.in_scan for kernel in survey(cell, jnp.ones((2, 4, 3)))[0].kernels)


@pytest.mark.parametrize("jit", [False, True])
def test_sums_of_dense_layers(jit):
    inputs = jax.random.normal(jax.random.key(1), (3, 4))
    _, apply, params = survey(Plain(), inputs)

    def measure(params, inputs):
        return kernel_sums(apply, params, inputs)

    sums = (jax.jit(measure) if jit else measure)(params, inputs)
    first = inputs @ params["a"]["kernel"]
    second = jnp.tanh(first) @ params["b"]["kernel"]
    assert set(sums) == {"a/kernel", "b/kernel", "c/kernel"}
    np.testing.assert_allclose(sums["a/kernel"], first, rtol=1e-5)
    np.testing.assert_allclose(sums["b/kernel"], second, rtol=1e-5)


def test_sums_of_heads_and_convolutions_have_units_last():
    inputs = jax.random.normal(jax.random.key(1), (2, 5, 16))
    heads = nn.MultiHeadDotProductAttention(4)
    _, apply, params = survey(heads, inputs)
    sums = kernel_sums(apply, params, inputs)
    kernel = params["query"]["kernel"].reshape(16, 16)
    np.testing.assert_allclose(
        sums["query/kernel"], inputs.reshape(10, 16) @ kernel, rtol=1e-4, atol=1e-5
    )
    pictures = jax.random.normal(jax.random.key(2), (2, 6, 6, 3))
    layer = nn.Conv(7, (3, 3))
    _, apply, params = survey(layer, pictures)
    whole = apply(params, pictures)
    sums = kernel_sums(apply, params, pictures)["kernel"]
    np.testing.assert_allclose(sums, whole.reshape(-1, 7), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("first", ["stream", "branches"])
def test_parallel_branches(first):
    """`(x + a) + b` are two branches; of `x + (a + b)` the sum is one."""

    class Parallel(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            values = nn.Dense(8, name="stem")(inputs)
            for block in range(2):
                deep = nn.Dense(8, name=f"up_{block}")(values)
                deep = nn.Dense(8, name=f"down_{block}")(nn.relu(deep))
                wide = nn.Dense(8, name=f"wide_{block}")(values)
                values = values + deep + wide if first == "stream" else values + (deep + wide)
            return values

    found, _, _ = survey(Parallel(), jnp.ones((2, 8)))
    names = [tuple(path.split("/")[0] for path in branch.kernels) for branch in found.branches]
    if first == "stream":
        assert names == [(f"{n}_{b}",) if n == "wide" else (f"up_{b}", f"down_{b}")
                         for b in range(2) for n in ("deep", "wide")]  # fmt: skip
    else:
        assert [sorted(name) for name in names] == [
            ["down_0", "up_0", "wide_0"], ["down_1", "up_1", "wide_1"]
        ]  # fmt: skip


def test_a_bias_is_met_after_its_kernel():
    class Rooted(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            table = self.param("table", nn.initializers.normal(), (1, 4))
            kernel = self.param("kernel", nn.initializers.normal(), (4, 3))
            return (inputs + table) @ kernel + self.param("shift", nn.initializers.zeros, (1, 3))

    found, _, _ = survey(Rooted(), jnp.ones((2, 4)))
    assert found.bias_of("kernel") == "shift"
