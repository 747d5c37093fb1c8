"""Recurrent networks: one cell after another along the sequence, the last state is read out.

Leaves have the names of Flax's cells: `layer_0/i*/kernel` sees the inputs, `layer_0/h*/kernel` the
state, and the letter after it is the gate. So a rule finds what it is about: `"*/h?/kernel"` all
recurrent kernels of gates, `"*hf/bias"` the forget gate of an LSTM.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from initopt_jax.models.adapter import from_linen
from initopt_jax.models.mlp import (
    ACTIVATIONS,
    compute_dtype,
    require_choice,
    require_depth,
    require_width,
)
from initopt_jax.models.sequences import as_sequence, require_rate
from initopt_jax.types import Array, Model

Activation = Callable[[Array], Array]
State = tuple[Array, ...]  # the first is the cell's output
GateInputs = Mapping[str, Array]

RNN_FORMULA = "h_t = phi(x_t W_i + b_i + h_{t-1} W_h); z = h_T W + b"
RNN_REFERENCE = "Elman 1990, Finding structure in time"
LSTM_FORMULA = "c_t = f c_{t-1} + i g; h_t = o phi(c_t); gates sigma(x_t W + h_{t-1} U + b)"
LSTM_REFERENCE = "Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000"
GRU_FORMULA = "h_t = z h_{t-1} + (1 - z) phi(x_t W_in + b_in + r (h_{t-1} W_hn + b_hn))"
GRU_REFERENCE = "Cho et al. 2014, Learning phrase representations using RNN encoder-decoder"


def _elman(seen: GateInputs, told: GateInputs, state: State, phi: Activation) -> State:
    del state
    return (phi(seen["i"] + told["h"]),)


def _lstm(seen: GateInputs, told: GateInputs, state: State, phi: Activation) -> State:
    gates = {name: seen[f"i{name}"] + told[f"h{name}"] for name in "ifgo"}
    keep, let_in, show = (jax.nn.sigmoid(gates[name]) for name in "fio")
    memory = keep * state[1] + let_in * phi(gates["g"])
    return show * phi(memory), memory


def _gru(seen: GateInputs, told: GateInputs, state: State, phi: Activation) -> State:
    reset, keep = (jax.nn.sigmoid(seen[f"i{name}"] + told[f"h{name}"]) for name in "rz")
    new = phi(seen["in"] + reset * told["hn"])
    return (keep * state[0] + (1 - keep) * new,)


class _Cell:
    """What a kind of cell is made of: its step, how many states, layers and which have a bias."""

    def __init__(
        self, step: Callable[..., State], states: int, inputs: str, recurrent: str, biased: str
    ):
        self.step, self.states = step, states
        self.inputs, self.recurrent = inputs.split(), recurrent.split()
        self.biased = biased.split()


CELLS = {
    "rnn": _Cell(_elman, 1, "i", "h", "i"),
    "lstm": _Cell(_lstm, 2, "ii if ig io", "hi hf hg ho", "hi hf hg ho"),
    "gru": _Cell(_gru, 1, "ir iz in", "hr hz hn", "ir iz in hn"),
}


class _Weights(nn.Module):
    """The kernel and bias of one gate's recurrent layer, for use inside a loop."""

    width: int
    use_bias: bool
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self) -> tuple[Array, Array | None]:
        square = (self.width, self.width)
        kernel = self.param("kernel", nn.initializers.orthogonal(), square, self.param_dtype)
        if not self.use_bias:
            return kernel.astype(self.dtype), None
        bias = self.param("bias", nn.initializers.zeros, (self.width,), self.param_dtype)
        return kernel.astype(self.dtype), bias.astype(self.dtype)


