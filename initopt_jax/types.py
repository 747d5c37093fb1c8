"""The shared words of the package: model, task, dataset, initializer, transform.

Static descriptions are frozen dataclasses; what flows through compiled code are NamedTuples of
arrays; callables are Protocols. Axis letters: L lanes, W tile width, B batch, T steps, D features.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import jax
import numpy as np
import optax

Array = jax.Array
Device: TypeAlias = Any  # jax.Device is no type to type checkers
PyTree = Any
Shape = tuple[int, ...]
Direction = Literal["min", "max"]


class InitFn(Protocol):
    """Tensor-level initializer: options are keyword-only; usable as any Flax `kernel_init`."""

    def __call__(self, key: Array, shape: Shape, dtype: Any = ..., **options: Any) -> Array:
        """The weights of one leaf."""
        ...


@dataclass(frozen=True)
class Law:
    """The distribution that an initializer was asked to draw, for one shape and one set of options.

    Attributes:
        kind: the family. `orthogonal`: rows or columns (the fewer) are orthogonal, of norm `gain`.
        mean: of one weight.
        std: of one weight (for `orthogonal`: its root mean square).
        low: no weight lies below it.
        high: no weight lies above it.
        gain: for `orthogonal` only, the common singular value.
    """

    kind: Literal["constant", "normal", "truncated_normal", "uniform", "orthogonal"]
    mean: float = 0.0
    std: float = 0.0
    low: float = -np.inf
    high: float = np.inf
    gain: float = 1.0


@dataclass(frozen=True)
class Initializer:
    """Registry entry of one initializer.

    Attributes:
        name: as written in a config.
        draw: the pure function `(key, shape, dtype, *, **options) -> Array`.
        law: `(shape, **options) -> Law`, what the audit holds the draw to; None where unknown.
        formula: one line, plain text.
        reference: authors, year, equation or section.
    """

    name: str
    draw: InitFn
    law: Callable[..., Law] | None
    formula: str
    reference: str


@dataclass(frozen=True)
class Transform:
    """Registry entry of one gradient transformation.

    Attributes:
        name: as written in a config.
        make: `(learning_rate, ...) -> optax.GradientTransformation`; numbers may be traced arrays.
        formula: one line, plain text.
        reference: authors, year, equation or section.
        full_batch: each step sees the whole training set unless the config sets a batch size.
    """

    name: str
    make: Callable[..., optax.GradientTransformation]
    formula: str
    reference: str
    full_batch: bool = False


class Model(NamedTuple):
    """Two pure functions; whatever framework built them stays behind them.

    init: `(key, inputs [B, ...]) -> (params, model_state)`; `model_state` holds what a forward pass
        updates (batch statistics) and is `{}` where there is nothing.
    apply: `(params, model_state, inputs [B, ...], *, key=None, train=False) ->
        (outputs [B, K], model_state)`.
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    apply: Callable[..., tuple[Array, PyTree]]


class Split(NamedTuple):
    """Arrays of one split: inputs [N, ...] float32, targets [N] int32 or [N, K] float32."""

    inputs: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A data set as arrays on the host, split and normalized, with a hash of its bytes.

    Attributes:
        name: as written in the config.
        kind: which task fits.
        train, val, test: the splits.
        outputs: number of classes, or of regression targets.
        fingerprint: SHA-256 of the arrays of all splits, 16 hex digits.
    """

    name: str
    kind: Literal["classification", "regression"]
    train: Split
    val: Split
    test: Split
    outputs: int
    fingerprint: str


@dataclass(frozen=True)
class Task:
    """Loss and metrics. All functions are pure and see one network's outputs.

    Attributes:
        name: as written in the config.
        kind: the kind of data set that fits.
        loss: `(outputs [B, K], targets [B] or [B, K]) -> [B]`, the cost of each example; training
            minimizes its mean.
        measure: `(outputs, targets, weights [B]) -> dict of scalars`: sums over examples that may
            be added across chunks; `weights` is 1 for an example and 0 for padding.
        summarize: `(sums) -> dict of scalars`, one per metric.
        metrics: metric name to the direction that is better; `loss` is always among them.
        primary: the metric that a study leads with.
        chance: `(test targets) -> float`, the best value of `primary` for a prediction that ignores
            its input.
        formula: one line, plain text.
        reference: authors, year, title.
    """

    name: str
    kind: Literal["classification", "regression"]
    loss: Callable[[Array, Array], Array]
    measure: Callable[[Array, Array, Array], dict[str, Array]]
    summarize: Callable[[dict[str, Array]], dict[str, Array]]
    metrics: Mapping[str, Direction]
    primary: str
    chance: Callable[[np.ndarray], float]
    formula: str = ""
    reference: str = ""


def option_names(function: Callable[..., Any], skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """Names of a function's options with their defaults (`inspect.Parameter.empty`: none)."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in skip
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
