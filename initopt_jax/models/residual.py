"""Residual streams of vectors: attention, perceptrons, and how their results join the stream."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from initopt_jax.errors import ConfigError
from initopt_jax.models.mlp import (
    ACTIVATIONS,
    compute_dtype,
    require_choice,
    require_depth,
    require_width,
)
from initopt_jax.models.sequences import (
    require_flag,
    require_number,
    require_rate,
)
from initopt_jax.types import Array, Model

NORMS = ("none", "post", "pre")
GATES = ("channels", "none", "scalar")
EPS = 1e-5
DEEP_NORM = "deep_norm"


@dataclass(frozen=True)
class Stream:
    """What all blocks of a network share.

    Attributes:
        width: features of the stream.
        activation: of the perceptrons.
        norm: where layer normalization stands: `pre` (in the branch, first), `post` (after the
            sum) or `none`.
        residual_scale: what branches are multiplied by.
        shortcut_scale: what the stream is multiplied by before a branch is added.
        gate: a trained factor at the end of each branch: one number (`scalar`), one per feature
            (`channels`), or `none`.
        use_bias: whether dense layers have a bias.
        dropout: share of a branch's results that is dropped in training.
        dtype: of the computation.
        train: whether this is a training pass.
    """

    width: int
    activation: Callable[[Array], Array]
    norm: str
    residual_scale: float
    shortcut_scale: float
    gate: str
    use_bias: bool
    dropout: float
    dtype: Any
    train: bool = False

    @property
    def types(self) -> dict[str, Any]:
        """The dtypes of a layer."""
        return {
            "dtype": self.dtype,
            "param_dtype": jnp.promote_types(self.dtype, jnp.float32),
        }

    def dense(self, features: int, name: str) -> nn.Dense:
        """A dense layer on the last axis."""
        return nn.Dense(features, use_bias=self.use_bias, name=name, **self.types)

    def normed(self, values: Array, name: str) -> Array:
        """Layer normalization of the last axis."""
        return nn.LayerNorm(epsilon=EPS, name=name, **self.types)(values)

    def dropped(self, values: Array) -> Array:
        """The values, some of them dropped in training."""
        if self.dropout == 0:
            return values
        return nn.Dropout(self.dropout, deterministic=not self.train)(values)

    def join(self, values: Array, branch: Callable[[Array], Array], name: str) -> Array:
        """`x <- [norm](alpha x + s gate branch([norm](x)))` with leaves `norm_<name>` and so on."""
        result = branch(self.normed(values, f"norm_{name}") if self.norm == "pre" else values)
        result = self.dropped(result)
        if self.gate != "none":
            result = _Gate(self.gate, self.types["param_dtype"], name=f"gate_{name}")(result)
        if self.residual_scale != 1:
            result = result * self.residual_scale
        if self.shortcut_scale != 1:
            values = values * self.shortcut_scale
        values = values + result
        return self.normed(values, f"norm_{name}") if self.norm == "post" else values

    def perceptron(self, values: Array, hidden: int, up: str = "up", down: str = "down") -> Array:
        """`phi(x W_up + b) W_down + b` on the last axis."""
        return self.dense(values.shape[-1], down)(self.activation(self.dense(hidden, up)(values)))


class _Gate(nn.Module):
    """A trained factor that starts at 1."""

    kind: str
    param_dtype: Any

    @nn.compact
    def __call__(self, values: Array) -> Array:
        shape = values.shape[-1:] if self.kind == "channels" else ()
        scale = self.param("scale", nn.initializers.ones, shape, self.param_dtype)
        scale = scale.astype(values.dtype)
        return values * (scale[None, None] if self.kind == "channels" else scale)


class Attention(nn.Module):
    """Self-attention of several heads.

    `softmax(Q K^T c + mask) V` per head, then `out`; Q, K, V are `query`, `key`, `value` of x.

    Attributes:
        stream: shared settings.
        heads: how many; they share the stream's features equally.
        causal: whether a place sees only itself and what is before it.
        inverse: c is `1 / d` instead of `1 / sqrt(d)` for d features per head.
    """

    stream: Stream
    heads: int
    causal: bool
    inverse: bool

    @nn.compact
    def __call__(self, values: Array) -> Array:
        """[B, T, D]."""
        stream, length = self.stream, values.shape[1]
        size = stream.width // self.heads
        shared = {"use_bias": stream.use_bias, **stream.types}
        query, key, value = (
            nn.DenseGeneral((self.heads, size), name=name, **shared)(values)
            for name in ("query", "key", "value")
        )
        factor = 1 / size if self.inverse else size**-0.5
        logits = jnp.einsum("bqhd,bkhd->bhqk", query * factor, key)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        if self.causal:
            seen = jnp.tril(jnp.ones((length, length), bool))[None, None]
            logits = jnp.where(seen, logits, -jnp.inf)
        weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
        found = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
        return nn.DenseGeneral(stream.width, axis=(-2, -1), name="out", **shared)(found)


class Block(nn.Module):
    """Attention, then a perceptron at every place, each joined to the stream."""

    stream: Stream
    heads: int
    hidden: int
    causal: bool
    inverse: bool

    @nn.compact
    def __call__(self, values: Array) -> Array:
        """[B, T, D]."""
        attention = Attention(self.stream, self.heads, self.causal, self.inverse, name="attention")
        values = self.stream.join(values, attention, "attention")
        return self.stream.join(
            values, lambda inputs: self.stream.perceptron(inputs, self.hidden), "mlp"
        )


@dataclass(frozen=True)
class StreamOptions:
    """The options that every network on a residual stream has, see `transformer`."""

    width: int = 32
    depth: int = 2
    activation: str = "gelu"
    norm: str = "pre"
    residual_scale: float = 1.0
    shortcut_scale: float | str = 1.0
    gate: str = "none"
    use_bias: bool = True
    dropout: float = 0.0
    dtype: str = "float32"

    def stream(self) -> Stream:
        """The shared settings, each checked.

        Raises:
            ConfigError: an argument is out of range or a name is unknown.
        """
        require_width("width", self.width)
        require_depth("depth", self.depth)
        for name, value, known in (
            ("activation", self.activation, ACTIVATIONS),
            ("norm", self.norm, NORMS),
            ("gate", self.gate, GATES),
        ):
            require_choice(name, value, known)
        require_number("residual_scale", self.residual_scale)
        shortcut_scale = self.shortcut_scale
        if shortcut_scale == DEEP_NORM:
            shortcut_scale = (2 * self.depth) ** 0.25
        elif isinstance(shortcut_scale, str):
            raise ConfigError(
                f"shortcut_scale must be a number or {DEEP_NORM!r}, got {shortcut_scale!r}"
            )
        require_number("shortcut_scale", shortcut_scale)
        require_flag("use_bias", self.use_bias)
        require_rate("dropout", self.dropout)
        return Stream(
            width=int(self.width),
            activation=ACTIVATIONS[self.activation],
            norm=self.norm,
            residual_scale=float(self.residual_scale),
            shortcut_scale=float(shortcut_scale),
            gate=self.gate,
            use_bias=self.use_bias,
            dropout=float(self.dropout),
            dtype=compute_dtype(self.dtype),
        )


def with_stream_options(make: Callable[..., Model]) -> Callable[..., Model]:
    """`make(common, *, ...)` as a function of its own options and those of the stream, by name."""
    _, *own = inspect.signature(make).parameters.values()
    common = [
        option.replace(kind=option.KEYWORD_ONLY)
        for option in inspect.signature(StreamOptions).parameters.values()
    ]
    signature = inspect.Signature([*own, *common], return_annotation=Model)

    @functools.wraps(make)
    def made(*positional: Any, **options: Any) -> Model:
        signature.bind(*positional, **options)  # in Python's words where something is wrong
        shared = {one.name: options.pop(one.name) for one in common if one.name in options}
        return make(StreamOptions(**shared), **options)

    vars(made)["__signature__"] = signature
    return made


def hidden_width(name: str, ratio: float, width: int) -> int:
    """Hidden units of a perceptron: so many per feature, rounded, at least 1.

    Raises:
        ConfigError: the ratio is not above 0.

    >>> hidden_width("mlp_ratio", 2.5, 32)
    80
    """
    require_number(name, ratio)
    if ratio <= 0:
        raise ConfigError(f"{name} must be above 0, got {ratio!r}")
    return max(1, round(ratio * width))