class _Layer(nn.Module):
    """One cell along a sequence."""

    cell: str
    width: int
    activation: Activation
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, steps: Array) -> Array:
        """States [T, B, H] of inputs [T, B, F]."""
        cell, types = CELLS[self.cell], {"dtype": self.dtype, "param_dtype": self.param_dtype}
        # What the inputs add to each step needs no loop: one product for all steps.
        seen = {
            name: nn.Dense(self.width, use_bias=name in cell.biased, name=name, **types)(steps)
            for name in cell.inputs
        }
        weights = {
            name: _Weights(self.width, name in cell.biased, name=name, **types)()
            for name in cell.recurrent
        }

        def step(state: State, seen: GateInputs) -> tuple[State, Array]:
            told = {}
            for name, (kernel, bias) in weights.items():
                told[name] = state[0] @ kernel
                if bias is not None:
                    told[name] = told[name] + bias[None]
            state = cell.step(seen, told, state, self.activation)
            return state, state[0]

        start = jnp.zeros((steps.shape[1], self.width), self.dtype)
        return lax.scan(step, (start,) * cell.states, seen)[1]


class _Recurrent(nn.Module):
    """Layers `layer_0` to `layer_<n>` along the sequence, then `head` on the last state."""

    cell: str
    outputs: int
    hidden: int
    layers: int
    activation: Activation
    dropout: float
    length: int | None
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, inputs: Array, train: bool = False) -> Array:
        """Outputs [B, K]."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        values = as_sequence(inputs, self.length).swapaxes(0, 1)
        for index in range(self.layers):
            layer = _Layer(self.cell, self.hidden, self.activation, name=f"layer_{index}", **types)
            values = layer(values)
            if index == self.layers - 1:
                values = values[-1]
            if self.dropout > 0:
                values = nn.Dropout(self.dropout, deterministic=not train)(values)
        return nn.Dense(self.outputs, name="head", **types)(values)


def rnn(
    *,
    outputs: int,
    hidden: int = 32,
    layers: int = 1,
    activation: str = "tanh",
    dropout: float = 0.0,
    length: int | None = None,
    dtype: str = "float32",
) -> Model:
    """The simple recurrent network; its last state is read out.

    `h_t = phi(x_t W_i + b_i + h_{t-1} W_h), h_0 = 0`; `z = h_T W + b`

    Parameters are `layer_0/i/kernel` [F, hidden], `layer_0/i/bias`, `layer_0/h/kernel`
    [hidden, hidden], and so on for every layer, then `head/kernel` and `head/bias`.

    Args:
        outputs: number of outputs K, at least 1.
        hidden: units of every layer, at least 1.
        layers: how many, at least 1; each sees the states of the one before.
        activation: phi, a name of `mlp.ACTIVATIONS`.
        dropout: share of a layer's outputs that is dropped in training, at least 0 and below 1; not
            between the steps.
        length: the number of steps, where the inputs' shape does not say it; see
            `sequences.as_sequence`. Pictures are read row by row, pixel by pixel with H * W.
        dtype: of the computation, as for `mlp`.

    Returns:
        The model. Its own `init` draws LeCun normal input kernels, orthogonal recurrent ones and
        zero biases (Flax's defaults).

    Raises:
        ConfigError: an argument is out of range, a name is unknown, or (when called) the inputs
            are no sequences.

    Reference: Elman 1990, Finding structure in time, Cognitive Science 14. Dropout: Zaremba,
        Sutskever & Vinyals 2014, Recurrent neural network regularization.

    >>> model = rnn(outputs=10, hidden=16)
    >>> params, _ = model.init(jax.random.key(0), jnp.ones((1, 8, 5)))
    >>> params["layer_0"]["i"]["kernel"].shape, params["layer_0"]["h"]["kernel"].shape
    ((5, 16), (16, 16))
    """
    return _made("rnn", outputs, hidden, layers, activation, dropout, length, dtype)


def lstm(
    *,
    outputs: int,
    hidden: int = 32,
    layers: int = 1,
    activation: str = "tanh",
    dropout: float = 0.0,
    length: int | None = None,
    dtype: str = "float32",
) -> Model:
    """The network with a long short-term memory; its last output is read out.

    `i, f, o = sigma(x_t W + h_{t-1} U + b)`, `g = phi(x_t W_ig + h_{t-1} W_hg + b_hg)`,
    `c_t = f c_{t-1} + i g`, `h_t = o phi(c_t)`

    Parameters of a layer are `ii`, `if`, `ig` and `io` (kernels [F, hidden]) and `hi`, `hf`, `hg`
    and `ho` (kernels [hidden, hidden] and biases). The forget gate's bias is `*hf/bias`; the
    initializers `forget_gate` and `chrono` are for it.

    Args:
        outputs: number of outputs K, at least 1.
        hidden: units of every layer, at least 1.
        layers: how many, at least 1; each sees the outputs of the one before.
        activation: phi, a name of `mlp.ACTIVATIONS`; gates are always sigmoids.
        dropout: as for `rnn`.
        length: as for `rnn`.
        dtype: of the computation, as for `mlp`.

    Returns:
        The model; its own `init` as for `rnn`: the forget gate starts half open.

    Raises:
        ConfigError: as for `rnn`.

    Reference: Hochreiter & Schmidhuber 1997, Long short-term memory, Neural Computation 9; Gers,
        Schmidhuber & Cummins 2000, Learning to forget (the forget gate).

    Deviations: no peephole connections, which came later.

    >>> model = lstm(outputs=10, hidden=16)
    >>> params, _ = model.init(jax.random.key(0), jnp.ones((1, 8, 5)))
    >>> sorted(params["layer_0"]), params["layer_0"]["hf"]["bias"].shape
    (['hf', 'hg', 'hi', 'ho', 'if', 'ig', 'ii', 'io'], (16,))
    """
    return _made("lstm", outputs, hidden, layers, activation, dropout, length, dtype)


def gru(
    *,
    outputs: int,
    hidden: int = 32,
    layers: int = 1,
    activation: str = "tanh",
    dropout: float = 0.0,
    length: int | None = None,
    dtype: str = "float32",
) -> Model:
    """The network of gated recurrent units; its last state is read out.

    `r, z = sigma(x_t W + b + h_{t-1} U)`, `n = phi(x_t W_in + b_in + r (h_{t-1} W_hn + b_hn))`,
    `h_t = z h_{t-1} + (1 - z) n`

    Parameters of a layer are `ir`, `iz` and `in` (kernels [F, hidden] and biases) and `hr`, `hz`
    and `hn` (kernels [hidden, hidden], the last with a bias). `z` keeps the state: `*iz/bias` is
    what a forget gate's bias is elsewhere.

    Args:
        outputs: number of outputs K, at least 1.
        hidden: units of every layer, at least 1.
        layers: how many, at least 1; each sees the states of the one before.
        activation: phi, a name of `mlp.ACTIVATIONS`; gates are always sigmoids.
        dropout: as for `rnn`.
        length: as for `rnn`.
        dtype: of the computation, as for `mlp`.

    Returns:
        The model; its own `init` as for `rnn`.

    Raises:
        ConfigError: as for `rnn`.

    Reference: Cho et al. 2014, Learning phrase representations using RNN encoder-decoder for
        statistical machine translation, section 2.3.

    Deviations: the reset gate scales `h W_hn + b_hn`, not `h` before the product, as in Flax and
        cuDNN; and there are biases.

    >>> model = gru(outputs=10, hidden=16)
    >>> params, _ = model.init(jax.random.key(0), jnp.ones((1, 8, 5)))
    >>> params["layer_0"]["hn"]["kernel"].shape
    (16, 16)
    """
    return _made("gru", outputs, hidden, layers, activation, dropout, length, dtype)


def _made(
    cell: str,
    outputs: int,
    hidden: int,
    layers: int,
    activation: str,
    dropout: float,
    length: int | None,
    dtype: str,
) -> Model:
    require_width("outputs", outputs)
    require_width("hidden", hidden)
    require_depth("layers", layers)
    if length is not None:
        require_width("length", length)
    require_choice("activation", activation, ACTIVATIONS)
    require_rate("dropout", dropout)
    compute = compute_dtype(dtype)
    module = _Recurrent(
        cell=cell,
        outputs=int(outputs),
        hidden=int(hidden),
        layers=int(layers),
        activation=ACTIVATIONS[activation],
        dropout=float(dropout),
        length=length,
        dtype=compute,
        param_dtype=jnp.promote_types(compute, jnp.float32),
    )
    return from_linen(module)
