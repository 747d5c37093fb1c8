"""Small networks with and without residual branches, for the tests of model-level initializers."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.initializers.model_level import leaves_of, make_network
from initopt_jax.networks.anatomy import anatomy

End = Literal["plain", "scalar", "channels", "norm", "norm_channels"]


class Block(nn.Module):
    """A residual block with normalization, and a projection shortcut where asked for."""

    features: int
    project: bool = False

    @nn.compact
    def __call__(self, inputs):
        values = inputs
        for number in (1, 2):
            values = nn.Conv(self.features, (3, 3), use_bias=False, name=f"conv_{number}")(values)
            values = nn.GroupNorm(2, name=f"norm_{number}")(nn.relu(values))
        shortcut = nn.Conv(self.features, (1, 1), name="project")(inputs)
        return values + (shortcut if self.project else inputs)


class ResNet(nn.Module):
    """A stem, two blocks, a head."""

    @nn.compact
    def __call__(self, inputs):
        values = nn.Conv(8, (3, 3), name="stem")(inputs)
        values = Block(8, name="block_0")(values)
        values = Block(16, project=True, name="block_1")(values)
        return nn.Dense(10, name="head")(values.mean((1, 2)))


class Transformer(nn.Module):
    """Two pre-norm blocks with a scale per channel at the end of each perceptron."""

    @nn.compact
    def __call__(self, words):
        places = jnp.arange(words.shape[1])[None]
        values = nn.Embed(50, 16, name="words")(words) + nn.Embed(5, 16, name="places")(places)
        for number in range(2):
            normal = nn.LayerNorm(name=f"norm_a{number}")(values)
            values = values + nn.MultiHeadDotProductAttention(4, name=f"attention_{number}")(normal)
            hidden = nn.Dense(64, name=f"up_{number}")(nn.LayerNorm(name=f"norm_b{number}")(values))
            out = nn.Dense(16, name=f"down_{number}")(nn.gelu(hidden))
            scale = self.param(f"scale_{number}", nn.initializers.ones, (16,))
            values = values + out * scale[None, None]
        return nn.Dense(50, name="head")(nn.LayerNorm(name="norm")(values))


class Stack(nn.Module):
    """Three residual layers in one leaf, run by a loop."""

    @nn.compact
    def __call__(self, inputs):
        def layer(module, carry, _):
            return carry + nn.Dense(8, name="dense")(nn.relu(carry)), None

        stack = nn.scan(layer, {"params": 0}, split_rngs={"params": True}, length=3)
        return stack(self, inputs, None)[0]


class Plain(nn.Module):
    """Dense layers, no shortcut."""

    @nn.compact
    def __call__(self, inputs):
        values = nn.tanh(nn.Dense(5, name="a")(inputs))
        return nn.Dense(3, name="c")(nn.silu(nn.Dense(6, name="b")(values)))


class Perceptron(nn.Module):
    """A residual block of dense layers: what ends its branch is chosen."""

    layers: int = 2
    end: End = "plain"

    @nn.compact
    def __call__(self, inputs, _=None):
        values, width = inputs, inputs.shape[-1]
        for number in range(self.layers):
            values = nn.relu(values) if number else values
            values = nn.Dense(width, name=f"dense_{number}")(values)
        if self.end.startswith("norm"):
            values = nn.LayerNorm(name="norm")(values)
        if self.end == "scalar":
            values = values * self.param("gate", nn.initializers.ones, ())
        if self.end.endswith("channels"):
            values = values * self.param("scale", nn.initializers.ones, (width,))[None]
        return inputs + values, None


class Residual(nn.Module):
    """A stem, blocks of dense layers one by one or as a stack run by a loop, a head."""

    depth: int = 3
    layers: int = 2
    end: End = "plain"
    width: int = 16
    outputs: int = 3
    looped: bool = False

    @nn.compact
    def __call__(self, inputs):
        values = nn.Dense(self.width, name="stem")(inputs)
        options = {"layers": self.layers, "end": self.end}
        if self.looped:
            kind = nn.scan(
                Perceptron, {"params": 0}, split_rngs={"params": True}, length=self.depth
            )
            values, _ = kind(**options, name="blocks")(values, None)
        else:
            for number in range(self.depth):
                values, _ = Perceptron(**options, name=f"block_{number}")(values)
        return nn.Dense(self.outputs, name="head")(values)


class EncoderLayer(nn.Module):
    """Attention and a perceptron, each added to its inputs, without normalization."""

    scaled: bool = False

    @nn.compact
    def __call__(self, inputs, _=None):
        def scale(values, name):
            start = nn.initializers.ones
            return values * self.param(name, start, (8,))[None, None] if self.scaled else values

        attention = nn.MultiHeadDotProductAttention(2, name="attention")
        values = inputs + scale(attention(inputs), "scale_a")
        hidden = nn.relu(nn.Dense(16, name="up")(values))
        return values + scale(nn.Dense(8, name="down")(hidden), "scale_b"), None


class Encoder(nn.Module):
    """Layers over embedded words, or over vectors that a kernel takes in; then a head."""

    depth: int = 2
    embed: bool = True
    looped: bool = False
    scaled: bool = False

    @nn.compact
    def __call__(self, inputs):
        taken = nn.Embed(11, 8, name="words") if self.embed else nn.Dense(8, name="patches")
        values = taken(inputs)
        if self.looped:
            kind = nn.scan(
                EncoderLayer, {"params": 0}, split_rngs={"params": True}, length=self.depth
            )
            values, _ = kind(self.scaled, name="layers")(values, None)
        else:
            for number in range(self.depth):
                values, _ = EncoderLayer(self.scaled, name=f"layer_{number}")(values)
        return nn.Dense(3, name="head")(values.mean(1))


class Crossing(nn.Module):
    """Attention from one half of the words to what another layer made of the other half."""

    @nn.compact
    def __call__(self, inputs):
        left = nn.Dense(8, name="left")(inputs[:, :2])
        right = nn.Dense(8, name="right")(inputs[:, 2:])
        found = nn.MultiHeadDotProductAttention(2, name="attention")(left, right)
        return nn.Dense(3, name="head")((left + found).mean(1))


def survey(module, inputs):
    """The anatomy of a module, its function and its parameters."""
    params = module.init(jax.random.key(0), inputs)["params"]

    def apply(params, inputs):
        return module.apply({"params": params}, inputs)

    return anatomy(apply, params, inputs), apply, params


def squared_error(outputs, targets):
    return jnp.square(outputs - targets).sum(-1)


def build(module, inputs, targets=None):
    """A network and parameters, drawn without compiling; all but the scales are random.

    Biases too, so that what touches them is seen.
    """
    shapes = jax.eval_shape(module.init, jax.random.key(0), inputs)["params"]
    generator = np.random.default_rng(0)

    def draw(path, shape):
        if path.rpartition("/")[2].startswith(("scale", "gate")):
            return jnp.ones(shape.shape)
        normals = generator.normal(size=shape.shape)
        return jnp.asarray(0.1 * normals if path.endswith("bias") else 0.3 * normals, jnp.float32)

    leaves = [draw(path, shape) for path, shape in leaves_of(shapes).items()]
    params = jax.tree.unflatten(jax.tree.structure(shapes), leaves)

    def apply(params, inputs):
        return module.apply({"params": params}, inputs)

    targets = jnp.zeros(len(inputs)) if targets is None else targets
    return make_network(apply, squared_error, params, inputs, targets), params


def check_contract(method, network, params, touched, *, draws=False):
    """What every method keeps: one answer per key, jit or not, and the leaves it is not about."""

    def refine(key):
        return method(key, params, network)

    first, info = refine(jax.random.key(0))
    before, after = leaves_of(params), leaves_of(first)
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert changed == set(touched)
    assert all(after[path].dtype == before[path].dtype for path in before)
    assert all(jnp.shape(number) == () for number in info.values())
    again = leaves_of(refine(jax.random.key(0))[0])
    jitted = leaves_of(jax.jit(refine)(jax.random.key(0))[0])
    other = leaves_of(refine(jax.random.key(1))[0])
    for path in before:
        np.testing.assert_array_equal(again[path], after[path])
        np.testing.assert_allclose(jitted[path], after[path], rtol=1e-5, atol=1e-6)
        if path not in changed:
            np.testing.assert_array_equal(jitted[path], before[path])
    assert draws == any(not np.array_equal(other[path], after[path]) for path in before)
    return before, after, info
