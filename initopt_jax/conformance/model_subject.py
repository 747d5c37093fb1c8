"""A model with examples, and the few programs that its contracts are read from.

Compiled are `init`, evaluation of a batch, one training step of one lane, and ten steps of several
lanes. Without the compiler's optimization, which takes most of the time and changes no contract.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.conformance.comparing import differ
from initopt_jax.conformance.examples import Examples
from initopt_jax.models.fit import Forms
from initopt_jax.networks.programs import equations
from initopt_jax.types import Array, Model, PyTree, Split

COMPUTED = ("init", "evaluation", "training")
STEPS = 10
RATES = (0.1, 0.01, 0.001)  # one lane each
SHIFT = 0.1  # of weights, so that none is 0
COMPILER = {"xla_backend_optimization_level": 0}


class Step(NamedTuple):
    """What one training step of one lane gives."""

    loss: Array
    grads: PyTree
    state: PyTree


class Way(NamedTuple):
    """Ten steps of gradient descent of L lanes: losses [L, T], first step, weights and state."""

    losses: Array
    first: Step
    params: PyTree
    state: PyTree


class Lanes(NamedTuple):
    """Weights, state and keys with a leading axis L."""

    params: PyTree
    state: PyTree
    keys: Array


@dataclass(frozen=True)
class ModelSubject:
    """What is looked at.

    Attributes:
        name: as in a config.
        build: makes what the user's function returns, anew.
        made: what it returned.
        model: of it.
        examples: what it is to learn.
        forms: shapes of its weights, state and outputs.
    """

    name: str
    build: Callable[[], Model]
    made: Any
    model: Model
    examples: Examples
    forms: Forms

    @functools.cached_property
    def init(self) -> Callable[[Array], tuple[PyTree, PyTree]]:
        """`(key) -> (weights, state)`, compiled."""
        inputs = jnp.asarray(self.examples.batch.inputs)
        return compiled(lambda key: self.model.init(key, inputs))

    @functools.cached_property
    def first(self) -> tuple[PyTree, PyTree]:
        """Weights and state of one key, on the host."""
        return jax.device_get(self.init(jax.random.key(0)))

    @functools.cached_property
    def lanes(self) -> Lanes:
        """One lane as the model itself begins, the others a little elsewhere."""
        params, state = self.first
        count = len(RATES)
        random = np.random.default_rng(0)

        def spread(leaf: np.ndarray) -> np.ndarray:
            shift = SHIFT * random.standard_normal((count, *leaf.shape), dtype=np.float32)
            shift[0] = 0
            return (leaf + shift).astype(leaf.dtype)

        many = jax.tree.map(lambda leaf: np.stack([leaf] * count), state)
        return Lanes(jax.tree.map(spread, params), many, jax.random.split(jax.random.key(1), count))

    def evaluation(self, model: Model) -> Callable[..., Any]:
        """`(params, state, inputs) -> (outputs, state)`, as a study evaluates; a new function."""
        return lambda params, state, inputs: model.apply(params, state, inputs, train=False)

    def training(self, model: Model) -> Callable[..., Step]:
        """`(params, state, key, batch) -> Step`, as a study trains; a new function."""
        task = self.examples.task

        def step(params: PyTree, state: PyTree, key: Array, batch: Split) -> Step:
            def loss_of(params: PyTree) -> tuple[Array, PyTree]:
                outputs, after = model.apply(params, state, batch.inputs, key=key, train=True)
                return jnp.mean(task.loss(outputs, jnp.asarray(batch.targets))), after

            (loss, after), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
            return Step(loss, grads, after)

        return step

    @functools.cached_property
    def evaluate(self) -> Callable[..., Any]:
        """`evaluation`, compiled."""
        return compiled(self.evaluation(self.model))

    @functools.cached_property
    def step(self) -> Callable[..., Step]:
        """`training` of one lane, compiled."""
        return compiled(self.training(self.model))

    def alone(self, lane: int, key: Array | None = None) -> Step:
        """The first step of a lane, by itself."""
        params, state = lane_of(self.lanes.params, lane), lane_of(self.lanes.state, lane)
        own: Any = self.lanes.keys[lane] if key is None else key
        return jax.device_get(self.step(params, state, own, self.examples.batch))

    def walk(self, params: PyTree, state: PyTree, key: Array, rate: Array, batch: Split) -> Way:
        """Gradient descent of one lane, the same batch and key at every step."""
        step = self.training(self.model)

        def one(carry: Any, number: Array) -> tuple[Any, Array]:
            params, state, first = carry
            made = step(params, state, key, batch)
            first = jax.tree.map(lambda new, old: jnp.where(number == 0, new, old), made, first)
            moved = jax.tree.map(lambda w, g: w - rate.astype(w.dtype) * g, params, made.grads)
            return (moved, made.state, first), made.loss

        start = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
            jax.eval_shape(step, params, state, key, batch),
        )
        end, losses = jax.lax.scan(one, (params, state, start), jnp.arange(STEPS))
        return Way(losses, end[2], end[0], end[1])

    @functools.cached_property
    def walks(self) -> Callable[..., Way]:
        """`walk` of all lanes, compiled: `(lanes, rates, batch) -> Way`."""

        def many(lanes: Lanes, rates: Array, batch: Split) -> Way:
            return jax.vmap(self.walk, in_axes=(0, 0, 0, 0, None))(*lanes, rates, batch)

        return compiled(many)

    @functools.cached_property
    def together(self) -> Way:
        """The lanes' ways."""
        return self.way(self.lanes, RATES)

    def way(self, lanes: Lanes, rates: tuple[float, ...]) -> Way:
        """The ways of other lanes, by the same program."""
        given = jnp.asarray(rates, jnp.float32)
        return jax.device_get(self.walks(lanes, given, self.examples.batch))

    def trace(self, model: Model, what: str) -> "Trace":
        """What a model computes in `init`, evaluation or a training step, written out anew."""
        params, state, key = self.forms.params, self.forms.state, jax.random.key(0)
        batch = self.examples.batch
        inputs = jnp.asarray(batch.inputs)
        if what == "init":
            return traced(lambda key: model.init(key, inputs), key)
        if what == "evaluation":
            return traced(self.evaluation(model), params, state, inputs)
        return traced(self.training(model), params, state, key, batch)

    @functools.cached_property
    def traced(self) -> dict[str, "Trace"]:
        """`trace` of the model itself."""
        return {what: self.trace(self.model, what) for what in COMPUTED}

    @functools.cached_property
    def second(self) -> Model:
        """The model, built once more."""
        return self.build()

    @functools.cached_property
    def second_traced(self) -> dict[str, "Trace"]:
        """`trace` of the second model."""
        return {what: self.trace(self.second, what) for what in COMPUTED}

    def repeats(self, what: str) -> bool:
        """Whether the model, written out a second time, computes the same in the same way."""
        first = self.traced[what]
        try:
            if same_trace(first, self.second_traced[what]):
                return True  # a second model that does the same shows it as well
        except Exception:  # noqa: BLE001, which is another contract
            pass
        return same_trace(first, self.trace(self.model, what))


class Trace(NamedTuple):
    """A function's operations as text, its constants, and the operations' names."""

    text: str
    constants: list[Any]
    names: frozenset[str]


def traced(function: Callable[..., Any], *given: Any) -> Trace:
    """A function's operations; places in memory are no part of them."""
    closed = jax.make_jaxpr(function)(*given)
    text = re.sub(r"0x[0-9a-f]+", "", str(closed))
    return Trace(text, closed.consts, frozenset(e.primitive.name for e in equations(closed.jaxpr)))


def same_trace(one: Trace, other: Trace) -> bool:
    """Whether two functions compute the same in the same way."""
    if one.text != other.text or len(one.constants) != len(other.constants):
        return False
    pairs = zip(one.constants, other.constants, strict=True)
    return not any(differ(a, b) for a, b in pairs)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled in little time."""
    return jax.jit(function, compiler_options=dict(COMPILER))


def lane_of(tree: PyTree, lane: int) -> PyTree:
    """One lane of arrays with a leading axis L."""
    return jax.tree.map(lambda leaf: leaf[lane], tree)
