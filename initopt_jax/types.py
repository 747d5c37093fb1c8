"""The shared words of the package: model, task, dataset, initializer, transform.

Static descriptions are frozen dataclasses; what flows through compiled code are NamedTuples of
arrays. Axis letters: L lanes, W tile width, B batch, T steps, D features.
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
TaskKind = Literal["classification", "regression", "reconstruction", "test_function"]


@dataclass(frozen=True)
class DistributionSpec:
    """What an initializer was asked to draw, for one shape and one set of options.

    `kind`, `mean`, `std`, `low`, `high` describe the random numbers of a leaf: all of its weights,
    or those that `drawn` picks.

    Attributes:
        kind: the family. `orthogonal`: rows or columns (the fewer) are orthogonal, of norm `gain`.
            `exact`: no randomness, the weights are `value`. `moments`: only bounds, mean and
            standard deviation are stated.
        mean: of one weight.
        std: of one weight (for `orthogonal`: its root mean square).
        low: no weight lies below it.
        high: no weight lies above it.
        gain: for `orthogonal` only, the common singular value.
        kurtosis: for `moments` only, `E[(W - mean)^4] / std^4`: tails heavier than a normal's (3)
            make a sample's standard deviation vary more.
        value: for `exact` only, the weights.
        zeros: how many weights are exactly 0; None where the distribution does not say.
        drawn: `(weights) -> array`, the random part, where the rest is arranged: the non-zero ones
            of a sparse leaf, the block that a structured leaf repeats. A matrix for `orthogonal`.
        arranged: `(weights) -> str`, what is wrong with the arrangement, empty if it is right.
    """

    kind: Literal[
        "constant", "exact", "moments", "normal", "orthogonal", "truncated_normal", "uniform"
    ]
    mean: float = 0.0
    std: float = 0.0
    low: float = -np.inf
    high: float = np.inf
    gain: float = 1.0
    kurtosis: float = 3.0
    value: np.ndarray | None = None
    zeros: int | None = None
    drawn: Callable[[np.ndarray], np.ndarray] | None = None
    arranged: Callable[[np.ndarray], str] | None = None


class Draw(Protocol):
    """An initializer: `(key, shape, dtype=float32, **options) -> weights` of that shape and dtype.

    Pure; options that are numbers may be traced, text and flags may not.
    """

    def __call__(self, key: Array, shape: Shape, /, *args: Any, **options: Any) -> Array: ...


class Refine(Protocol):
    """An initializer that sees the whole network.

    `(key, params, network, **options) -> (params, info)`: weights like those given, and numbers
    that tell what was done, by name.
    """

    def __call__(
        self, key: Array, params: PyTree, network: Any, /, *args: Any, **options: Any
    ) -> tuple[PyTree, dict[str, Array]]: ...


class Distribution(Protocol):
    """`(shape, **options) -> DistributionSpec`: what an initializer draws a leaf from."""

    def __call__(self, shape: Shape, /, *args: Any, **options: Any) -> DistributionSpec: ...


class MakeTransform(Protocol):
    """`(learning_rate, **options) -> optax.GradientTransformation`; numbers may be traced.

    Of a modifier: `(**options)`, or `(inner, **options)` for one that wraps an optimizer.
    """

    def __call__(self, *args: Any, **options: Any) -> optax.GradientTransformation: ...


class Multiplier(Protocol):
    """A schedule: `(count, steps, **options) -> number`, by which the learning rate is multiplied.

    `count` from 0 to `steps`; both may be traced.
    """

    def __call__(self, count: Any, steps: Any, /, *args: Any, **options: Any) -> Array: ...


class Augment(Protocol):
    """`(key, examples [B, ...], **options) -> examples` of the same shape and dtype; pure."""

    def __call__(self, key: Array, examples: Array, /, *args: Any, **options: Any) -> Array: ...


class MakeModel(Protocol):
    """`(outputs=K, **options) -> Model`."""

    def __call__(self, *args: Any, **options: Any) -> "Model": ...


class Measure(Protocol):
    """A probe: asks by name for what it needs (`params`, `batch`, `loss`, `key` ...), and options.

    Gives an array, or several by name; pure, and compiled with the others.
    """

    def __call__(self, *args: Any, **options: Any) -> "Array | Mapping[str, Array]": ...


@dataclass(frozen=True)
class Initializer:
    """Registry entry of one initializer.

    Attributes:
        name: as written in a config.
        draw: the pure function `(key, shape, dtype=float32, *, **options) -> Array`, usable as any
            Flax `kernel_init`. Options that are numbers may be traced; text and flags may not.
        distribution: `(shape, **options) -> DistributionSpec`, what the audit holds the draw to;
            None where unknown.
        formula: one line, plain text.
        reference: authors, year, equation or section.
    """

    name: str
    draw: Draw
    distribution: Distribution | None
    formula: str
    reference: str


@dataclass(frozen=True)
class ModelInitializer:
    """Registry entry of an initializer that sees the whole network.

    Attributes:
        name: as written in a config.
        refine: the pure function `(key, params, network, *, **options) -> (params, info)`.
        base: the tensor-level initializer of weights that it starts from by default.
        formula: one line, plain text.
        reference: authors, year, equation or section.
    """

    name: str
    refine: Refine
    base: str
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
        kind: how updates go with gradients: `sgd` where they are linear in them, `adam` where the
            gradients' size does not matter; None where unknown.
        looks_around: whether it asks for the loss at other weights than those of the step, so that
            what was done to the gradient before it would not be seen there.
        origin: whose code makes the update: `own`, `optax` where its own is exact and used from
            there, or `user`.
    """

    name: str
    make: MakeTransform
    formula: str
    reference: str
    full_batch: bool = False
    kind: Literal["sgd", "adam"] | None = None
    origin: Literal["own", "optax", "user"] = "own"
    looks_around: bool = False


