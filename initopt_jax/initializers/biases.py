"""Biases with a purpose: a prior for rare classes, and memory for recurrent gates.

Gates are named by letters, in the order in which the leaf holds them along its last dimension. `f`
is the gate that keeps the state and `i` the one that lets the new one in; any other letter is a
gate whose bias is 0.

| cell | leaf | gates |
| --- | --- | --- |
| Flax `LSTMCell`, `OptimizedLSTMCell` | `*hf/bias`, `*hi/bias` | `f`, `i` |
| Flax `GRUCell` (its update gate keeps) | `*iz/bias` | `f` |
| Flax `MGUCell` | `*if/bias` | `f` |
| PyTorch, Keras LSTM, gates in one leaf | `bias` [4 n] | `ifgo` |

In Flax each gate has a leaf of its own, and a rule of the config finds it:

    rules:
      "*hf/bias": {name: chrono, t_max: 200}
      "*hi/bias": {name: chrono, t_max: 200, gates: i}
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.base import working_dtype
from initopt_jax.initializers.constant import constant, constant_distribution
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape


def prior_log_odds(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, prior: ArrayLike = 0.01
) -> Array:
    """Biases of sigmoid outputs that start at the probability `prior`.

    `b = -ln((1 - prior) / prior)`

    Args:
        key: not used.
        shape: of the leaf.
        dtype: of the leaf, floating.
        prior: probability of the class before anything is seen, above 0 and below 1, concrete or
            traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `dtype` is not a real floating dtype, or a concrete `prior` is out of range.

    Reference:
        Lin, Goyal, Girshick, He and Dollár (2017), Focal loss for dense object detection, section
        4.1, where `prior` is 0.01.

    >>> import jax
    >>> bias = prior_log_odds(jax.random.key(0), (2,))
    >>> jax.nn.sigmoid(bias).round(4).tolist()
    [0.009999999776482582, 0.009999999776482582]
    """
    return constant(key, shape, dtype, value=_log_odds(prior))


def prior_log_odds_distribution(shape: Shape, *, prior: float = 0.01) -> DistributionSpec:
    """The distribution of `prior_log_odds`."""
    return constant_distribution(shape, value=float(_log_odds(prior)))


def forget_gate(
    key: Array,
    shape: Shape,
    dtype: Any = jnp.float32,
    *,
    value: ArrayLike = 1.0,
    gates: str = "f",
) -> Array:
    """Biases of recurrent gates that keep the state at first.

    `b_f = value`, the biases of all other gates are 0

    Args:
        key: not used.
        shape: of the leaf; the last dimension holds the gates one after another.
        dtype: of the leaf, floating.
        value: any finite number, concrete or traced.
        gates: a letter per gate in the leaf's order, `f` among them, as the table of this module.

    Returns:
        The leaf.

    Raises:
        ValueError: if `gates` names one twice or no `f`, the last dimension is not a multiple of
            their number, `dtype` is not a real floating dtype, or a concrete `value` is not finite.

    Reference:
        Gers, Schmidhuber and Cummins (2000), Learning to forget: continual prediction with LSTM,
        section 3: positive. Jozefowicz, Zaremba and Sutskever (2015), An empirical exploration of
        recurrent network architectures, section 2.2: 1 or 2.

    Deviations:
        PyTorch adds two biases per gate: give one of them 0.

    >>> import jax
    >>> forget_gate(jax.random.key(0), (8,), gates="ifgo").tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    part = _gate_shape(shape, gates, "f")
    return _join({"f": constant(key, part, dtype, value=value)}, gates)


def forget_gate_distribution(
    shape: Shape, *, value: float = 1.0, gates: str = "f"
) -> DistributionSpec:
    """The distribution of `forget_gate`."""
    part = _gate_shape(shape, gates, "f")
    if gates == "f":
        return constant_distribution(shape, value=value)
    checks.number("value", value)
    blocks = [np.full(part, value if gate == "f" else 0.0) for gate in gates]
    asked = np.concatenate(blocks, axis=-1)
    return DistributionSpec(
        "exact",
        mean=float(asked.mean()),
        std=float(asked.std()),
        low=min(value, 0.0),
        high=max(value, 0.0),
        value=asked,
    )


