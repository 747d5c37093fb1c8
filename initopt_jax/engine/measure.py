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
from initopt_jax.engine.workload import Workload
from initopt_jax.initializers import Network
from initopt_jax.keys import NOISE_KEY, named_key
from initopt_jax.models import network_in
from initopt_jax.probes import OF_OPTIMIZER, Batch, LaneOptimizer
from initopt_jax.types import Array, PyTree

LIGHT = 128  # examples that a light probe looks at, at most
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
    def light(self) -> bool:
        """Whether states of several evaluations are probed together: often, on few examples."""
        return self.at == "every" and self.examples <= LIGHT

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

    params: those that are evaluated. weights: those that are trained. start: the first ones. grads:
    of the loss of the probe's batch. updates: what the optimizer would add. The last three are None
    where the probe does not ask.
    """

    params: PyTree
    weights: PyTree
    model_state: PyTree
    noise_key: Array
    step: Array
    start: PyTree = None
    grads: PyTree = None
    updates: PyTree = None


class OptimizerView(NamedTuple):
    """What a probe may look at of a lane's optimizer."""

    state: PyTree
    hyperparameters: dict[str, Array]


def make_measure(
    measurement: Measurement, workload: Workload, program: Program | None, width: int
) -> Callable[..., Mapping[str, Array]]:
    """`measure(view, optimizer, batch) -> arrays [W, ...] by variable` of a tile.

    Args:
        measurement: the probe.
        workload: of the study.
        program: whose optimizer it asks for; None where it asks for none, and gets None.
        width: W.
    """

    def of_lane(view: LaneView, optimizer: OptimizerView | None, batch: Batch) -> Any:
        given = _given(measurement, workload, program, view, optimizer, batch)
        return measurement.function(**{name: given[name]() for name in measurement.asks})

    return over_lanes(of_lane, width, in_axes=(0, None if program is None else 0, None))


def make_grads(workload: Workload, width: int) -> Callable[..., tuple[Array, PyTree]]:
    """`grads(view, batch) -> (losses [W], grads)` of a tile, once for all probes that ask."""

    def of_lane(view: LaneView, batch: Batch) -> tuple[Array, PyTree]:
        return jax.value_and_grad(_loss(workload, view))(view.weights, batch)

    return over_lanes(of_lane, width, in_axes=(0, None))


def make_updates(workload: Workload, program: Program, width: int) -> Callable[..., PyTree]:
    """`updates(view, optimizer, losses, batch) -> updates` of a tile, as a training step has them.

    The view holds the gradients.
    """

    def of_lane(view: LaneView, optimizer: OptimizerView, value: Array, batch: Batch) -> PyTree:
        loss = _loss(workload, view)
        held = _optimizer(program, view, optimizer)
        updates, _ = held.transform.update(
            view.grads,
            held.state,
            held.params,
            value=value,
            grad=view.grads,
            value_fn=lambda params, key=None: loss(params, batch),
            key=_key(view, "updates"),
        )
        return updates

    return over_lanes(of_lane, width, in_axes=(0, 0, 0, None))


def _given(
    measurement: Measurement,
    workload: Workload,
    program: Program | None,
    view: LaneView,
    optimizer: OptimizerView | None,
    batch: Batch,
) -> dict[str, Callable[[], Any]]:
    """What a probe may ask for, by name; made where it does."""
    return {
        "params": lambda: view.params,
        "weights": lambda: view.weights,
        "state": lambda: view.model_state,
        "batch": lambda: batch,
        "key": lambda: _key(view, f"probe {measurement.name}"),
        "loss": lambda: _loss(workload, view),
        "start": lambda: view.start,
        "grads": lambda: view.grads,
        "updates": lambda: view.updates,
        "network": lambda: _network(workload, view, batch),
        "optimizer": lambda: _optimizer(program, view, optimizer),
        "batch_size": lambda: (program and program.batch_size) or workload.examples,
        "method": lambda: program.method if program else "",
        "hyperparameters": lambda: optimizer.hyperparameters if optimizer else {},
    }


def _network(workload: Workload, view: LaneView, batch: Batch) -> Network:
    return network_in(workload.network, workload.model, view.model_state, *batch)


def _loss(workload: Workload, view: LaneView) -> Callable[[PyTree, Batch], Array]:
    """The mean loss of a batch as in training, where the model's state is that of the lane."""

    def loss(params: PyTree, batch: Batch) -> Array:
        outputs = _network(workload, view, batch).apply(params, batch.inputs)
        return jnp.mean(workload.task.loss(outputs, batch.targets))

    return loss


def _key(view: LaneView, name: str) -> Array:
    return jax.random.fold_in(named_key(view.noise_key, name), view.step)


def _optimizer(
    program: Program | None, view: LaneView, optimizer: OptimizerView | None
) -> LaneOptimizer:
    """The lane's transform with its state; one that does nothing where there is no program."""
    if program is None or optimizer is None:
        return LaneOptimizer(optax.with_extra_args_support(optax.identity()), (), view.weights)
    made = program.make_transform(optimizer.hyperparameters | {NOISE_KEY: view.noise_key})
    return LaneOptimizer(optax.with_extra_args_support(made), optimizer.state, view.weights)