@dataclass(frozen=True)
class Schedule:
    """Registry entry of one learning-rate schedule.

    Attributes:
        name: as written in a config.
        multiplier: `(count, steps, **options) -> number` that multiplies the learning rate of the
            step `count`, from 0; everything may be traced.
        formula: one line, plain text; `p` is the share done of the steps after the warm-up.
        reference: authors, year, equation or section.
    """

    name: str
    multiplier: Multiplier
    formula: str
    reference: str


@dataclass(frozen=True)
class Modifier:
    """Registry entry of what stands around an optimizer.

    Attributes:
        name: as written in a config.
        place: `pre-transform`: `make(**options)` is a transformation of gradients before the
            optimizer sees them. `post-transform`: it is one of the optimizer's updates. `wrapper`:
            `make(inner, **options)` is the transformation that takes the optimizer's place.
        make: see `place`. Besides its options it may ask, by these names, for `learning_rate` (that
            of the optimizer, number or schedule), `steps` (of the run; traced) and `key` or `seed`
            (of the lane's noise).
        formula: one line, plain text.
        reference: authors, year, equation or section.
        pace: the option that says after how many steps the optimizer makes one, if any does: its
            schedule then has so many times fewer.
        acts: `(steps, **options) -> int`, how often it acts in so many steps of what it stands
            around, where that may be never; options by name, whole numbers and shares.
        never: what a run is like in which it never acts, in words.
    """

    name: str
    place: Literal["pre-transform", "post-transform", "wrapper"]
    make: MakeTransform
    formula: str
    reference: str
    pace: str | None = None
    acts: Callable[..., int] | None = None
    never: str = ""


@dataclass(frozen=True)
class Augmentation:
    """Registry entry of one random change of training examples.

    Attributes:
        name: as written in a config.
        apply: the pure function `(key, examples [B, ...], **options) -> examples` of the same shape
            and dtype; what happens to one example depends on no other.
        formula: one line, plain text.
        reference: authors, year, equation or section.
    """

    name: str
    apply: Augment
    formula: str
    reference: str