def chrono(
    key: Array,
    shape: Shape,
    dtype: Any = jnp.float32,
    *,
    t_max: ArrayLike = 100.0,
    gates: str = "f",
) -> Array:
    """Biases of recurrent gates with memories of 2 to `t_max` steps.

    `b_f ~ ln U[1, t_max - 1]`, `b_i = -b_f`, the biases of all other gates are 0

    A unit whose forget gate stays at `sigmoid(b_f) = 1 - 1 / T` forgets over `T = 1 + exp(b_f)`
    steps.

    Args:
        key: of this leaf.
        shape: of the leaf; the last dimension holds the gates one after another.
        dtype: of the leaf, floating.
        t_max: the longest dependency expected, in steps, above 2; concrete or traced.
        gates: a letter per gate in the leaf's order, `f` or `i` or both among them, as the table of
            this module.

    Returns:
        The leaf.

    Raises:
        ValueError: if `gates` names one twice or neither `f` nor `i`, the last dimension is not a
            multiple of their number, `dtype` is not a real floating dtype, or a concrete `t_max` is
            not above 2.

    Reference:
        Tallec and Ollivier (2018), Can recurrent neural networks warp time?, section 3, eq. 16.

    Deviations:
        Where `f` and `i` are leaves of their own, as in Flax, each has its own key: `b_i` is then
        distributed as `-b_f` but is not its negative unit by unit. With one key it is.

    >>> import jax
    >>> b = chrono(jax.random.key(0), (400,), t_max=50.0, gates="ifgo")
    >>> bool((b[:100] == -b[100:200]).all()), float(abs(b[200:]).max())
    (True, 0.0)
    >>> memory = 1 + jax.numpy.exp(b[100:200])
    >>> bool((memory >= 2).all() and (memory < 50.01).all())
    True
    """
    checks.above("t_max", t_max, low=2)
    part = _gate_shape(shape, gates, "fi")
    working = working_dtype(dtype)
    longest = jnp.asarray(t_max, working)
    memory = 1 + (longest - 2) * jax.random.uniform(key, part, working)
    bias = jnp.log(memory).astype(dtype)
    return _join({"f": bias, "i": -bias}, gates)


def chrono_distribution(
    shape: Shape, *, t_max: float = 100.0, gates: str = "f"
) -> DistributionSpec:
    """The distribution of `chrono`: that of `exp(b_f)`, which is uniform."""
    checks.above("t_max", t_max, low=2)
    _gate_shape(shape, gates, "fi")

    def block(weights: np.ndarray, gate: str) -> np.ndarray:
        return np.split(weights, len(gates), axis=-1)[gates.index(gate)]

    def drawn(weights: np.ndarray) -> np.ndarray:
        bias = block(weights, "f") if "f" in gates else -block(weights, "i")
        return np.exp(bias)

    def arranged(weights: np.ndarray) -> str:
        if any(np.any(block(weights, gate)) for gate in gates if gate not in "fi"):
            return f"biases other than those of f and i must be 0 (gates {gates!r})"
        if set("fi") <= set(gates) and np.any(block(weights, "f") != -block(weights, "i")):
            return f"b_i must be -b_f (gates {gates!r})"
        return ""

    return DistributionSpec(
        "uniform",
        mean=t_max / 2,
        std=(t_max - 2) / math.sqrt(12),
        low=1.0,
        high=t_max - 1,
        drawn=drawn,
        arranged=arranged,
    )


def _log_odds(prior: Any) -> Any:
    checks.probability("prior", prior)
    # Near 1/2 the logarithms cancel: concrete numbers are taken in float64.
    xp = jnp if isinstance(prior, jax.Array) else np
    return xp.log(prior) - xp.log1p(-prior)


def _gate_shape(shape: Shape, gates: str, needed: str) -> Shape:
    """The shape of one gate's part of the leaf."""
    if len(set(gates)) < len(gates) or not set(needed) & set(gates):
        raise ValueError(
            f"gates must name each gate of the leaf by a letter of its own, with "
            f"{' or '.join(needed)} among them, got {gates!r}"
        )
    if not shape or shape[-1] % len(gates):
        raise ValueError(
            f"the last dimension of shape must be a multiple of the {len(gates)} gates {gates!r}, "
            f"got {shape}"
        )
    return (*shape[:-1], shape[-1] // len(gates))


def _join(biases: dict[str, Array], gates: str) -> Array:
    """The gates' biases in the leaf's order; those that are not given are 0."""
    zeros = jnp.zeros_like(next(iter(biases.values())))
    return jnp.concatenate([biases.get(gate, zeros) for gate in gates], axis=-1)


ENTRIES = (
    Initializer(
        name="prior_log_odds",
        draw=prior_log_odds,
        distribution=prior_log_odds_distribution,
        formula="b = -ln((1 - prior) / prior)",
        reference="Lin, Goyal, Girshick, He and Dollár (2017), section 4.1",
    ),
    Initializer(
        name="forget_gate",
        draw=forget_gate,
        distribution=forget_gate_distribution,
        formula="b_f = value, 0 for other gates",
        reference="Gers et al. (2000), section 3; Jozefowicz et al. (2015), section 2.2",
    ),
    Initializer(
        name="chrono",
        draw=chrono,
        distribution=chrono_distribution,
        formula="b_f ~ ln U[1, t_max - 1], b_i = -b_f, 0 for other gates",
        reference="Tallec and Ollivier (2018), eq. 16",
    ),
)
