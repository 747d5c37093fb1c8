"""Probes on tiles: what they are given, when they are taken, and what they cost.

A probe's program takes the state between two segments and gives arrays back; the training program
knows nothing of it, so that no bit of training depends on which probes are on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from initopt_jax.engine.plan import Program
from initopt_jax.engine.segment import over_lanes
from initopt_jax.initializers import Network
from initopt_jax.keys import named_key
from initopt_jax.models import network_in
from initopt_jax.probes import OF_OPTIMIZER, Batch, LaneOptimizer
from initopt_jax.types import Array, Model, PyTree, Task

When = Literal["every", "ends"] | int


@dataclass(frozen=True)
class Measurement:
    """A probe of a study, its options filled in.

    Attributes:
        name: of the probe.
        function: takes what it `asks` for by name, and gives the arrays of one lane by variable.
        asks: names of `probes.GIVEN`.
        shapes: of the arrays.
        examples: of the training split, in its batch.
        at: `every` evaluation, the `ends`, or every so many evaluations and the last.
    """

    name: str
    function: Callable[..., Mapping[str, Array]]
    asks: frozenset[str]
    shapes: Mapping[str, tuple[int, ...]]
    examples: int
    at: When = "every"

    @property
    def of_optimizer(self) -> bool:
        """Whether each training program needs one of its own."""
        return bool(self.asks & OF_OPTIMIZER)

    def due(self, evaluation: int, last: int) -> bool:
        """Whether it is taken at the evaluation of this number, of 0 to `last`.

        >>> lazy = Measurement("", dict, frozenset(), {}, 0, at=4)
        >>> [number for number in range(11) if lazy.due(number, last=10)]
        [0, 4, 8, 10]
        """
        if evaluation in (0, last) or self.at == "every":
            return True
        return self.at != "ends" and evaluation % self.at == 0


class LaneView(NamedTuple):
    """What a probe may look at of a lane; arrays gain a leading W in a tile.

    params: those that are evaluated. start: the first ones, or None where nobody asks.
    """

    params: PyTree
    model_state: PyTree
    start: PyTree
    noise_key: Array
    step: Array


class OptimizerView(NamedTuple):
    """What a probe may look at of a lane's optimizer: its state, the weights that it trains."""

    params: PyTree
    state: PyTree
    hyperparameters: dict[str, Array]


class Setting(NamedTuple):
    """What all lanes of a study have in common. network: of the model, in its first state."""

    model: Model
    task: Task
    network: Network
    examples: int


def make_measure(
    measurement: Measurement, setting: Setting, program: Program | None, width: int
) -> Callable[..., Mapping[str, Array]]:
    """`measure(view, optimizer, batch) -> arrays [W, ...] by variable` of a tile.

    Args:
        measurement: the probe.
        setting: of the study.
        program: whose optimizer it asks for; None where it asks for none, and gets None.
        width: W.
    """

    def of_lane(view: LaneView, optimizer: OptimizerView | None, batch: Batch) -> Any:
        given = _given(measurement, setting, program, view, optimizer, batch)
        return measurement.function(**{name: given[name]() for name in measurement.asks})

    return over_lanes(of_lane, width, in_axes=(0, None if program is None else 0, None))


def _given(
    measurement: Measurement,
    setting: Setting,
    program: Program | None,
    view: LaneView,
    optimizer: OptimizerView | None,
    batch: Batch,
) -> dict[str, Callable[[], Any]]:
    """What a probe may ask for, by name; made where it does."""

    def network() -> Network:
        return network_in(setting.network, setting.model, view.model_state, *batch)

    def loss(params: PyTree, batch: Batch) -> Array:
        outputs = network().apply(params, batch.inputs)
        return jnp.mean(setting.task.loss(outputs, batch.targets))

    def key() -> Array:
        return jax.random.fold_in(named_key(view.noise_key, f"probe {measurement.name}"), view.step)

    def lane_optimizer() -> LaneOptimizer:
        made = program.make_transform(optimizer.hyperparameters) if program and optimizer else None
        transform = optax.with_extra_args_support(made or optax.identity())
        held = optimizer or OptimizerView(view.params, (), {})
        return LaneOptimizer(transform, held.state, held.params)

    return {
        "params": lambda: view.params,
        "state": lambda: view.model_state,
        "batch": lambda: batch,
        "key": key,
        "loss": lambda: loss,
        "start": lambda: view.start,
        "network": network,
        "optimizer": lane_optimizer,
        "batch_size": lambda: (program and program.batch_size) or setting.examples,
        "method": lambda: program.method if program else "",
        "hyperparameters": lambda: optimizer.hyperparameters if optimizer else {},
    }