class EvaluatedTransform(optax.GradientTransformationExtraArgs):
    """A gradient transformation whose weights to evaluate are not those that it trains.

    Schedule-free methods take their gradients away from the weights to evaluate; an average of
    the weights along the way is another set of them. `init` and `update` are those of any
    transformation; besides, `eval_params(state, params) -> params` gives the weights to measure.

    >>> halves = EvaluatedTransform(
    ...     lambda params: (),
    ...     lambda updates, state, params=None, **extra: (updates, state),
    ...     lambda state, params: jax.tree.map(lambda leaf: leaf / 2, params),
    ... )
    >>> halves.eval_params((), {"w": 3.0})
    {'w': 1.5}
    """

    eval_params: Callable[[Any, PyTree], PyTree]

    def __new__(
        cls,
        init: Callable[[PyTree], Any],
        update: Callable[..., tuple[PyTree, Any]],
        eval_params: Callable[[Any, PyTree], PyTree],
    ) -> "EvaluatedTransform":
        """The three functions as one transformation."""
        made = super().__new__(cls, init, update)
        made.eval_params = eval_params
        return made


class InitModel(Protocol):
    """`(key, inputs [B, ...]) -> (params, model_state)`; see `Model`."""

    def __call__(self, key: Array, inputs: Any, /) -> tuple[PyTree, PyTree]: ...


class ApplyModel(Protocol):
    """`(params, model_state, inputs, *, key=None, train=False) -> (outputs, model_state)`."""

    def __call__(
        self,
        params: PyTree,
        model_state: PyTree,
        inputs: Any,
        /,
        *,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]: ...


class Model(NamedTuple):
    """Two pure functions; whatever framework built them stays behind them.

    init: `(key, inputs [B, ...]) -> (params, model_state)`; `model_state` holds what a forward pass
        updates (batch statistics) and is `{}` where there is nothing.
    apply: `(params, model_state, inputs [B, ...], *, key=None, train=False) ->
        (outputs [B, K], model_state)`.
    """

    init: InitModel
    apply: ApplyModel


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
        outputs: number of classes, or of regression targets; of numbers that a model gives.
        fingerprint: SHA-256 of the arrays of all splits, 16 hex digits.
        notes: what a reader of its numbers should know, a line each: columns left out, scales
            guessed, classes missing from a split.
        shuffled: whether the training examples stand in a random order, so that the first ones are
            a fair sample.
        input_scale, target_scale: what normalized them, with `apply` and `undo`; None for nothing.
        pixel_unit: what whole numbers of pixels were divided by before; None where inputs are none.
        columns: names of the input features of a table. classes: names of the classes, in order.
    """

    name: str
    kind: TaskKind
    train: Split
    val: Split
    test: Split
    outputs: int
    fingerprint: str
    notes: tuple[str, ...] = ()
    shuffled: bool = False
    input_scale: Any = None
    target_scale: Any = None
    pixel_unit: float | None = None
    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """Loss and metrics. All functions are pure and see one network's outputs.

    Attributes:
        name: as written in the config.
        kind: the kind of data set that fits.
        loss: `(outputs [B, K], targets [B] or [B, K]) -> [B]`, the loss of each example; training
            minimizes its mean.
        measure: `(outputs, targets, weights [B]) -> dict of scalars`: sums over examples that may
            be added across chunks; `weights` is 1 for an example and 0 for padding.
        summarize: `(sums) -> dict of scalars`, one per metric.
        metrics: metric name to the direction that is better; `loss` is always among them.
        primary: the metric that a study leads with.
        chance: `(test targets) -> float`, the best value of `primary` for a prediction that ignores
            its input; None where there is no such thing.
        formula: one line, plain text.
        reference: authors, year, title.
        augment: `(key, examples [B, ...]) -> examples`, what happens to the examples of a training
            step before the network sees them, and to no others; None for nothing.
    """

    name: str
    kind: TaskKind
    loss: Callable[[Array, Array], Array]
    measure: Callable[[Array, Array, Array], dict[str, Array]]
    summarize: Callable[[dict[str, Array]], dict[str, Array]]
    metrics: Mapping[str, Direction]
    primary: str
    chance: Callable[[np.ndarray], float | None]
    formula: str = ""
    reference: str = ""
    augment: Callable[[Array, Array], Array] | None = None


def option_names(function: Callable[..., Any], skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """Names of a function's options with their defaults (`inspect.Parameter.empty`: none)."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in skip
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
