"""A model as initializers see it: a network of kernels, with data."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import jax

from initopt_jax.initializers import Network, make_network
from initopt_jax.models.convolution import as_stock
from initopt_jax.types import Array, Model, PyTree, Split, Task

Forward: TypeAlias = Callable[[PyTree, Array], Array]


def network_of(
    model: Model, task: Task, params: PyTree, model_state: PyTree, train: Split
) -> Network:
    """A model on a task's training data; nothing is computed.

    The forward pass is that of training: with the batch's own statistics where the model normalizes
    by them, and with one fixed draw where it drops units.

    Args:
        model: the model.
        task: whose loss counts.
        params: arrays or shapes.
        model_state: the model's first mutable state.
        train: inputs and targets.

    Returns:
        What model-level initializers take; its anatomy has the layout of every leaf.

    >>> import numpy as np
    >>> from initopt_jax.models import REGISTRY, param_shapes
    >>> from initopt_jax.tasks import REGISTRY as TASKS
    >>> model = REGISTRY["cnn"].make(outputs=10)
    >>> train = Split(np.zeros((5, 28, 28, 1), np.float32), np.zeros(5, np.int32))
    >>> params = param_shapes(model, train.inputs[:1])
    >>> network = network_of(model, TASKS["classification"], params, {}, train)
    >>> network.anatomy.layouts["conv_1/kernel"].fans((3, 3, 16, 32))
    (144, 288)
    """
    inputs: Any = train.inputs
    targets: Any = train.targets
    apply, plain = _forward(model, model_state)
    return make_network(apply, task.loss, params, inputs, targets, plain=plain)


def network_in(
    network: Network, model: Model, model_state: PyTree, inputs: Array, targets: Array
) -> Network:
    """A network in another state of its model and on other examples; its anatomy stays."""
    apply, plain = _forward(model, model_state)
    return replace(network, apply=apply, plain=plain, inputs=inputs, targets=targets)


def _forward(model: Model, model_state: PyTree) -> tuple[Forward, Forward]:
    """The forward pass of training, and the same in operations that can be looked into."""

    def apply(params: PyTree, inputs: Array) -> Array:
        key = jax.random.key(0)
        return model.apply(params, model_state, inputs, key=key, train=True)[0]

    def plain(params: PyTree, inputs: Array) -> Array:
        with as_stock():  # a product over patches would not tell window and inputs apart
            return apply(params, inputs)

    return apply, plain
