"""What a probe is: a pure function of one network that a study measures between its steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from initopt_jax.types import Array, Measure, PyTree

# What a probe may ask for, by the names of its parameters; every other one is an option.
GIVEN = (
    "params",
    "state",
    "batch",
    "key",
    "loss",
    "start",
    "network",
    "weights",
    "grads",
    "updates",
    "optimizer",
    "batch_size",
    "method",
    "hyperparameters",
)
OF_OPTIMIZER = frozenset(("optimizer", "batch_size", "method", "hyperparameters"))


class Batch(NamedTuple):
    """Examples of the training split: inputs [n, ...], targets [n] or [n, K]."""

    inputs: Array
    targets: Array


class LaneOptimizer(NamedTuple):
    """A lane's transform, in its form with extra arguments, its state, the weights it trains."""

    transform: Any
    state: PyTree
    params: PyTree


@dataclass(frozen=True)
class Probe:
    """Registry entry of one probe.

    Attributes:
        name: as written in a config.
        measure: the pure function of one network. It says by the names of its parameters what it
            needs, of these: `params`, the weights that metrics are measured on; `weights`, those
            that the optimizer trains; `start`, the first ones; `state`, the model's mutable state;
            `batch`, a `Batch`; `loss`, `(params, batch) -> scalar`, the mean loss as in training;
            `grads`, its gradient at `weights` on the batch; `updates`, what the optimizer would add
            to them; `network`, see `initializers.Network`; `key`, of this lane, step and probe;
            `optimizer`, a `LaneOptimizer`; `batch_size`, of a training step; `method`, the
            optimizer's name in the config, empty where modifiers stand around it;
            `hyperparameters`, its numbers by name. Other parameters are options. It returns an
            array, or a dictionary of arrays by name.
        dims: per array that it returns, names of its dimensions: `leaf` runs over parameter leaves,
            `kernel` over `network.anatomy.kernels`, `coordinate` over x and y; others are its own.
        formula: one line, plain text.
        reference: authors, year, section.
        examples: how many training examples are in its batch, unless the config says.
        at: when it is taken, unless the config says: at `every` evaluation, or at the `ends`, the
            first and the last.
    """

    name: str
    measure: Measure
    dims: Mapping[str, tuple[str, ...]]
    formula: str
    reference: str
    examples: int = 128
    at: Literal["every", "ends"] = "every"
